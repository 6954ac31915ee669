//! Trying in rounds, until nothing is left open or time is up: a round is dropped where it is then, and what it has sent
//! may take effect or not.

use std::time::Duration;

use tokio::time::sleep;

/// The first pause after a round that left something open, doubled each time. A pause is a random part
/// of this, so that consumers that were throttled together do not try again together.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: throttled tables recover within seconds.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// The pauses between rounds, each longer than the one before.
#[derive(Debug)]
pub(crate) struct Pauses {
    longest: Duration,
}

impl Pauses {
    pub(crate) fn new() -> Self {
        Self { longest: FIRST_PAUSE }
    }

    /// Waits until the next round.
    pub(crate) async fn wait(&mut self) {
        sleep(self.longest.mul_f64(fastrand::f64())).await;
        self.longest = MAX_PAUSE.min(self.longest * 2);
    }
}
