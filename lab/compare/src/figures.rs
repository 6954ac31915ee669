//! The figures of a run: one row of a table.

use std::fmt;

use crate::{
    callers::Request,
    run::{Message, Outcome, Run},
    schedule::NOISY,
};

/// The figures of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) offered: usize,
    /// Messages with a 2xx response in the end.
    pub(crate) accepted: usize,
    /// Messages without one.
    pub(crate) not_accepted: usize,
    /// Requests beyond the first of a message.
    pub(crate) sent_again: usize,
    pub(crate) stored: usize,
    pub(crate) failed: usize,
    /// Accepted, and no outcome.
    pub(crate) lost: usize,
    /// No response says whether the message is stored.
    pub(crate) in_doubt: usize,
    /// Those of them that are stored.
    pub(crate) in_doubt_stored: usize,
    pub(crate) lateness: Spread,
    /// From when a message was due to the caller's last response.
    pub(crate) response: Spread,
    /// From then to stored.
    pub(crate) to_stored: Spread,
    pub(crate) to_stored_noisy: Spread,
    pub(crate) to_stored_quiet: Spread,
    pub(crate) to_notified: Spread,
    /// When the last message was stored.
    pub(crate) last_stored_ms: f64,
    /// Messages stored a second, while more of them waited than a second stores.
    pub(crate) drain_rate: Option<f64>,
    /// None on a deployed stack.
    pub(crate) database_requests: Option<usize>,
    pub(crate) throttled: Option<usize>,
    pub(crate) write_units: Option<f64>,
}

/// The median and the 99th percentile, in milliseconds; none without a value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let values: Vec<_> = values.collect();
        Self { p50: percentile(&values, 50), p99: percentile(&values, 99) }
    }
}

impl Spread {
    /// The times, each with a star if the generator's lateness is more than 5 % of it. They include that lateness: the
    /// stack was quicker.
    pub(crate) fn beside(self, lateness: Self) -> String {
        let figure = |time: Option<f64>, late: Option<f64>| {
            let star = if is_late(time, late) { "*" } else { "" };
            duration(time) + star
        };
        [figure(self.p50, lateness.p50), figure(self.p99, lateness.p99)].join(" / ")
    }
}

/// Whether the generator was late by more than 5 % of a time.
pub(crate) fn is_late(time: Option<f64>, late: Option<f64>) -> bool {
    time.zip(late).is_some_and(|(time, late)| late > 0.05 * time)
}

/// What a star means, below a table.
pub(crate) const STAR: &str =
    "* at most: the generator was late by more than 5 % of this (the columns lateness in the CSV)";

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&[self.p50, self.p99].map(duration).join(" / "))
    }
}

/// The smallest value that at least so many percent do not exceed.
pub(crate) fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let place = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(place).copied()
}

/// A time in milliseconds, as people read it.
pub(crate) fn duration(milliseconds: Option<f64>) -> String {
    match milliseconds {
        None => "–".to_owned(),
        Some(ms) if ms < 100.0 => format!("{ms:.1} ms"),
        Some(ms) if ms < 1_000.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.1} s", ms / 1_000.0),
    }
}

