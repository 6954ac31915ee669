//! The arrival schedule: which owner sends a message when, from a seed. It is the same for every caller.

use std::time::Duration;

use fastrand::Rng;

/// The owners and their shares of the messages. The first floods; the others send now and then.
pub(crate) const OWNERS: [(&str, f64); 5] =
    [("noisy", 0.8), ("quiet-1", 0.05), ("quiet-2", 0.05), ("quiet-3", 0.05), ("quiet-4", 0.05)];

pub(crate) const NOISY: usize = 0;

/// A load: messages at a rate for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// Messages a second, on average.
    pub(crate) rate: f64,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
}

/// A message to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Arrival {
    /// When it is due, from the start.
    pub(crate) at: Duration,
    /// The index of its owner in [`OWNERS`].
    pub(crate) owner: usize,
}

impl Load {
    /// The messages in their order. Callers do not know of each other: the times between two messages are
    /// exponential (a Poisson process), as those of many independent callers are.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        let mut chance = Rng::with_seed(self.seed);
        let mut at = 0.0;
        let mut arrivals = Vec::new();
        loop {
            at -= (1.0 - chance.f64()).ln() / self.rate;
            if at >= self.seconds {
                return arrivals;
            }
            let mut left = chance.f64();
            let owner = OWNERS.iter().position(|(_, share)| {
                left -= share;
                left < 0.0
            });
            arrivals.push(Arrival { at: Duration::from_secs_f64(at), owner: owner.unwrap_or(NOISY) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_schedule() {
        let load = Load { rate: 50.0, seconds: 10.0, seed: 7 };
        assert_eq!(load.arrivals(), load.arrivals());
        assert_ne!(load.arrivals(), Load { seed: 8, ..load }.arrivals());
    }

    #[test]
    fn the_schedule_has_the_rate_and_the_shares() {
        let arrivals = Load { rate: 100.0, seconds: 100.0, seed: 1 }.arrivals();
        assert!((9_500..10_500).contains(&arrivals.len()), "{}", arrivals.len());
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.at));
        for (index, (name, share)) in OWNERS.iter().enumerate() {
            let of_owner = arrivals.iter().filter(|arrival| arrival.owner == index).count();
            let found = of_owner as f64 / arrivals.len() as f64;
            assert!((found - share).abs() < 0.02, "{name}: {found}");
        }
    }
}
