//! Pictures: what they consist of, and how that is drawn. They have a ground of their own, light or dark as the reader
//! prefers.

use plotters::{
    coord::{Shift, types::RangedCoordf64},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

pub(crate) const INK: RGBColor = RGBColor(0x1F, 0x23, 0x28);
pub(crate) const GREY: RGBColor = RGBColor(0x8B, 0x94, 0x9E);
pub(crate) const BLUE: RGBColor = RGBColor(0x2F, 0x81, 0xF7);
pub(crate) const GREEN: RGBColor = RGBColor(0x2D, 0xA4, 0x4E);
pub(crate) const RED: RGBColor = RGBColor(0xE5, 0x53, 0x4B);
pub(crate) const ORANGE: RGBColor = RGBColor(0xDB, 0x8B, 0x0B);
pub(crate) const PURPLE: RGBColor = RGBColor(0xA3, 0x71, 0xF7);
const GROUND: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);
const GRID: RGBColor = RGBColor(0xD0, 0xD7, 0xDE);

/// The colours of ground, ink and grid on a dark page. The others read on both.
const DARK: &str = "<style>@media (prefers-color-scheme: dark) {\
    [fill=\"#FFFFFF\"] { fill: #0D1117 } [stroke=\"#FFFFFF\"] { stroke: #0D1117 }\
    [fill=\"#1F2328\"] { fill: #E6EDF3 } [stroke=\"#1F2328\"] { stroke: #E6EDF3 }\
    [fill=\"#D0D7DE\"] { fill: #30363D } [stroke=\"#D0D7DE\"] { stroke: #30363D }\
    }</style>";

const FONT: &str = "sans-serif";
const WIDTH: u32 = 1_080;

/// About how many labels an axis has.
const LABELS: usize = 6;

/// The heights of a title, and of a line with a legend or captions, in pixels.
const TITLE_HEIGHT: u32 = 36;
const LINE_HEIGHT: u32 = 26;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
pub(crate) type Point = (f64, f64);

/// A part of a picture, over its whole width.
pub(crate) enum Strip {
    /// What the colours mean, and what that is about.
    Legend(&'static str, Vec<(&'static str, RGBColor)>),
    /// For the panels below, in their order.
    Captions(Vec<&'static str>),
    /// Beside each other. All strips of panels have the same height.
    Panels(Vec<Panel>),
}

pub(crate) struct Panel {
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) marks: Vec<Mark>,
}

#[derive(Clone, Copy)]
pub(crate) struct Axis {
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// What is below it; only for a horizontal one.
    pub(crate) name: &'static str,
    pub(crate) label: fn(f64) -> String,
}

impl Axis {
    pub(crate) fn numbers(from: f64, to: f64) -> Self {
        Self { from, to, name: "", label: |number| format!("{number}") }
    }

    /// Powers of ten, in milliseconds: from 1 ms to 10^`to` ms. For points by [`log`].
    pub(crate) fn logarithms(to: f64) -> Self {
        let label = |log| match 10_f64.powf(log) {
            ms if ms >= 1_000.0 => format!("{} s", (ms / 1_000.0).round()),
            ms => format!("{} ms", ms.round()),
        };
        Self { label, ..Self::numbers(0.0, to) }
    }

    pub(crate) fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }
}

/// Where a time is on an axis of logarithms.
pub(crate) fn log(ms: f64) -> f64 {
    ms.max(1.0).log10()
}

pub(crate) enum Mark {
    Line(Vec<Point>, RGBColor),
    /// A dashed line at this height, over the whole width.
    Level(f64, RGBColor),
    /// A line here, over the whole height.
    Rule(f64, RGBColor),
    /// A shade from here to there, over the whole height.
    Shade(f64, f64, RGBColor),
    /// Between two corners.
    Bar(Point, Point, RGBColor),
    /// With their radius in pixels.
    Dots(Vec<Point>, RGBColor, i32),
    Text(Point, String, RGBColor, HPos),
}

/// The end of a vertical axis for these marks: a round number above the highest.
pub(crate) fn top<'a>(marks: impl IntoIterator<Item = &'a Mark>) -> f64 {
    let highest = |mark: &Mark| match mark {
        Mark::Line(points, _) | Mark::Dots(points, ..) => points.iter().map(|(_, y)| *y).fold(0.0, f64::max),
        Mark::Level(y, _) | Mark::Bar(_, (_, y), _) => *y,
        _ => 0.0,
    };
    round_up(1.05 * marks.into_iter().map(highest).fold(0.0, f64::max))
}

pub(crate) fn round_up(value: f64) -> f64 {
    let unit = 10_f64.powf(value.max(1.0).log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps.iter().map(|step| step * unit).find(|end| *end >= value).unwrap_or(10.0 * unit)
}

/// A picture of this height: the title and the strips, one below the other.
pub(crate) fn svg(height: u32, title: &str, strips: &[Strip]) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        done(area.fill(&GROUND));
        write(&area, (12, 18), title, 18);
        let (_, mut rest) = area.split_vertically(TITLE_HEIGHT);
        let is_line = |strip: &&Strip| !matches!(strip, Strip::Panels(_));
        let lines = strips.iter().filter(is_line).count() as u32;
        let panel = (height - TITLE_HEIGHT - LINE_HEIGHT * lines) / (strips.len() as u32 - lines);
        for strip in strips {
            let (top, below) = rest.split_vertically(if is_line(&strip) { LINE_HEIGHT } else { panel });
            strip.draw(&top);
            rest = below;
        }
        done(area.present());
    }
    // Between the first tag and its content.
    let content = svg.find("<svg").and_then(|tag| Some(tag + svg[tag..].find('>')? + 1)).unwrap_or(0);
    format!("{}\n{DARK}{}", &svg[..content], &svg[content..])
}

