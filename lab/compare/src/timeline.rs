//! The picture of a load over time: a column for each caller, with one time axis.

use fault_proxy::Fault;
use plotters::style::{RGBColor, text_anchor::HPos};

use crate::{
    callers::Request,
    chart::{
        Axis, GREY, INK, Mark, NOT_ACCEPTED, Panel, Picture, Point, QUEUE, SYNCHRONOUS, Strip, THROTTLED,
        colour, dashed_key, key, log, round_up, top,
    },
    figures::{duration, waiting},
    run::{Disturbance, Message, Plan, Run},
    schedule::NOISY,
};

/// At how many times the backlog is drawn.
const STEPS: u32 = 200;

/// The heights of the panels, in pixels: of the first, and of the others.
const HIGH: u32 = 150;
const LOW: u32 = 120;

/// What is the design's own has its colour.
const DESIGNS: [RGBColor; 2] = [SYNCHRONOUS, QUEUE];

/// A kind of response that did not accept the message, with its colour.
type Kind = (&'static str, RGBColor, fn(Option<u16>) -> bool);

const OTHERS: [Kind; 3] = [
    ("429", THROTTLED, |status| status == Some(429)),
    ("5xx", NOT_ACCEPTED, |status| matches!(status, Some(500..))),
    ("no response", GREY, |status| status.is_none()),
];

/// A column for each run, up to this second at most.
pub(crate) fn picture(title: &str, runs: &[&Run], until: f64) -> Picture {
    let plan = &runs[0].plan;
    // With room for the axis on the right behind the curves.
    let end = round_up(1.12 * runs.iter().map(|run| end_of(run)).fold(0.0, f64::max)).min(until);
    let x = Axis::numbers(0.0, end);
    let panels = |height, x, y, marks: Vec<Vec<Mark>>| {
        let panel = |(run, marks): (&&Run, _)| {
            let caller = run.plan.caller;
            Panel { caption: Some((caller.title(), Some(colour(caller)))), x, y, marks }
        };
        Strip::Panels(height, runs.iter().zip(marks).map(panel).collect())
    };
    let fitted = |height, marks: Vec<Vec<Mark>>| {
        let y = Axis::numbers(0.0, top(marks.iter().flatten()));
        panels(height, x, y, marks)
    };
    let decades = log(runs.iter().filter_map(|run| latest(run)).fold(1e5, f64::max)).ceil();
    let each = |marks: fn(&Run, f64) -> Vec<Mark>| runs.iter().map(|run| marks(run, end)).collect();
    let (deepest, waiting) = waiting_marks(runs, end);
    let mut rates = vec![key("offered", [GREY]), key("stored", DESIGNS)];
    rates.extend(plan.capacity.map(|_| dashed_key("capacity of the table", INK)));
    rates.extend(outage(plan).map(|_| key("database unavailable", [GREY])));
    rates.extend(plan.last(Disturbance::Kill).map(|_| key("function killed", [INK])));
    let mut responses = vec![key("2xx", DESIGNS)];
    responses.extend(OTHERS.map(|(name, colour, _)| key(name, [colour])));
    let backlog = vec![key("messages", DESIGNS), key("age of the oldest (axis on the right)", [INK])];
    let times =
        vec![key("noisy owner", DESIGNS), key("quiet owners", [INK]), key("not stored", [NOT_ACCEPTED])];
    let strips = vec![
        Strip::Legend("Messages a second:", rates),
        fitted(HIGH, each(rate_marks)),
        Strip::Legend("Responses a second:", responses),
        fitted(LOW, each(response_marks)),
        Strip::Legend("Waiting:", backlog),
        // With room for the text above.
        panels(HIGH, x, Axis::numbers(0.0, 1.4 * deepest), waiting),
        Strip::Legend("Time to stored:", times),
        panels(
            HIGH,
            x.named("seconds"),
            Axis::logarithms(decades),
            runs.iter().map(|run| dots(run, decades - 0.2)).collect(),
        ),
    ];
    Picture { title: title.to_owned(), strips }
}

/// From when until when the database is unavailable.
fn outage(plan: &Plan) -> Option<(f64, f64)> {
    let mut faults = plan.disturbances.iter().filter(|(_, one)| matches!(one, Disturbance::Database(_)));
    let (from, _) = *faults.next()?;
    Some((from, plan.last(Disturbance::Database(Fault::None))?))
}

fn rate_marks(run: &Run, end: f64) -> Vec<Mark> {
    let mut marks = Vec::new();
    marks.extend(outage(&run.plan).map(|(from, until)| Mark::Shade(from, until, GREY)));
    marks.extend(run.plan.last(Disturbance::Kill).map(|at| Mark::Rule(at, INK)));
    let offered = run.messages.iter().map(|one| one.due);
    let stored = run.messages.iter().filter_map(|one| one.stored).filter(|at| *at < 1_000.0 * end);
    marks.extend([Mark::Line(steps(offered), GREY), Mark::Line(steps(stored), colour(run.plan.caller))]);
    marks.extend(run.plan.capacity.map(|capacity| Mark::Level(capacity, INK)));
    marks
}

fn response_marks(run: &Run, end: f64) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut heights = Vec::new();
    let accepted: Kind = ("2xx", colour(run.plan.caller), |status| matches!(status, Some(200..300)));
    for (_, colour, is) in [accepted].into_iter().chain(OTHERS) {
        let requests = run.messages.iter().flat_map(|one| &one.requests);
        let times = requests
            .filter(|request: &&Request| is(request.status))
            .map(|one| one.responded)
            .filter(|at| *at < 1_000.0 * end);
        for (second, count) in seconds(times).into_iter().enumerate() {
            heights.resize(heights.len().max(second + 1), 0.0);
            let (at, low) = (second as f64, heights[second]);
            heights[second] += count;
            if count > 0.0 {
                marks.push(Mark::Bar((at, low), (at + 0.9, low + count), colour));
            }
        }
    }
    marks
}

