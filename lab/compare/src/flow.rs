//! The first claim: the flow differs. At a rate that both ways sustain: when has the caller a response, when is the
//! message stored, when does the owner know?

use plotters::style::{RGBColor, text_anchor::HPos};

use crate::{
    Options, Report,
    callers::Caller,
    chart::{Axes, BLUE, INK, ORANGE, label_of_log, log, panel, picture, write},
    figures::{Figures, STAR, duration, percentile},
    files::{figures, requests, table},
    run::{Message, Plan, Run},
    schedule::Load,
};

/// The two ways, without a limit of capacity.
pub(crate) fn plans(options: &Options) -> Vec<Plan> {
    let seconds = if options.quick { 8.0 } else { 30.0 };
    let plan = |caller: Caller| Plan {
        name: format!("flow-{}", caller.name()),
        caller,
        load: Load { rate: options.rate, seconds, seed: options.seed },
        capacity: None,
        disturbances: Vec::new(),
    };
    [Caller::Once, Caller::Queue].map(plan).into()
}

pub(crate) fn report(runs: &[Run], options: &Options) -> Report {
    let columns = ["from due to …, p50 / p99", "response", "stored", "notified"];
    let rows: Vec<_> = runs
        .iter()
        .map(|run| {
            let of = Figures::of(run);
            let notified = if run.plan.caller == Caller::Queue { of.to_notified } else { of.response };
            let spreads = [of.response, of.to_stored, notified];
            [
                vec![run.plan.caller.title().to_owned()],
                spreads.map(|spread| spread.beside(of.lateness)).to_vec(),
            ]
            .concat()
        })
        .collect();
    let title = format!("Flow: {} messages a second, no limit of capacity", options.rate);
    let mut files = requests(runs);
    files.extend([("flow.csv".to_owned(), figures(runs)), ("flow.svg".to_owned(), draw(runs, &title))]);
    Report { text: format!("{title}\n{}{STAR}\n", table(&columns, &rows)), files }
}

type Time = fn(&Message) -> Option<f64>;

/// A row of dots for each time, on one logarithmic axis.
fn draw(runs: &[Run], title: &str) -> String {
    let response: Time = |one| Some(one.last().responded - one.due);
    let stored: Time = |one| Some(one.stored()? - one.due);
    let notified: Time = |one| Some(one.notified? - one.due);
    let rows: [(&str, Caller, RGBColor, Time); 4] = [
        ("synchronous: response, which says stored", Caller::Once, BLUE, response),
        ("queue: response, which says queued", Caller::Queue, ORANGE, response),
        ("queue: stored", Caller::Queue, ORANGE, stored),
        ("queue: owner notified", Caller::Queue, ORANGE, notified),
    ];
    picture((1_080, 380), |area| {
        write(area, (12, 18), title, 18, INK, HPos::Left);
        let (_, rest) = area.split_vertically(36);
        let axes = Axes {
            x: (0.0, 4.0),
            y: (0.0, 4.0),
            x_name: "from when the message was due; p50 and p99",
            x_label: label_of_log,
            y_label: |_| String::new(),
            x_labels: 5,
            y_labels: 5,
            left: 24,
        };
        let mut panel = panel(&rest, &axes);
        for (place, (name, caller, colour, time)) in rows.into_iter().enumerate() {
            let low = 3.0 - place as f64;
            let run = runs.iter().find(|run| run.plan.caller == caller).expect("both ways ran");
            let times: Vec<_> = run.messages.iter().filter_map(time).collect();
            let spread = |number: usize| low + 0.12 + 0.4 * ((number * 7) % 10) as f64 / 10.0;
            panel.dots(times.iter().enumerate().map(|(n, ms)| (log(*ms), spread(n))), colour, 2);
            panel.text((3.98, low + 0.8), name, INK, HPos::Right);
            for percent in [50, 99] {
                let Some(ms) = percentile(&times, percent) else { continue };
                panel.line([(log(ms), low + 0.06), (log(ms), low + 0.62)], INK);
                let side = if percent == 50 { HPos::Right } else { HPos::Left };
                panel.text((log(ms), low + 0.8), &format!(" {} ", duration(Some(ms))), INK, side);
            }
        }
    })
}
