//! The first claim: the flow differs. At a rate that both ways sustain: when has the caller a response, when is the
//! message stored, when does the owner know?

use plotters::style::{RGBColor, text_anchor::HPos};

use crate::{
    callers::Caller,
    chart::{Axis, BLUE, INK, Mark, ORANGE, Panel, Strip, log, svg},
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
    vec![("flow.csv", csv(&figures::rows(runs))), ("flow.svg", draw(runs))]
}

type Time = fn(&Message) -> Option<f64>;

/// A row of dots for each time, on one logarithmic axis.
fn draw(runs: &[&Run]) -> String {
    let lanes: [(&str, Caller, RGBColor, Time); 4] = [
        ("synchronous: response, which says stored", Caller::Once, BLUE, Message::to_response),
        ("queue: response, which says queued", Caller::Queue, ORANGE, Message::to_response),
        ("queue: stored", Caller::Queue, ORANGE, Message::to_stored),
        ("queue: owner notified", Caller::Queue, ORANGE, Message::to_notified),
    ];
    let mut marks = Vec::new();
    for (lane, (name, caller, colour, time)) in lanes.into_iter().enumerate() {
        let low = 3.0 - lane as f64;
        let run = runs.iter().find(|run| run.plan.caller == caller).expect("both ways ran");
        let height = |number: usize| low + 0.12 + 0.04 * ((number * 7) % 10) as f64;
        let times = run.messages.iter().filter_map(time).enumerate();
        marks.push(Mark::Dots(times.map(|(number, ms)| (log(ms), height(number))).collect(), colour, 2));
        marks.push(Mark::Text((3.98, low + 0.8), name.to_owned(), INK, HPos::Right));
        for (time, side) in percentiles(run, time).into_iter().zip([HPos::Right, HPos::Left]) {
            let Some(ms) = time else { continue };
            marks.push(Mark::Line(vec![(log(ms), low + 0.06), (log(ms), low + 0.62)], INK));
            marks.push(Mark::Text((log(ms), low + 0.8), format!(" {} ", duration(time)), INK, side));
        }
    }
    let x = Axis::logarithms(4.0).named("from when the message was due; p50 and p99");
    let y = Axis { label: |_| String::new(), ..Axis::numbers(0.0, 4.0) };
    let title = format!("Flow: {} messages a second, no limit of capacity", runs[0].plan.load.rate);
    svg(380, &title, &[Strip::Panels(vec![Panel { x, y, marks }])])
}
