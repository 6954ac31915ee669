//! The picture of a load over time: a column for each caller, with one time axis.

use plotters::style::{RGBColor, text_anchor::HPos};

use crate::{
    chart::{
        Area, Axes, BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, label_of_log, label_of_number, legend, log,
        panel, picture, round_up, write,
    },
    figures::{Figures, backlog, duration, oldest},
    run::{Message, Run},
    schedule::NOISY,
};

const SIZE: (u32, u32) = (1_080, 920);
const HEADER: u32 = 64;
const LEGEND: u32 = 24;

/// What the picture says beside the runs.
pub(crate) struct Story<'a> {
    pub(crate) title: &'a str,
    /// Write units of the table a second.
    pub(crate) capacity: Option<f64>,
    /// When the database was unavailable, in seconds.
    pub(crate) outage: Option<(f64, f64)>,
    /// When the function's processes were killed, in seconds.
    pub(crate) kill: Option<f64>,
}

/// One second of a run.
#[derive(Clone, Copy, Default)]
struct Second {
    offered: usize,
    stored: usize,
    /// Responses: 2xx, 429, 5xx, none.
    responses: [usize; 4],
}

const RESPONSES: [(&str, RGBColor); 4] =
    [("2xx", GREEN), ("429", ORANGE), ("5xx", RED), ("no response", GREY)];

pub(crate) fn draw(runs: &[&Run], story: &Story<'_>) -> String {
    // With room for the axis on the right behind the curves.
    let end = round_up(1.12 * runs.iter().map(|run| end_of(run)).fold(0.0, f64::max));
    let seconds: Vec<_> = runs.iter().map(|run| seconds_of(run, end)).collect();
    let most = |count: &dyn Fn(&Second) -> usize| {
        let all = seconds.iter().flatten().map(count).max().unwrap_or(0) as f64;
        round_up(1.05 * all)
    };
    let rates = most(&|second| second.offered.max(second.stored)).max(story.capacity.unwrap_or(0.0) * 1.2);
    let responses = most(&|second| second.responses.iter().sum());
    let steps = |run: &Run| {
        let steps = (0..=200).map(|step| end * f64::from(step) / 200.0);
        steps.map(|at| (at, backlog(run, at * 1_000.0) as f64, oldest(run, at * 1_000.0) / 1_000.0)).collect()
    };
    let waiting: Vec<Vec<(f64, f64, f64)>> = runs.iter().map(|run| steps(run)).collect();
    let deepest = waiting.iter().flatten().map(|(_, count, _)| *count).fold(1.0, f64::max);
    let longest = waiting.iter().flatten().map(|(_, _, age)| *age).fold(1.0, f64::max);
    let (deepest, longest) = (round_up(deepest), round_up(longest));

    picture(SIZE, |area| {
        write(area, (12, 18), story.title, 18, INK, HPos::Left);
        let (header, rest) = area.split_vertically(HEADER);
        for (column, run) in columns(&header).iter().zip(runs) {
            write(column, (48, 48), run.plan.caller.title(), 16, INK, HPos::Left);
        }
        let rows = rest.split_evenly((4, 1));
        let mut offered = vec![("offered", GREY), ("stored", BLUE)];
        if story.capacity.is_some() {
            offered.push(("capacity of the table", RED));
        }
        if story.kill.is_some() {
            offered.push(("function killed", INK));
        }
        let titles: [(&str, Vec<(&str, RGBColor)>); 4] = [
            ("Messages a second", offered),
            ("Responses a second", RESPONSES.to_vec()),
            ("Waiting", vec![("messages", PURPLE), ("age of the oldest, axis on the right", ORANGE)]),
            ("Time to stored", vec![("noisy owner", BLUE), ("quiet owners", ORANGE), ("not stored", RED)]),
        ];
        for (row, (area, (title, entries))) in rows.iter().zip(&titles).enumerate() {
            let (strip, panels) = area.split_vertically(LEGEND);
            legend(&strip, title, entries);
            for (place, column) in columns(&panels).iter().enumerate() {
                let (run, seconds) = (runs[place], &seconds[place]);
                let axes = |top: f64| Axes {
                    x: (0.0, end),
                    y: (0.0, top),
                    x_name: if row == 3 { "seconds" } else { "" },
                    x_label: label_of_number,
                    y_label: label_of_number,
                    x_labels: 6,
                    y_labels: 5,
                    left: 48,
                };
                match row {
                    0 => {
                        let mut panel = panel(column, &axes(rates));
                        if let Some((from, to)) = story.outage {
                            panel.bar((from, 0.0), (to, rates), RED, 0.18);
                        }
                        if let Some(at) = story.kill {
                            panel.line([(at, 0.0), (at, rates)], INK);
                        }
                        panel.line(steps_of(seconds, |second| second.offered), GREY);
                        panel.line(steps_of(seconds, |second| second.stored), BLUE);
                        if let Some(capacity) = story.capacity {
                            panel.dashed((0.0, capacity), (end, capacity), RED);
                        }
                    }
                    1 => {
                        let mut panel = panel(column, &axes(responses));
                        for (second, counts) in seconds.iter().enumerate() {
                            let at = second as f64;
                            let mut low = 0.0;
                            for (count, (_, colour)) in counts.responses.iter().zip(RESPONSES) {
                                let high = low + *count as f64;
                                if high > low {
                                    panel.bar((at, low), (at + 0.9, high), colour, 1.0);
                                }
                                low = high;
                            }
                        }
                    }
                    2 => {
                        // With room for the text above.
                        let top = 1.2 * deepest;
                        let mut panel = panel(column, &axes(top));
                        let waiting = &waiting[place];
                        panel.line(waiting.iter().map(|(at, count, _)| (*at, *count)), PURPLE);
                        let scaled = waiting.iter().map(|(at, _, age)| (*at, age / longest * deepest));
                        panel.line(scaled, ORANGE);
                        panel.text((end, deepest), &format!("{longest} s"), ORANGE, HPos::Right);
                        panel.text(
                            (end, deepest / 2.0),
                            &format!("{} s", longest / 2.0),
                            ORANGE,
                            HPos::Right,
                        );
                        let (end_of_run, stored) = (end_of(run), Figures::of(run).stored);
                        let done = if stored == run.messages.len() { "all stored" } else { "ended" };
                        let text = format!("{done} at {}", duration(Some(1_000.0 * end_of_run)));
                        panel.text((end, top * 0.94), &text, INK, HPos::Right);
                    }
                    _ => dots(column, run, Axes { y: (0.0, 5.0), y_label: label_of_log, ..axes(5.0) }),
                }
            }
        }
    })
}

