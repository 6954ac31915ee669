//! Trying in rounds, until nothing is left open or time is up.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// The first pause after a round that left something open, doubled each time. A pause is a random part
/// of this, so that consumers that were throttled together do not try again together.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause: throttled tables recover within seconds.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Calls `round` until it returns that nothing is left open, and returns whether that was before time was up. A round
/// is dropped where it is when time is up: what it has sent by then may take effect or not.
pub(crate) async fn rounds(until: Instant, mut round: impl AsyncFnMut() -> bool) -> bool {
    let all = async {
        let mut max_pause = FIRST_PAUSE;
        while round().await {
            sleep(max_pause.mul_f64(fastrand::f64())).await;
            max_pause = MAX_PAUSE.min(max_pause * 2);
        }
    };
    timeout_at(until, all).await.is_ok()
}
