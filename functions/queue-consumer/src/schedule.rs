//! How the time until Lambda's deadline is divided.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Until when each part of the work may take. The parts are shares of what is left, so that they fit
/// whatever the function's timeout is: with 30 seconds, 21 for storing, 4.5 for recording what failed, 3
/// for telling the owners and 1.5 for the answer to get out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) storing: Instant,
    pub(crate) giving_up: Instant,
    pub(crate) pushing: Instant,
}

impl Schedule {
    pub(crate) fn until(deadline: SystemTime) -> Self {
        let left = deadline.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
        let now = Instant::now();
        Self {
            storing: now + left.mul_f64(0.70),
            giving_up: now + left.mul_f64(0.85),
            pushing: now + left.mul_f64(0.95),
        }
    }
}