impl Strip {
    fn draw(&self, area: &Area<'_>) {
        match self {
            Self::Captions(captions) => {
                for (column, caption) in area.split_evenly((1, captions.len())).iter().zip(captions) {
                    write(column, (48, 14), caption, 15);
                }
            }
            Self::Legend(title, entries) => {
                // The backend cannot measure text: about 7 pixels a letter.
                let width = |text: &str, letter: i32| letter * text.chars().count() as i32;
                write(area, (12, 12), title, 15);
                let mut x = 36 + width(title, 8);
                for (name, colour) in entries {
                    done(area.draw(&Rectangle::new([(x, 7), (x + 10, 17)], colour.filled())));
                    write(area, (x + 16, 12), name, 14);
                    x += 38 + width(name, 7);
                }
            }
            Self::Panels(panels) => {
                for (column, panel) in area.split_evenly((1, panels.len())).iter().zip(panels) {
                    panel.draw(column);
                }
            }
        }
    }
}

impl Panel {
    fn draw(&self, area: &Area<'_>) {
        let (x, y) = (self.x, self.y);
        let mut chart = done(
            ChartBuilder::on(area)
                .margin_right(14)
                .margin_top(4)
                .x_label_area_size(if x.name.is_empty() { 20 } else { 38 })
                .y_label_area_size(48)
                .build_cartesian_2d(x.from..x.to, y.from..y.to),
        );
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT)
            .bold_line_style(GRID.stroke_width(1))
            .axis_style(GRID.stroke_width(1));
        mesh.x_labels(LABELS).y_labels(LABELS).x_desc(x.name);
        mesh.axis_desc_style((FONT, 13).into_font().color(&INK))
            .label_style((FONT, 12).into_font().color(&INK));
        let (x_label, y_label) = (|value: &f64| (x.label)(*value), |value: &f64| (y.label)(*value));
        done(mesh.x_label_formatter(&x_label).y_label_formatter(&y_label).draw());
        for mark in &self.marks {
            self.draw_mark(&mut chart, mark);
        }
    }

    fn draw_mark(&self, chart: &mut Chart<'_, '_>, mark: &Mark) {
        let (x, y) = (self.x, self.y);
        let mut line = |points: Vec<Point>, colour: &RGBColor| {
            done(chart.draw_series(LineSeries::new(points, colour.stroke_width(2))));
        };
        match mark {
            Mark::Line(points, colour) => line(points.clone(), colour),
            Mark::Rule(at, colour) => line(vec![(*at, y.from), (*at, y.to)], colour),
            Mark::Level(at, colour) => {
                let point = |piece: i32| (x.from + (x.to - x.from) * f64::from(piece) / 60.0, *at);
                (0..60).step_by(2).for_each(|piece| line(vec![point(piece), point(piece + 1)], colour));
            }
            Mark::Shade(from, to, colour) => {
                let corners = [(*from, y.from), (*to, y.to)];
                done(chart.draw_series([Rectangle::new(corners, colour.mix(0.18).filled())]));
            }
            Mark::Bar(from, to, colour) => {
                done(chart.draw_series([Rectangle::new([*from, *to], colour.filled())]));
            }
            Mark::Dots(points, colour, radius) => {
                let dot = |point: &Point| Circle::new(*point, *radius, colour.mix(0.55).filled());
                done(chart.draw_series(points.iter().map(dot)));
            }
            Mark::Text(at, text, colour, side) => {
                let style = TextStyle::from((FONT, 13)).color(colour).pos(Pos::new(*side, VPos::Center));
                done(chart.draw_series([Text::new(text.clone(), *at, style)]));
            }
        }
    }
}

/// A drawing into memory does not fail, unless the picture is too small for its parts.
fn done<T, E: std::error::Error>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("a picture cannot be drawn: {error}"))
}

fn write(area: &Area<'_>, at: (i32, i32), text: &str, size: i32) {
    let style = TextStyle::from((FONT, size)).color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
    done(area.draw(&Text::new(text.to_owned(), at, style)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_the_colours_of_a_dark_page() {
        let marks = vec![Mark::Line(vec![(0.0, 0.0), (1.0, 1.0)], BLUE)];
        let panel = Panel { x: Axis::numbers(0.0, 1.0), y: Axis::logarithms(1.0), marks };
        let svg =
            svg(100, "title", &[Strip::Legend("legend", vec![("red", RED)]), Strip::Panels(vec![panel])]);
        assert!(svg.starts_with("<svg") && svg.contains("prefers-color-scheme"), "{svg}");
        for colour in ["fill=\"#FFFFFF\"", "fill=\"#1F2328\"", "fill=\"#E5534B\"", "stroke=\"#2F81F7\""] {
            assert!(svg.contains(colour), "{colour}: {svg}");
        }
    }

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, end) in
            [(0.0, 1.0), (7.0, 8.0), (12.0, 15.0), (61.0, 80.0), (100.0, 100.0), (101.0, 150.0)]
        {
            assert!((round_up(value) - end).abs() < 1e-9, "{value}: {}", round_up(value));
        }
        let marks = [Mark::Level(10.0, RED), Mark::Bar((0.0, 0.0), (1.0, 40.0), RED)];
        assert!((top(&marks) - 50.0).abs() < 1e-9, "with room above the highest");
    }
}
