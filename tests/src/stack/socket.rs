//! The WebSocket API, as a client with a token uses it.

use std::collections::VecDeque;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message},
};

use super::{MAX_WAIT, Outcome, Stack};
use crate::contract;

/// An open WebSocket.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    events: VecDeque<Value>,
    responses: VecDeque<Value>,
    /// How many frames of events it has received.
    pub frames: usize,
}

impl Stack {
    /// Opens a WebSocket. Once this returns, the connection is recorded: pushes reach it.
    ///
    /// # Errors
    /// If the gateway rejects the handshake.
    pub async fn connect(&self, query: &str) -> Result<Socket, tungstenite::Error> {
        let mut socket = self.open(query).await?;
        assert_eq!(socket.request(r#"{"action":"ping"}"#).await, json!({ "type": "pong" }));
        Ok(socket)
    }

    /// Opens a WebSocket, whatever its token is good for.
    ///
    /// # Errors
    /// If the gateway rejects the handshake.
    pub async fn open(&self, query: &str) -> Result<Socket, tungstenite::Error> {
        let (stream, _) = connect_async(format!("{}{query}", self.at.websocket_url)).await?;
        Ok(Socket { stream, events: VecDeque::new(), responses: VecDeque::new(), frames: 0 })
    }

    /// The status with which the gateway rejects a handshake; none if it accepts it.
    pub async fn handshake_rejection(&self, query: &str) -> Option<u16> {
        match connect_async(format!("{}{query}", self.at.websocket_url)).await {
            Ok(_) => None,
            Err(tungstenite::Error::Http(response)) => Some(response.status().as_u16()),
            Err(error) => panic!("the handshake was neither accepted nor rejected: {error}"),
        }
    }
}

impl Socket {
    /// Sends a frame, and waits for the response to it.
    pub async fn request(&mut self, frame: &str) -> Value {
        self.stream.send(Message::text(frame)).await.expect("the socket is open");
        loop {
            if let Some(response) = self.responses.pop_front() {
                return response;
            }
            self.read_in_time("a response").await;
        }
    }

    /// Waits for the next event.
    pub async fn next_event(&mut self) -> Value {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            self.read_in_time("an event").await;
        }
    }

    /// Waits for the next events, for as long as it takes, and returns what they say. None once the socket is closed,
    /// for whatever reason.
    pub async fn next_outcomes(&mut self) -> Option<Vec<Outcome>> {
        while self.events.is_empty() {
            self.read().await.ok()?;
        }
        Some(self.events.drain(..).map(|event| Outcome::of_event(&event)).collect())
    }

    /// Waits for the next event, and returns what it says.
    pub async fn next_outcome(&mut self) -> Outcome {
        Outcome::of_event(&self.next_event().await)
    }

    /// Waits for the next event, which must be of this kind and about this message.
    pub async fn notified(&mut self, kind: &str, subject: &str) -> Outcome {
        let outcome = self.next_outcome().await;
        assert_eq!((&*outcome.status, &*outcome.id), (kind, subject), "{outcome:?}");
        outcome
    }

    /// Closes the socket properly, if it is still open.
    pub async fn close(mut self) {
        let _ = self.stream.close(None).await;
    }

    async fn read_in_time(&mut self, awaited: &str) {
        let late = || Err(format!("nothing for {} s", MAX_WAIT.as_secs()));
        let read = timeout(*MAX_WAIT, self.read()).await.unwrap_or_else(|_| late());
        read.unwrap_or_else(|seen| panic!("waited on the socket for {awaited}, and got {seen}"));
    }

    /// Reads a frame. An error says what came instead.
    async fn read(&mut self) -> Result<(), String> {
        match self.stream.next().await {
            Some(Ok(Message::Text(text))) => {
                assert!(text.len() <= 32 * 1024, "a frame of {} bytes", text.len());
                contract::check_frame(&text);
                match serde_json::from_str(&text).expect("frames are JSON") {
                    Value::Array(events) => {
                        self.frames += 1;
                        self.events.extend(events);
                    }
                    response => self.responses.push_back(response),
                }
                Ok(())
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }
}
