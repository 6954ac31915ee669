//! The figures of a run, each defined once: the rows of the tables that are printed and written, and the requests
//! behind them.

use Figure::{Messages, Number, Time, Times};
use fault_proxy::Fault;

use crate::{
    callers::Request,
    output::{Rows, header, number},
    run::{Disturbance, Message, Run},
    schedule::{NOISY, OWNERS},
};

/// The function responds to a request that is throttled three times within half a second. Longer than this means
/// that requests queue before it.
const SLOWEST_RESPONSE_MS: f64 = 3_000.0;

/// How a figure is computed. Times are in milliseconds.
enum Figure {
    Messages(fn(&Message) -> bool),
    /// From when a message was due; p50 / p99 of those that have it.
    Times(fn(&Message) -> Option<f64>),
    Time(fn(&Run) -> Option<f64>),
    Number(fn(&Run) -> Option<f64>),
}

/// What the database did is not seen on a deployed stack.
const FIGURES: &[(&str, Figure)] = &[
    ("offered", Messages(|_| true)),
    ("accepted", Messages(Message::is_accepted)),
    ("not accepted", Messages(|one| !one.is_accepted())),
    ("sent again", Number(|run| Some((run.requests() - run.messages.len() / run.plan.bulk) as f64))),
    ("stored", Messages(Message::is_stored)),
    ("failed or rejected", Messages(|one| one.outcome.is_some() && !one.is_stored())),
    ("lost", Messages(Message::is_lost)),
    ("in doubt", Messages(Message::is_in_doubt)),
    ("in doubt but stored", Messages(|one| one.is_in_doubt() && one.is_stored())),
    ("lateness", Times(lateness)),
    ("response", Times(Message::to_response)),
    ("to stored", Times(Message::to_stored)),
    ("to stored: noisy owner", Times(|one| one.to_stored().filter(|_| one.owner == NOISY))),
    ("to stored: quiet owners", Times(|one| one.to_stored().filter(|_| one.owner != NOISY))),
    ("to notified", Times(Message::to_notified)),
    ("last stored", Time(|run| Some(run.last_stored()))),
    ("all stored after outage", Time(recovery)),
    ("stored/s with a backlog", Number(drain_rate)),
    ("stored/s while sending", Number(|run| Some(goodput(run)))),
    ("database requests", Number(database_requests)),
    ("requests/stored", Number(|run| Some(database_requests(run)? / run.count(Message::is_stored) as f64))),
    ("write units", Number(|run| Some(run.counted.as_ref()?.usage.write_units))),
];

/// What a star means, below the tables.
pub(crate) const STAR: &str = "* at most: the generator was late by more than 5 % of this";

/// All figures of some runs, a column for each run. A time has a star if the generator's lateness is more than 5 % of
/// it: it includes that lateness, so the stack was quicker.
pub(crate) fn rows(runs: &[&Run]) -> Rows {
    let mut rows = header(&["figure"]);
    rows[0].extend(runs.iter().map(|run| run.plan.name()));
    for (name, figure) in FIGURES {
        rows.push([(*name).to_owned()].into_iter().chain(runs.iter().map(|run| figure.cell(run))).collect());
    }
    rows
}

impl Figure {
    fn cell(&self, run: &Run) -> String {
        match self {
            Messages(is) => run.count(is).to_string(),
            Number(of) => of(run).map_or_else(|| "–".to_owned(), number),
            Time(of) => duration(of(run)),
            Times(of) => {
                let times = percentiles(run, of).into_iter().zip(percentiles(run, lateness));
                let starred = |(time, late)| duration(time) + if is_late(time, late) { "*" } else { "" };
                times.map(starred).collect::<Vec<_>>().join(" / ")
            }
        }
    }
}

/// All messages in all runs.
pub(crate) fn account(runs: &[Run]) -> String {
    let mut text = format!("Account of {} runs", runs.len());
    for (name, figure) in FIGURES {
        if let Messages(is) = figure {
            let count: usize = runs.iter().map(|run| run.count(is)).sum();
            text += &format!(", {count} {name}");
        }
    }
    text
}

