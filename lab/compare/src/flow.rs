//! The first claim: the flow differs. At a rate that both ways sustain: when has the caller a response, when is the
//! message stored, when does the owner know?

use plotters::style::text_anchor::HPos;

use crate::{
    callers::Caller,
    chart::{Axis, INK, Mark, Panel, Picture, QUEUE, SYNCHRONOUS, Strip, colour, key, log},
    figures::{self, duration, percentiles},
    options::Options,
    output::{Files, csv},
    run::{Message, Plan, Run},
    schedule::Load,
};

pub(crate) fn plans(options: &Options) -> Vec<Plan> {
    let seconds = if options.quick { 8.0 } else { 30.0 };
    let load = Load { rate: options.rate, seconds, seed: options.seed };
    [Caller::Once, Caller::Queue].map(|caller| Plan::new("flow", caller, load)).into()
}

pub(crate) fn files(runs: &[&Run]) -> Files {
    let mut files = picture(runs).files("flow");
    files.push(("flow.csv".to_owned(), csv(&figures::rows(runs))));
    files
}

/// Where the axis begins, so that there is room for a label on the left of 1 ms.
const LEFT: f64 = -0.3;

type Time = fn(&Message) -> Option<f64>;

/// A row of dots for each time, on one logarithmic axis.
fn picture(runs: &[&Run]) -> Picture {
    let lanes: [(&str, Caller, Time); 5] = [
        ("response", Caller::Once, Message::to_response),
        ("response", Caller::Queue, Message::to_response),
        ("stored", Caller::Once, Message::to_stored),
        ("stored", Caller::Queue, Message::to_stored),
        ("owner notified", Caller::Queue, Message::to_notified),
    ];
    let mut marks = Vec::new();
    for (lane, (name, caller, time)) in (1..).zip(lanes) {
        let low = (lanes.len() - lane) as f64;
        let run = runs.iter().find(|run| run.plan.caller == caller).expect("both ways ran");
        let height = |number: usize| low + 0.05 + 0.035 * ((number * 7) % 10) as f64;
        let times = run.messages.iter().filter_map(time).enumerate();
        let dots = times.map(|(number, ms)| (log(ms), height(number))).collect();
        marks.push(Mark::Dots(dots, colour(caller), 2));
        let percentiles = percentiles(run, time);
        let [p50, p99] = percentiles.map(duration);
        let design = if caller == Caller::Queue { "queue" } else { "synchronous" };
        let text = format!("{design}: {name}, {p50} / {p99}");
        marks.push(Mark::Text((LEFT + 0.02, low + 0.85), text, HPos::Left));
        let labels = [("p50\u{a0}", HPos::Right), ("\u{a0}p99", HPos::Left)];
        for (time, (label, side)) in percentiles.into_iter().zip(labels) {
            let Some(ms) = time else { continue };
            marks.push(Mark::Line(vec![(log(ms), low + 0.03), (log(ms), low + 0.66)], INK));
            marks.push(Mark::Text((log(ms), low + 0.57), label.to_owned(), side));
        }
    }
    let x = Axis { from: LEFT, ..Axis::logarithms(4.0) }.named("from when the message was due: p50 / p99");
    let y = Axis { is_bare: true, ..Axis::numbers(0.0, lanes.len() as f64) };
    let title = format!("Flow: {} messages a second, no limit of capacity", runs[0].plan.load.rate);
    let legend = Strip::Legend("", vec![key("synchronous", [SYNCHRONOUS]), key("queue", [QUEUE])]);
    let panel = Panel { caption: None, x, y, marks };
    Picture { title, strips: vec![legend, Strip::Panels(330, vec![panel])] }
}
