//! How the time until Lambda's deadline is divided.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The longest timeout of a function ("Lambda quotas"). A deadline that passed longer ago than this is none:
/// `cargo lambda watch` sets one in 1970.
const MAX_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The time assumed where there is no deadline.
const WITHOUT_DEADLINE: Duration = Duration::from_secs(30);

/// The deadline of each part of the work.
///
/// Lambda kills a function at its deadline, and then the whole batch counts as failed, also what was stored: so each
/// part ends on time, and what is left is reported. The parts are shares of the time left, so that they fit whatever
/// the function's timeout is: with 30 seconds, 21 for storing, 3 for writing failures, 3 for keeping outcomes, at
/// least 1.5 for notifications and 1.5 for the response. Storing has most of it, because everything else comes of it. A
/// part that ends early leaves its time to the next: notifying then has its whole budget.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The end of storing.
    pub storing: Instant,
    /// The end of writing what failed.
    pub writing_failures: Instant,
    /// The end of keeping outcomes under their receipts.
    pub keeping_outcomes: Instant,
    notifying: Instant,
}

impl Schedule {
    /// Divides the time until a deadline.
    pub fn until(deadline: SystemTime) -> Self {
        let left = match deadline.duration_since(SystemTime::now()) {
            Ok(left) => left,
            Err(passed) if passed.duration() > MAX_TIMEOUT => WITHOUT_DEADLINE,
            Err(_) => Duration::ZERO,
        };
        let now = Instant::now();
        Self {
            storing: now + left.mul_f64(0.70),
            writing_failures: now + left.mul_f64(0.80),
            keeping_outcomes: now + left.mul_f64(0.90),
            notifying: now + left.mul_f64(0.95),
        }
    }

    /// The same, for what is settled while others are still being stored: it ends with storing.
    #[must_use]
    pub fn meanwhile(self) -> Self {
        let end = self.storing;
        Self { writing_failures: end, keeping_outcomes: end, notifying: end, ..self }
    }

    /// The end of notifying, if it begins now and may take as long as `budget`.
    pub fn notifying(&self, budget: Duration) -> Instant {
        self.notifying.min(Instant::now() + budget)
    }
}
