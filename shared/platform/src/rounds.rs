//! Trying in rounds, until everything is settled or time is up.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// The first pause after a round that left something open, doubled each time. A pause is a random part
/// of this, so that consumers that were throttled together do not try again together.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: throttled tables recover within seconds.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Runs rounds until one returns that nothing is open any more. A round can be cut off anywhere.
///
/// # Errors
/// If time is up before that.
pub(crate) async fn rounds(until: Instant, mut round: impl AsyncFnMut() -> bool) -> Result<(), TimeIsUp> {
    let all = async {
        let mut max_pause = FIRST_PAUSE;
        while round().await {
            sleep(max_pause.mul_f64(fastrand::f64())).await;
            max_pause = MAX_PAUSE.min(max_pause * 2);
        }
    };
    timeout_at(until, all).await.map_err(|_| TimeIsUp)
}

/// Something was still open when time was up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeIsUp;
