//! The three callers. Each sends when the schedule says, however slow the responses are.

use std::{
    hint::spin_loop,
    time::{Duration, Instant},
};

use fastrand::Rng;
use reqwest::{Client, Request as HttpRequest, StatusCode, header::RETRY_AFTER};
use tokio::time::sleep;

/// How long a caller waits for a response, and the retrying one tries, from when its message was due: API Gateway ends a
/// request after 29 seconds ("Quotas for configuring and running a REST API in API Gateway").
const GIVE_UP: Duration = Duration::from_secs(30);

/// The first pause of the retrying caller is a random part of this, beyond `Retry-After`; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// How long before its message is due a caller wakes. A thread and a task that are woken at a time are some tenths of a
/// millisecond late, which is much of a response time: the caller waits awake.
pub(crate) const LEAD: Duration = Duration::from_millis(1);

/// A kind of caller: which design it uses, and whether it retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// `PUT /messages/{id}`, once.
    Once,
    /// `PUT /messages/{id}`, and again while the response is 429, 5xx or none, until 30 seconds have passed.
    Retrying,
    /// `PUT /queue/{id}`, once.
    Queue,
}

impl Caller {
    pub(crate) const ALL: [Self; 3] = [Self::Once, Self::Retrying, Self::Queue];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Once => "sync-once",
            Self::Retrying => "sync-retrying",
            Self::Queue => "queue",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Once => "synchronous, no retries",
            Self::Retrying => "synchronous, retrying",
            Self::Queue => "queue",
        }
    }

    /// How many requests it sends for a message at most: the API says to wait for a second between two.
    pub(crate) fn max_requests(self) -> usize {
        if self == Self::Retrying { GIVE_UP.as_secs() as usize } else { 1 }
    }

    /// The path of the resource that it uses.
    pub(crate) fn resource(self) -> &'static str {
        match self {
            Self::Once | Self::Retrying => "messages",
            Self::Queue => "queue",
        }
    }
}

/// One request, in milliseconds from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) sent: f64,
    pub(crate) responded: f64,
    /// None if there was no response.
    pub(crate) status: Option<u16>,
}

impl Request {
    pub(crate) fn is_accepted(self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// Whether the caller cannot know from it what happened to the message.
    pub(crate) fn leaves_in_doubt(self) -> bool {
        self.status.is_none_or(|status| status >= 500)
    }
}

pub(crate) struct Sending {
    pub(crate) caller: Caller,
    pub(crate) http: Client,
    /// Built before it is due: that takes time, too.
    pub(crate) request: HttpRequest,
    pub(crate) start: Instant,
    pub(crate) due: Instant,
    pub(crate) seed: u64,
}

impl Sending {
    /// Sends the message, as often as the caller does.
    pub(crate) async fn run(self) -> Vec<Request> {
        let mut chance = Rng::with_seed(self.seed);
        let mut requests = Vec::new();
        while Instant::now() < self.due {
            spin_loop();
        }
        loop {
            let (request, retry_after) = self.send().await;
            requests.push(request);
            if self.caller != Caller::Retrying || !is_worth_retrying(request.status) {
                return requests;
            }
            let pause = retry_after + pause(requests.len(), chance.f64());
            if self.due.elapsed() + pause >= GIVE_UP {
                return requests;
            }
            sleep(pause).await;
        }
    }

    async fn send(&self) -> (Request, Duration) {
        let sent = milliseconds(self.start.elapsed());
        let mut request = self.request.try_clone().expect("the body is in memory");
        *request.timeout_mut() = Some(GIVE_UP.saturating_sub(self.due.elapsed()));
        let (status, retry_after) = match self.http.execute(request).await {
            Ok(response) => {
                let status = response.status();
                let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let seconds = seconds.and_then(|value| value.parse().ok()).unwrap_or_default();
                // The response counts once all of it is there.
                let complete = response.bytes().await.is_ok();
                (complete.then(|| status.as_u16()), Duration::from_secs(seconds))
            }
            Err(_) => (None, Duration::ZERO),
        };
        (Request { sent, responded: milliseconds(self.start.elapsed()), status }, retry_after)
    }
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn is_worth_retrying(status: Option<u16>) -> bool {
    status.is_none_or(|status| status == StatusCode::TOO_MANY_REQUESTS.as_u16() || status >= 500)
}

/// The pause after so many requests: a random part of a time that doubles, so that callers whose requests
/// failed together do not send again together.
fn pause(requests: usize, part: f64) -> Duration {
    let doublings = u32::try_from(requests.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    MAX_PAUSE.min(FIRST_PAUSE * 2_u32.pow(doublings)).mul_f64(part)
}

#[cfg(test)]
mod tests {
    use fault_proxy::http_client;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// A server that responds to one request with a 503, and then with a 201.
    async fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for status in ["503 Unavailable\r\nretry-after: 1", "201 Created"] {
                // Each request has a connection of its own, and comes in one piece.
                let mut socket = listener.accept().await.unwrap().0;
                let _ = socket.read(&mut [0; 4_096]).await;
                let response = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                let _ = socket.write_all(response.as_bytes()).await;
            }
        });
        url
    }

    /// The requests for a message that was due so long ago.
    async fn send(caller: Caller, url: &str, waited: Duration) -> Vec<Request> {
        let http = http_client();
        let request = http.put(url).body("{}").build().unwrap();
        let due = Instant::now().checked_sub(waited).unwrap();
        Sending { caller, http, request, start: due, due, seed: 1 }.run().await
    }

    fn statuses(requests: &[Request]) -> Vec<Option<u16>> {
        requests.iter().map(|request| request.status).collect()
    }

    #[tokio::test]
    async fn a_retrying_caller_waits_for_retry_after_and_sends_again() {
        let requests = send(Caller::Retrying, &server().await, Duration::ZERO).await;
        assert_eq!(statuses(&requests), [Some(503), Some(201)]);
        assert!(requests[1].sent - requests[0].responded >= 1_000.0, "{requests:?}");
    }

    #[tokio::test]
    async fn a_retrying_caller_gives_up_when_its_time_is_over() {
        let waited = GIVE_UP - Duration::from_millis(900);
        let requests = send(Caller::Retrying, &server().await, waited).await;
        assert_eq!(statuses(&requests), [Some(503)], "the second would be too late");
    }

    #[tokio::test]
    async fn the_other_callers_send_once() {
        for caller in [Caller::Once, Caller::Queue] {
            assert_eq!(statuses(&send(caller, &server().await, Duration::ZERO).await), [Some(503)]);
            let requests = send(caller, "http://127.0.0.1:9", Duration::ZERO).await;
            assert_eq!(statuses(&requests), [None], "no response is no status");
        }
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        let longest: Vec<_> = (1..=7).map(|requests| pause(requests, 1.0).as_millis()).collect();
        assert_eq!(longest, [500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
        assert_eq!(pause(3, 0.5).as_millis(), 1_000, "jitter");
        assert_eq!(pause(1_000, 1.0), MAX_PAUSE);
    }

    #[test]
    fn what_the_caller_cannot_know_or_has_to_send_again() {
        for (status, again, doubt) in [
            (Some(201), false, false),
            (Some(409), false, false),
            (Some(429), true, false),
            (Some(503), true, true),
            (None, true, true),
        ] {
            let request = Request { sent: 0.0, responded: 0.0, status };
            assert_eq!(is_worth_retrying(status), again, "{status:?}");
            assert_eq!(request.leaves_in_doubt(), doubt, "{status:?}");
        }
    }
}