impl Figures {
    pub(crate) fn of(run: &Run) -> Self {
        let all = || run.messages.iter();
        let to_stored = |of: fn(&Message) -> bool| {
            Spread::of(all().filter(move |one| of(one)).filter_map(|one| Some(one.stored()? - one.due)))
        };
        let in_doubt = |one: &&Message| one.last().leaves_in_doubt();
        let accepted = all().filter(|one| one.last().is_accepted()).count();
        let usage = run.counted.as_ref().map(|counted| &counted.usage);
        Self {
            offered: run.messages.len(),
            accepted,
            not_accepted: run.messages.len() - accepted,
            sent_again: all().map(|one| one.requests.len() - 1).sum(),
            stored: all().filter(|one| one.stored().is_some()).count(),
            failed: all()
                .filter(|one| matches!(one.outcome, Some(Outcome::Failed | Outcome::Rejected)))
                .count(),
            lost: run.lost().count(),
            in_doubt: all().filter(in_doubt).count(),
            in_doubt_stored: all().filter(in_doubt).filter(|one| one.stored().is_some()).count(),
            lateness: Spread::of(all().map(|one| one.requests[0].sent - one.due)),
            response: Spread::of(all().map(|one| one.last().responded - one.due)),
            to_stored: to_stored(|_| true),
            to_stored_noisy: to_stored(|one| one.owner == NOISY),
            to_stored_quiet: to_stored(|one| one.owner != NOISY),
            to_notified: Spread::of(all().filter_map(|one| Some(one.notified? - one.due))),
            last_stored_ms: all().filter_map(Message::stored).fold(0.0, f64::max),
            drain_rate: run.plan.capacity.and_then(|capacity| drain_rate(run, capacity)),
            database_requests: usage.map(|usage| usage.requests.values().sum()),
            throttled: usage.map(|usage| usage.throttled_requests + usage.throttled_statements),
            write_units: usage.map(|usage| usage.write_units),
        }
    }

    /// Database requests for each stored message.
    pub(crate) fn requests_per_stored(&self) -> Option<f64> {
        Some(self.database_requests? as f64 / self.stored.max(1) as f64)
    }

    /// The columns of [`Figures::row`].
    pub(crate) const COLUMNS: [&str; 28] = [
        "offered",
        "accepted",
        "not_accepted",
        "sent_again",
        "stored",
        "failed",
        "lost",
        "in_doubt",
        "in_doubt_stored",
        "lateness_p50_ms",
        "lateness_p99_ms",
        "response_p50_ms",
        "response_p99_ms",
        "stored_p50_ms",
        "stored_p99_ms",
        "stored_noisy_p50_ms",
        "stored_noisy_p99_ms",
        "stored_quiet_p50_ms",
        "stored_quiet_p99_ms",
        "notified_p50_ms",
        "notified_p99_ms",
        "last_stored_ms",
        "drain_rate",
        "database_requests",
        "throttled",
        "write_units",
        "requests_per_stored",
        "stored_while_sending_per_s",
    ];

    /// All figures, for a CSV file. What there is none of is empty.
    pub(crate) fn row(&self, run: &Run) -> Vec<String> {
        let counts = [
            self.offered,
            self.accepted,
            self.not_accepted,
            self.sent_again,
            self.stored,
            self.failed,
            self.lost,
            self.in_doubt,
            self.in_doubt_stored,
        ];
        let spreads = [
            self.lateness,
            self.response,
            self.to_stored,
            self.to_stored_noisy,
            self.to_stored_quiet,
            self.to_notified,
        ];
        let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.2}"));
        let mut row: Vec<_> = counts.iter().map(ToString::to_string).collect();
        row.extend(spreads.iter().flat_map(|spread| [number(spread.p50), number(spread.p99)]));
        row.push(number(Some(self.last_stored_ms)));
        row.push(number(self.drain_rate));
        let count = |count: Option<usize>| count.map_or(String::new(), |count| count.to_string());
        row.extend([self.database_requests, self.throttled].map(count));
        row.push(number(self.write_units));
        row.push(number(self.requests_per_stored()));
        row.push(number(Some(goodput(run))));
        row
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "accepted {} of {}, sent again {}, stored {}, lost {}, in doubt {}; response {}, to stored {}; the \
             generator late by {}",
            self.accepted,
            self.offered,
            self.sent_again,
            self.stored,
            self.lost,
            self.in_doubt,
            self.response,
            self.to_stored,
            self.lateness
        )
    }
}

/// Messages stored a second while the load lasted.
pub(crate) fn goodput(run: &Run) -> f64 {
    let end = run.plan.load.seconds * 1_000.0;
    run.messages.iter().filter(|one| one.stored().is_some_and(|at| at <= end)).count() as f64
        / run.plan.load.seconds
}

/// How many messages wait at a time: due, and neither stored nor abandoned by the caller.
pub(crate) fn backlog(run: &Run, at: f64) -> usize {
    run.messages.iter().filter(|one| waits(one, at)).count()
}

