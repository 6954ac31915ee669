//! The picture of a load over time: a column for each caller, with one time axis.

use fault_proxy::Fault;
use plotters::style::{RGBColor, text_anchor::HPos};

use crate::{
    callers::Request,
    chart::{
        Axis, BLUE, GREEN, GREY, INK, Mark, ORANGE, PURPLE, Panel, Point, RED, Strip, log, round_up, svg, top,
    },
    figures::{duration, waiting},
    run::{Disturbance, Message, Run},
    schedule::NOISY,
};

/// At how many times the backlog is drawn.
const STEPS: u32 = 200;

/// A kind of response, with its colour.
type Kind = (&'static str, RGBColor, fn(Option<u16>) -> bool);

const RESPONSES: [Kind; 4] = [
    ("2xx", GREEN, |status| matches!(status, Some(200..300))),
    ("429", ORANGE, |status| status == Some(429)),
    ("5xx", RED, |status| matches!(status, Some(500..))),
    ("no response", GREY, |status| status.is_none()),
];

pub(crate) fn draw(title: &str, runs: &[&Run]) -> String {
    let plan = &runs[0].plan;
    // With room for the axis on the right behind the curves.
    let end = round_up(1.12 * runs.iter().map(|run| end_of(run)).fold(0.0, f64::max));
    let x = Axis::numbers(0.0, end);
    let panels = |x, y, marks: Vec<Vec<Mark>>| {
        Strip::Panels(marks.into_iter().map(|marks| Panel { x, y, marks }).collect())
    };
    let fitted = |marks: Vec<Vec<Mark>>| panels(x, Axis::numbers(0.0, top(marks.iter().flatten())), marks);
    let each = |marks: fn(&Run) -> Vec<Mark>| runs.iter().map(|run| marks(run)).collect();
    let (deepest, waiting) = waiting_marks(runs, end);
    let mut rates = vec![("offered", GREY), ("stored", BLUE)];
    rates.extend(plan.capacity.map(|_| ("capacity of the table", RED)));
    rates.extend(plan.last(Disturbance::Kill).map(|_| ("function killed", INK)));
    let backlog = vec![("messages", PURPLE), ("age of the oldest, axis on the right", ORANGE)];
    let times = vec![("noisy owner", BLUE), ("quiet owners", ORANGE), ("not stored", RED)];
    let strips = [
        Strip::Captions(runs.iter().map(|run| run.plan.caller.title()).collect()),
        Strip::Legend("Messages a second", rates),
        fitted(each(rate_marks)),
        Strip::Legend("Responses a second", RESPONSES.map(|(name, colour, _)| (name, colour)).to_vec()),
        fitted(each(response_marks)),
        Strip::Legend("Waiting", backlog),
        // With room for the text above.
        panels(x, Axis::numbers(0.0, 1.2 * deepest), waiting),
        Strip::Legend("Time to stored", times),
        panels(x.named("seconds"), Axis::logarithms(5.0), each(dots)),
    ];
    svg(920, title, &strips)
}

fn rate_marks(run: &Run) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut faults = run.plan.disturbances.iter().filter(|(_, one)| matches!(one, Disturbance::Database(_)));
    let end = run.plan.last(Disturbance::Database(Fault::None));
    marks.extend(faults.next().zip(end).map(|((from, _), end)| Mark::Shade(*from, end, RED)));
    marks.extend(run.plan.last(Disturbance::Kill).map(|at| Mark::Rule(at, INK)));
    let offered = run.messages.iter().map(|one| one.due);
    let stored = run.messages.iter().filter_map(|one| one.stored);
    marks.extend([Mark::Line(steps(offered), GREY), Mark::Line(steps(stored), BLUE)]);
    marks.extend(run.plan.capacity.map(|capacity| Mark::Level(capacity, RED)));
    marks
}

fn response_marks(run: &Run) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut heights = Vec::new();
    for (_, colour, is) in RESPONSES {
        let requests = run.messages.iter().flat_map(|one| &one.requests);
        let times = requests.filter(|request: &&Request| is(request.status)).map(|one| one.responded);
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
        let right = |height: f64, text: String, colour| Mark::Text((end, height), text, colour, HPos::Right);
        vec![
            Mark::Line(points.iter().map(|(at, count, _)| (*at, *count)).collect(), PURPLE),
            Mark::Line(points.iter().map(|(at, _, age)| (*at, age / oldest * deepest)).collect(), ORANGE),
            right(deepest, format!("{oldest} s"), ORANGE),
            right(deepest / 2.0, format!("{} s", oldest / 2.0), ORANGE),
            right(1.13 * deepest, ended, INK),
        ]
    };
    (deepest, runs.iter().zip(all).map(marks).collect())
}

/// Each message when it was due: how long until it was stored.
fn dots(run: &Run) -> Vec<Mark> {
    let of = |noisy: bool| run.messages.iter().filter(move |one| (one.owner == NOISY) == noisy);
    let at = |one: &Message| Some((one.due / 1_000.0, log(one.to_stored()?)));
    let never = run.messages.iter().filter(|one| !one.is_stored());
    vec![
        Mark::Dots(of(true).filter_map(at).collect(), BLUE, 2),
        Mark::Dots(of(false).filter_map(at).collect(), ORANGE, 3),
        Mark::Dots(never.map(|one| (one.due / 1_000.0, 4.8)).collect(), RED, 2),
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