/// The end of the axis of the backlog, and the backlog with the age of its oldest message, whose axis ends at the same
/// height.
fn waiting_marks(runs: &[&Run], end: f64) -> (f64, Vec<Vec<Mark>>) {
    let at = |run: &Run, step: u32| {
        let second = end * f64::from(step) / f64::from(STEPS);
        let ages = waiting(run, 1_000.0 * second);
        (second, ages.len() as f64, ages.into_iter().fold(0.0, f64::max) / 1_000.0)
    };
    let all: Vec<Vec<_>> = runs.iter().map(|run| (0..=STEPS).map(|step| at(run, step)).collect()).collect();
    let deepest = round_up(all.iter().flatten().map(|(_, count, _)| *count).fold(1.0, f64::max));
    let oldest = round_up(all.iter().flatten().map(|(_, _, age)| *age).fold(1.0, f64::max));
    let marks = |(run, points): (&&Run, Vec<(f64, f64, f64)>)| {
        let ended = if run.messages.iter().all(Message::is_stored) { "all stored" } else { "ended" };
        let ended = format!("{ended} at {}", duration(Some(1_000.0 * end_of(run))));
        let right = |height: f64, text: String| Mark::Text((0.99 * end, height), text, HPos::Right);
        vec![
            Mark::Line(points.iter().map(|(at, count, _)| (*at, *count)).collect(), colour(run.plan.caller)),
            Mark::Line(points.iter().map(|(at, _, age)| (*at, age / oldest * deepest)).collect(), INK),
            right(deepest, format!("{oldest} s")),
            right(deepest / 2.0, format!("{} s", oldest / 2.0)),
            right(1.22 * deepest, ended),
        ]
    };
    (deepest, runs.iter().zip(all).map(marks).collect())
}

/// The longest time until a message was stored.
fn latest(run: &Run) -> Option<f64> {
    run.messages.iter().filter_map(Message::to_stored).max_by(f64::total_cmp)
}

/// Each message when it was due: how long until it was stored; at this height if it never was.
fn dots(run: &Run, never: f64) -> Vec<Mark> {
    let of = |noisy: bool| run.messages.iter().filter(move |one| (one.owner == NOISY) == noisy);
    let at = |one: &Message| Some((one.due / 1_000.0, log(one.to_stored()?)));
    let others = run.messages.iter().filter(|one| !one.is_stored());
    vec![
        Mark::Dots(of(true).filter_map(at).collect(), colour(run.plan.caller), 2),
        Mark::Dots(of(false).filter_map(at).collect(), INK, 2),
        Mark::Dots(others.map(|one| (one.due / 1_000.0, never)).collect(), NOT_ACCEPTED, 2),
    ]
}

/// When the last thing happened, in seconds.
fn end_of(run: &Run) -> f64 {
    let responded = run.messages.iter().map(|one| one.last().responded).fold(run.last_stored(), f64::max);
    run.plan.load.seconds.max(responded / 1_000.0)
}

/// How many of these times are in each second, up to the last one.
fn seconds(times: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut counts = Vec::new();
    for time in times {
        let second = (time / 1_000.0).max(0.0) as usize;
        counts.resize(counts.len().max(second + 1), 0.0);
        counts[second] += 1.0;
    }
    counts
}

/// The same as a line with a step for each second, and one down at the end.
fn steps(times: impl Iterator<Item = f64>) -> Vec<Point> {
    let mut counts = seconds(times);
    counts.push(0.0);
    let ends = |(second, count)| [(second as f64, count), (second as f64 + 1.0, count)];
    counts.into_iter().enumerate().flat_map(ends).collect()
}
