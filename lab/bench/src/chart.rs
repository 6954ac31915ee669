//! The chart of a run.

use std::fmt::Write;

use crate::{
    contestants::{Contestant, Function},
    measure::Figures,
    report::decimals,
    results::Results,
};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 110.0;
const BAR: f64 = 20.0;
const GAP: f64 = 8.0;

/// Bars of the same kind.
struct Panel {
    title: &'static str,
    unit: &'static str,
    places: usize,
    bars: Vec<(Contestant, f64)>,
}

/// An SVG that reads well on light and on dark ground.
pub(crate) fn draw(results: &Results) -> String {
    let panels: Vec<_> = panels(results).into_iter().filter(|panel| !panel.bars.is_empty()).collect();
    let mut body = String::new();
    let mut y = 34.0;
    for panel in &panels {
        y = draw_panel(&mut body, panel, y);
    }
    let machine = &results.machine;
    let height = y + 12.0;
    // Writing to a text does not fail.
    let _ = write!(
        body,
        r#"<text class="small" x="12" y="{}">{}, {} cores, {}; medians; less is better</text>"#,
        y - 6.0,
        escaped(&machine.cpu),
        machine.cores,
        results.date
    );
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="The functions measured against other ways to write them">
<style>
text {{ font: 13px system-ui, sans-serif; fill: #1f2328; }}
.title {{ font-weight: 600; }}
.small {{ font-size: 11px; fill: #59636e; }}
.peer {{ fill: #8c959f; }}
.ours {{ fill: #bc4c00; }}
@media (prefers-color-scheme: dark) {{
  text {{ fill: #e6edf3; }}
  .small {{ fill: #9198a1; }}
  .peer {{ fill: #656c76; }}
  .ours {{ fill: #f0883e; }}
}}
</style>
{body}
</svg>
"#
    )
}

fn panels(results: &Results) -> [Panel; 4] {
    use Function::{QueueConsumer, SyncInsert};

    let bars = |function, batch: usize, of: fn(&Figures) -> f64| {
        use Contestant::{HandSigned, Intake, Node, Python, RustDefault};
        let measured = [Intake, HandSigned, RustDefault, Node, Python].into_iter().filter_map(|contestant| {
            Some((contestant, of(results.find(function, contestant, batch, 1024)?)))
        });
        measured.collect()
    };
    [
        Panel {
            title: "sync-insert: start of the process to its first answer",
            unit: "ms",
            places: 1,
            bars: bars(SyncInsert, 1, |case| case.first_answer_ms),
        },
        Panel {
            title: "sync-insert: peak memory",
            unit: "MB",
            places: 1,
            bars: bars(SyncInsert, 1, |case| case.peak_memory_bytes as f64 / 1024.0 / 1024.0),
        },
        Panel {
            title: "queue-consumer, batches of 10: CPU per message",
            unit: "µs",
            places: 0,
            bars: bars(QueueConsumer, 10, |case| case.warm_cpu_ms * 1000.0 / 10.0),
        },
        Panel {
            title: "queue-consumer, batches of 100: CPU per message",
            unit: "µs",
            places: 0,
            bars: bars(QueueConsumer, 100, |case| case.warm_cpu_ms * 1000.0 / 100.0),
        },
    ]
}

/// Draws a panel below `y`, and says where it ends.
fn draw_panel(body: &mut String, panel: &Panel, mut y: f64) -> f64 {
    let Panel { title, unit, places, bars } = panel;
    let most = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let _ = writeln!(body, r#"<text class="title" x="12" y="{}">{title}</text>"#, y - 10.0);
    for (contestant, value) in bars {
        let length = (value / most * (WIDTH - LEFT - RIGHT)).max(1.0);
        let class = if *contestant == Contestant::Intake { "ours" } else { "peer" };
        let middle = y + BAR * 0.72;
        let _ = writeln!(
            body,
            r#"<text x="{}" y="{middle}" text-anchor="end">{contestant}</text><rect class="{class}" x="{LEFT}" y="{y}" width="{length:.1}" height="{BAR}" rx="2"/><text x="{:.1}" y="{middle}">{} {unit}</text>"#,
            LEFT - 8.0,
            LEFT + length + 6.0,
            decimals(*value, *places),
        );
        y += BAR + GAP;
    }
    y + 34.0
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