/// Every request of a run with the outcome of its message, as CSV.
pub(crate) fn requests_csv(run: &Run) -> String {
    let mut csv =
        "id,owner,attempt,intended_ms,sent_ms,responded_ms,status,outcome,stored_ms,notified_ms\n".to_owned();
    let time = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.1}"));
    for Message { id, owner, due, requests, outcome, stored, notified } in &run.messages {
        let (owner, outcome) = (OWNERS[*owner].0, outcome.unwrap_or("none"));
        let (stored, notified) = (time(*stored), time(*notified));
        for (attempt, Request { sent, responded, status }) in (1..).zip(requests) {
            let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
            csv += &format!("{id},{owner},{attempt},{due:.1},{sent:.1},{responded:.1},{status},");
            csv += &format!("{outcome},{stored},{notified}\n");
        }
    }
    csv
}

/// Why a run is void. Without a limit the stack has to store the whole load, and every request has to get a response soon:
/// otherwise this machine was the limit. A few late messages only give the figures that they are in a star.
pub(crate) fn problems(run: &Run) -> Vec<String> {
    let mut problems = Vec::new();
    let ([late, _], [response, _]) = (percentiles(run, lateness), percentiles(run, Message::to_response));
    if is_late(response, late) {
        let [late, response] = [late, response].map(duration);
        problems.push(format!(
            "the generator was {late} late (p50), more than 5 % of the response time of {response}"
        ));
    }
    let undisturbed = run.plan.disturbances.is_empty();
    let (stored, offered) = (run.count(Message::is_stored), run.messages.len());
    if undisturbed && run.plan.capacity.is_none() && stored < offered {
        problems.push(format!("without a limit only {stored} of {offered} messages were stored"));
    }
    let requests = || run.messages.iter().flat_map(|one| &one.requests);
    let slowest = percentile(requests().map(|one| one.responded - one.sent).collect(), 99);
    // A caller that has no time left does not wait for its last response.
    let waited = requests().filter(|one| one.responded - one.sent > SLOWEST_RESPONSE_MS);
    let unanswered = waited.filter(|one| one.status.is_none()).count();
    if undisturbed && (unanswered > 0 || slowest.is_some_and(|slowest| slowest > SLOWEST_RESPONSE_MS)) {
        let slowest = duration(slowest);
        problems.push(format!("a single request took {slowest} (p99), and {unanswered} had no response"));
    }
    problems.iter().map(|problem| format!("void: {}: {problem}", run.plan.name())).collect()
}

fn lateness(message: &Message) -> Option<f64> {
    Some(message.requests[0].sent - message.due)
}

/// Whether the generator was late by more than 5 % of a time, which is not the lateness itself.
fn is_late(time: Option<f64>, late: Option<f64>) -> bool {
    time.zip(late).is_some_and(|(time, late)| late > 0.05 * time && late < time)
}

/// The median and the 99th percentile of a time; none without a value.
pub(crate) fn percentiles(run: &Run, of: impl Fn(&Message) -> Option<f64>) -> [Option<f64>; 2] {
    [50, 99].map(|percent| percentile(run.messages.iter().filter_map(&of).collect(), percent))
}

/// The smallest value that at least so many percent do not exceed.
fn percentile(mut values: Vec<f64>, percent: usize) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let index = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(index).copied()
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

fn database_requests(run: &Run) -> Option<f64> {
    Some(run.counted.as_ref()?.usage.requests.values().sum::<usize>() as f64)
}

/// From the end of an outage until all is stored.
fn recovery(run: &Run) -> Option<f64> {
    let end = run.plan.last(Disturbance::Database(Fault::None))?;
    let all_stored = run.messages.iter().all(Message::is_stored);
    all_stored.then(|| (run.last_stored() - 1_000.0 * end).max(0.0))
}

/// Messages stored a second while the load lasted.
pub(crate) fn goodput(run: &Run) -> f64 {
    let seconds = run.plan.load.seconds;
    run.count(|one| one.stored.is_some_and(|at| at <= 1_000.0 * seconds)) as f64 / seconds
}

