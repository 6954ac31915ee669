//! The WebSocket API, as a client with a token uses it.

use std::collections::VecDeque;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message},
};

use super::{MAX_WAIT, Stack};
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
            self.read("a response").await;
        }
    }

    /// Waits for the next event.
    pub async fn next_event(&mut self) -> Value {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            self.read("an event").await;
        }
    }

    /// Waits for the next event, which must be of this kind and about this message.
    pub async fn notified(&mut self, kind: &str, subject: &str) -> Value {
        let event = self.next_event().await;
        let notified = (event["type"].as_str(), event["subject"].as_str());
        let expected = format!("intake.message.{kind}");
        assert_eq!(notified, (Some(expected.as_str()), Some(subject)), "{event}");
        event
    }

    /// Closes the socket properly.
    pub async fn close(mut self) {
        self.stream.close(None).await.expect("the socket is open");
    }

    async fn read(&mut self, awaited: &str) {
        let frame = timeout_at(Instant::now() + *MAX_WAIT, self.stream.next()).await;
        let frame =
            frame.unwrap_or_else(|_| panic!("waited {} s on the socket for {awaited}", MAX_WAIT.as_secs()));
        match frame {
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
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => panic!("waited on the socket for {awaited}, and got {other:?}"),
        }
    }
}