/// For how long the oldest of them has been waiting, in milliseconds.
pub(crate) fn oldest(run: &Run, at: f64) -> f64 {
    run.messages.iter().filter(|one| waits(one, at)).map(|one| at - one.due).fold(0.0, f64::max)
}

fn waits(message: &Message, at: f64) -> bool {
    let abandoned = |request: Request| if request.is_accepted() { f64::INFINITY } else { request.responded };
    let end = message.stored().unwrap_or_else(|| abandoned(message.last()));
    message.due <= at && at < end
}

/// Messages stored a second while the backlog is more than two seconds of capacity. The first second does not count: it
/// has the units that were in the bucket before.
fn drain_rate(run: &Run, capacity: f64) -> Option<f64> {
    let end = run.messages.iter().filter_map(Message::stored).fold(0.0, f64::max);
    let mut seconds = 0;
    let mut stored = 0;
    let mut second = 1_000.0;
    while second < end {
        let next = second + 1_000.0;
        let waiting = |at| backlog(run, at) as f64 > 2.0 * capacity;
        if waiting(second) && waiting(next) {
            seconds += 1;
            let now = |at: f64| (second..next).contains(&at);
            stored += run.messages.iter().filter(|one| one.stored().is_some_and(now)).count();
        }
        second = next;
    }
    (seconds > 0).then(|| stored as f64 / f64::from(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{callers::Caller, run::Plan, schedule::Load};

    /// A message that was due and sent at one time, with a response 10 ms later.
    pub(crate) fn message(due: f64, status: u16, stored: Option<f64>) -> Message {
        Message {
            id: format!("m-{due}"),
            owner: NOISY,
            due,
            requests: vec![Request { sent: due, responded: due + 10.0, status: Some(status) }],
            outcome: stored.map(Outcome::Stored),
            notified: None,
        }
    }

    fn run(messages: Vec<Message>) -> Run {
        let load = Load { rate: 1.0, seconds: 10.0, seed: 1 };
        Run {
            plan: Plan {
                name: "run".to_owned(),
                caller: Caller::Queue,
                load,
                capacity: Some(2.0),
                disturbances: Vec::new(),
            },
            messages,
            frames: 0,
            counted: None,
        }
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<_> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&values, 50), Some(100.0));
        assert_eq!(percentile(&values, 99), Some(198.0));
        assert_eq!(percentile(&[5.0], 99), Some(5.0));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn an_accepted_message_without_an_outcome_is_lost() {
        let messages = vec![message(0.0, 202, Some(50.0)), message(1.0, 202, None), message(2.0, 503, None)];
        let run = run(messages);
        assert_eq!(run.lost().collect::<Vec<_>>(), ["m-1"]);
        let figures = Figures::of(&run);
        assert_eq!((figures.accepted, figures.not_accepted, figures.lost, figures.in_doubt), (2, 1, 1, 1));
        assert_eq!(figures.row(&run).len(), Figures::COLUMNS.len());
    }

    #[test]
    fn a_message_waits_until_it_is_stored_or_abandoned() {
        let run = run(vec![message(0.0, 202, Some(500.0)), message(100.0, 503, None)]);
        assert_eq!([50.0, 105.0, 200.0, 500.0].map(|at| backlog(&run, at)), [1, 2, 1, 0]);
        assert_eq!(oldest(&run, 200.0), 200.0);
    }

    #[test]
    fn a_late_generator_makes_a_run_void() {
        let mut late = message(0.0, 202, Some(50.0));
        assert_eq!(run(vec![late.clone()]).void(), None);
        late.requests[0].sent = 1.0;
        let run = run(vec![late]);
        assert!(run.void().is_some(), "a millisecond of ten");
        let Figures { response, to_stored, lateness, .. } = Figures::of(&run);
        assert_eq!(response.beside(lateness), "10.0 ms* / 10.0 ms*");
        assert_eq!(to_stored.beside(lateness), "50.0 ms / 50.0 ms", "of this it is less");
    }
}