/// Each message when it was due: how long until it was stored.
fn dots(area: &Area<'_>, run: &Run, axes: Axes<'_>) {
    let mut panel = panel(area, &axes);
    let at = |one: &Message| Some((one.due / 1_000.0, log(one.stored()? - one.due)));
    let of = |noisy: bool| run.messages.iter().filter(move |one| (one.owner == NOISY) == noisy);
    panel.dots(of(true).filter_map(at), BLUE, 2);
    panel.dots(of(false).filter_map(at), ORANGE, 3);
    let never = run.messages.iter().filter(|one| one.stored().is_none());
    panel.dots(never.map(|one| (one.due / 1_000.0, 4.8)), RED, 2);
}

fn columns<'a>(area: &Area<'a>) -> Vec<Area<'a>> {
    area.split_evenly((1, 3))
}

/// When the last thing happened, in seconds.
fn end_of(run: &Run) -> f64 {
    let ends = run.messages.iter().map(|one| one.last().responded.max(one.stored().unwrap_or(0.0)));
    ends.fold(run.plan.load.seconds * 1_000.0, f64::max) / 1_000.0
}

fn seconds_of(run: &Run, end: f64) -> Vec<Second> {
    let mut seconds = vec![Second::default(); end.ceil() as usize + 1];
    let last = seconds.len() - 1;
    let place = |ms: f64| ((ms / 1_000.0).max(0.0) as usize).min(last);
    for message in &run.messages {
        seconds[place(message.due)].offered += 1;
        if let Some(at) = message.stored() {
            seconds[place(at)].stored += 1;
        }
        for request in &message.requests {
            let kind = match request.status {
                Some(200..300) => 0,
                Some(429) => 1,
                Some(_) => 2,
                None => 3,
            };
            seconds[place(request.responded)].responses[kind] += 1;
        }
    }
    seconds
}

/// A line with a step for each second, to the last one in which something happened.
fn steps_of(seconds: &[Second], count: fn(&Second) -> usize) -> Vec<(f64, f64)> {
    let last =
        seconds.iter().rposition(|second| count(second) > 0).map_or(0, |last| (last + 2).min(seconds.len()));
    let ends = |(second, counts): (usize, &Second)| {
        let (at, count) = (second as f64, count(counts) as f64);
        [(at, count), (at + 1.0, count)]
    };
    let mut points: Vec<_> = seconds[..last].iter().enumerate().flat_map(ends).collect();
    points.truncate(points.len().saturating_sub(usize::from(last == seconds.len())));
    points
}