/// The messages that wait at a time, each by how long: due, and neither stored nor abandoned by the caller.
pub(crate) fn waiting(run: &Run, at: f64) -> Vec<f64> {
    let waits = |one: &&Message| {
        let abandoned = if one.is_accepted() { f64::INFINITY } else { one.last().responded };
        one.due <= at && at < one.stored.unwrap_or(abandoned)
    };
    run.messages.iter().filter(waits).map(|one| at - one.due).collect()
}

/// Messages stored a second while the backlog is more than two seconds of capacity. The first second does not count: it
/// has the units that were in the bucket before.
fn drain_rate(run: &Run) -> Option<f64> {
    let backlog = 2.0 * run.plan.capacity?;
    let (mut seconds, mut stored) = (0.0, 0);
    let mut from = 1_000.0;
    while from < run.last_stored() {
        let until = from + 1_000.0;
        if [from, until].into_iter().all(|at| waiting(run, at).len() as f64 > backlog) {
            seconds += 1.0;
            stored += run.count(|one| one.stored.is_some_and(|at| (from..until).contains(&at)));
        }
        from = until;
    }
    (seconds > 0.0).then(|| stored as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{callers::Caller, run::Plan, schedule::Load};

    /// A message that was due and sent at one time, with a response 10 ms later.
    fn message(due: f64, status: u16, stored: Option<f64>) -> Message {
        Message {
            id: format!("m-{due}"),
            owner: NOISY,
            due,
            requests: vec![Request { sent: due, responded: due + 10.0, status: Some(status) }],
            outcome: stored.map(|_| "stored"),
            stored,
            notified: None,
        }
    }

    fn run(messages: Vec<Message>) -> Run {
        let load = Load { rate: 1.0, seconds: 10.0, seed: 1 };
        let plan = Plan { capacity: Some(2.0), ..Plan::new("run", Caller::Queue, load) };
        Run { plan, messages, frames: 0, counted: None }
    }

    fn cell(run: &Run, name: &str) -> String {
        rows(&[run]).into_iter().find(|row| row[0] == name).expect("a figure of this name").remove(1)
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<_> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(values.clone(), 50), Some(100.0));
        assert_eq!(percentile(values, 99), Some(198.0));
        assert_eq!(percentile(vec![5.0], 99), Some(5.0));
        assert_eq!(percentile(vec![], 50), None);
    }

    #[test]
    fn an_accepted_message_without_an_outcome_is_lost() {
        let run = run(vec![message(0.0, 202, Some(50.0)), message(1.0, 202, None), message(2.0, 503, None)]);
        let counts = ["accepted", "not accepted", "lost", "in doubt"].map(|name| cell(&run, name));
        assert_eq!(counts, ["2", "1", "1", "1"]);
        assert!(account(&[run]).contains("2 accepted, 1 not accepted, 1 stored"));
    }

    #[test]
    fn a_message_waits_until_it_is_stored_or_abandoned() {
        let run = run(vec![message(0.0, 202, Some(500.0)), message(100.0, 503, None)]);
        assert_eq!([50.0, 105.0, 200.0, 500.0].map(|at| waiting(&run, at).len()), [1, 2, 1, 0]);
        assert_eq!(waiting(&run, 200.0), [200.0]);
    }

    #[test]
    fn a_late_generator_makes_a_run_void() {
        let mut late = message(0.0, 202, Some(50.0));
        assert_eq!(problems(&run(vec![late.clone()])), [""; 0]);
        late.requests[0].sent = 1.0;
        let run = run(vec![late]);
        assert_eq!(problems(&run).len(), 1, "a millisecond of ten");
        assert_eq!(cell(&run, "response"), "10.0 ms* / 10.0 ms*");
        assert_eq!(cell(&run, "to stored"), "50.0 ms / 50.0 ms", "of this it is less");
    }

    #[test]
    fn a_stack_that_is_the_limit_makes_a_run_void() {
        let mut run = run(vec![message(0.0, 202, Some(50.0)), message(1.0, 503, None)]);
        assert_eq!(problems(&run), [""; 0], "the table has a limit");
        run.plan.capacity = None;
        run.messages[1].requests[0].responded = 4_000.0;
        let problems = problems(&run).join("\n");
        assert!(problems.contains("only 1 of 2") && problems.contains("took 4.0 s (p99)"), "{problems}");
    }
}
