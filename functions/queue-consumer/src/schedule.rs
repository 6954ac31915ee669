//! How the time until Lambda's deadline is divided.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The longest timeout of a function ("Lambda quotas"). A deadline that passed longer ago than this is none:
/// `cargo lambda watch` gives one in 1970.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The time taken for granted where there is no deadline.
const WITHOUT_DEADLINE: Duration = Duration::from_secs(30);

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
        let left = match deadline.duration_since(SystemTime::now()) {
            Ok(left) => left,
            Err(passed) if passed.duration() > LONGEST_TIMEOUT => WITHOUT_DEADLINE,
            Err(_) => Duration::ZERO,
        };
        let now = Instant::now();
        Self {
            storing: now + left.mul_f64(0.70),
            giving_up: now + left.mul_f64(0.85),
            pushing: now + left.mul_f64(0.95),
        }
    }
}
