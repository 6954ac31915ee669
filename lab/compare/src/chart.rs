//! Pictures: what they consist of, and how that is drawn. Each is drawn twice, for a page and for a phone, where what
//! is side by side on a page is one below the other. They have a ground of their own, light or dark as the reader
//! prefers.

use plotters::{
    coord::{Shift, types::RangedCoordf64},
    element::EmptyElement,
    prelude::*,
    series::DashedLineSeries,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{callers::Caller, output::Files};

pub(crate) const INK: RGBColor = RGBColor(0x1F, 0x23, 0x28);
pub(crate) const GREY: RGBColor = RGBColor(0x8B, 0x94, 0x9E);
/// The colours of the two designs, which stand for nothing else.
pub(crate) const SYNCHRONOUS: RGBColor = RGBColor(0x2F, 0x81, 0xF7);
pub(crate) const QUEUE: RGBColor = RGBColor(0xDB, 0x8B, 0x0B);
/// Messages and requests that were not accepted.
pub(crate) const NOT_ACCEPTED: RGBColor = RGBColor(0xD9, 0x3A, 0x3A);
pub(crate) const THROTTLED: RGBColor = RGBColor(0xF0, 0xA5, 0xA0);
const GROUND: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);
const GRID: RGBColor = RGBColor(0xD0, 0xD7, 0xDE);

/// The colours of ground, ink and grid on a dark page. The others read on both.
const DARK: &str = "<style>@media (prefers-color-scheme: dark) {\
    [fill=\"#FFFFFF\"] { fill: #0D1117 } [stroke=\"#FFFFFF\"] { stroke: #0D1117 }\
    [fill=\"#1F2328\"] { fill: #E6EDF3 } [stroke=\"#1F2328\"] { stroke: #E6EDF3 }\
    [fill=\"#D0D7DE\"] { fill: #30363D } [stroke=\"#D0D7DE\"] { stroke: #30363D }\
    }</style>";

/// The widths of a README's column, on a screen and on a phone: a pixel of a picture is one of the page.
const WIDTH: u32 = 830;
const PHONE_WIDTH: u32 = 358;

/// The sizes of text, in pixels: a title; legends and captions; what is within a panel; axes.
const TITLE: f64 = 15.0;
const LEGEND: f64 = 12.5;
const TEXT: f64 = 12.0;
const LABEL: f64 = 11.0;

/// The heights of a line of the title, and of one with a legend or a caption, in pixels.
const TITLE_HEIGHT: u32 = 24;
const LINE_HEIGHT: u32 = 22;

/// Between the left edge and where text begins.
const MARGIN: i32 = 8;

/// The axes' labels: left of a panel, or room for half of one below it; below it, and below it with a name.
const LEFT: u32 = 52;
const LEFT_BARE: u32 = 18;
const BELOW: u32 = 20;
const BELOW_NAMED: u32 = 38;

/// A label for about so many pixels of a vertical axis.
const PIXELS_PER_LABEL: u32 = 24;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
pub(crate) type Point = (f64, f64);

pub(crate) fn colour(caller: Caller) -> RGBColor {
    match caller {
        Caller::Once | Caller::Retrying => SYNCHRONOUS,
        Caller::Queue => QUEUE,
    }
}

pub(crate) struct Picture {
    pub(crate) title: String,
    /// One below the other.
    pub(crate) strips: Vec<Strip>,
}

/// A part of a picture, over its whole width.
pub(crate) enum Strip {
    /// What the colours mean, and what that is about.
    Legend(&'static str, Vec<Key>),
    /// Side by side on a page, one below the other on a phone, each of this height in pixels.
    Panels(u32, Vec<Panel>),
}

/// An entry of a legend: its colour, or its colours if it has one for each design.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) colours: Vec<RGBColor>,
    pub(crate) is_dashed: bool,
}

pub(crate) fn key(name: &'static str, colours: impl Into<Vec<RGBColor>>) -> Key {
    Key { name, colours: colours.into(), is_dashed: false }
}

pub(crate) fn dashed_key(name: &'static str, colour: RGBColor) -> Key {
    Key { is_dashed: true, ..key(name, [colour]) }
}

pub(crate) struct Panel {
    /// Above it, with the colour of its design if it has one.
    pub(crate) caption: Option<(&'static str, Option<RGBColor>)>,
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
    /// Without lines and labels.
    pub(crate) is_bare: bool,
}

impl Axis {
    pub(crate) fn numbers(from: f64, to: f64) -> Self {
        Self { from, to, name: "", label: |number| format!("{number}"), is_bare: false }
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
    Dashed(Vec<Point>, RGBColor),
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
    /// Lines of text.
    Text(Point, String, HPos),
}

/// The end of a vertical axis for these marks: a round number above the highest.
pub(crate) fn top<'a>(marks: impl IntoIterator<Item = &'a Mark>) -> f64 {
    let highest = |mark: &Mark| match mark {
        Mark::Line(points, _) | Mark::Dashed(points, _) | Mark::Dots(points, ..) => {
            points.iter().map(|(_, y)| *y).fold(0.0, f64::max)
        }
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

impl Picture {
    /// The files of the picture: for a page, and for a phone.
    pub(crate) fn files(&self, name: &str) -> Files {
        vec![(format!("{name}.svg"), self.svg(WIDTH)), (format!("{name}-phone.svg"), self.svg(PHONE_WIDTH))]
    }

    fn svg(&self, width: u32) -> String {
        let title = wrap(&self.title, TITLE, width);
        let title_height = TITLE_HEIGHT * title.len() as u32 + 6;
        let height = title_height + self.strips.iter().map(|strip| strip.height(width)).sum::<u32>();
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
            done(area.fill(&GROUND));
            for (line, text) in (0..).zip(&title) {
                write(&area, (MARGIN, 16 + line * TITLE_HEIGHT as i32), text, TITLE);
            }
            let (_, mut rest) = area.split_vertically(title_height);
            for strip in &self.strips {
                let (top, below) = rest.split_vertically(strip.height(width));
                strip.draw(&top, width);
                rest = below;
            }
            done(area.present());
        }
        let (tag, content) = svg.split_once('>').unwrap_or_default();
        format!("{tag} role=\"img\">\n<title>{}</title>\n{DARK}{content}", self.title)
    }
}

impl Strip {
    fn height(&self, width: u32) -> u32 {
        match self {
            Self::Legend(title, keys) => LINE_HEIGHT * (1 + keys_at(title, keys, width).1),
            Self::Panels(height, panels) => {
                let is_captioned = panels.iter().any(|panel| panel.caption.is_some());
                let height = height + if is_captioned { LINE_HEIGHT } else { 0 };
                height * if width == WIDTH { 1 } else { panels.len() as u32 }
            }
        }
    }

    fn draw(&self, area: &Area<'_>, width: u32) {
        match self {
            Self::Legend(title, keys) => {
                write(area, (MARGIN, 11), title, LEGEND);
                for (key, (x, line)) in keys.iter().zip(keys_at(title, keys, width).0) {
                    key.draw(area, (x, line as i32 * LINE_HEIGHT as i32));
                }
            }
            Self::Panels(_, panels) => {
                let cells = if width == WIDTH { (1, panels.len()) } else { (panels.len(), 1) };
                for (cell, panel) in area.split_evenly(cells).iter().zip(panels) {
                    panel.draw(cell);
                }
            }
        }
    }
}

/// Where each entry of a legend is: how far to the right, and in which line. And the last line.
fn keys_at(title: &str, keys: &[Key], width: u32) -> (Vec<(i32, u32)>, u32) {
    let title_width = if title.is_empty() { 0 } else { text_width(title, LEGEND) + 12 };
    let (mut x, mut line) = (MARGIN + title_width, 0);
    let mut place = |key: &Key| {
        let key_width = 20 + text_width(key.name, TEXT);
        if x + key_width > width as i32 {
            (x, line) = (MARGIN, line + 1);
        }
        let at = (x, line);
        x += key_width + 12;
        at
    };
    (keys.iter().map(&mut place).collect(), line)
}

impl Key {
    fn draw(&self, area: &Area<'_>, (x, y): (i32, i32)) {
        let piece = 12 / self.colours.len() as i32;
        for (index, colour) in (0..).zip(&self.colours) {
            let from = x + index * piece;
            let filled = |from, to, low, high| {
                done(area.draw(&Rectangle::new([(from, y + low), (to, y + high)], colour.filled())));
            };
            if self.is_dashed {
                filled(from, from + 5, 10, 12);
                filled(from + 8, from + 13, 10, 12);
            } else {
                filled(from, from + piece, 6, 16);
            }
        }
        write(area, (x + 18, y + 11), self.name, TEXT);
    }
}

impl Panel {
    fn draw(&self, area: &Area<'_>) {
        let mut area = area.clone();
        if let Some((caption, colour)) = &self.caption {
            let (line, below) = area.split_vertically(LINE_HEIGHT);
            match colour {
                Some(colour) => key(caption, [*colour]).draw(&line, (LEFT as i32, 0)),
                None => write(&line, (LEFT as i32, 11), caption, TEXT),
            }
            area = below;
        }
        let (x, y) = (self.x, self.y);
        let height = area.dim_in_pixel().1;
        let mut chart = done(
            ChartBuilder::on(&area)
                .margin_right(14)
                .margin_top(4)
                .x_label_area_size(if x.name.is_empty() { BELOW } else { BELOW_NAMED })
                .y_label_area_size(if y.is_bare { LEFT_BARE } else { LEFT })
                .build_cartesian_2d(x.from..x.to, y.from..y.to),
        );
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT)
            .bold_line_style(GRID.stroke_width(1))
            .axis_style(GRID.stroke_width(1));
        mesh.x_labels(5).y_labels((height / PIXELS_PER_LABEL) as usize).x_desc(x.name);
        if y.is_bare {
            mesh.disable_y_mesh().disable_y_axis();
        }
        mesh.axis_desc_style(font(TEXT).color(&INK)).label_style(font(LABEL).color(&INK));
        let (x_label, y_label) = (|value: &f64| (x.label)(*value), |value: &f64| (y.label)(*value));
        done(mesh.x_label_formatter(&x_label).y_label_formatter(&y_label).draw());
        for mark in &self.marks {
            self.draw_mark(&mut chart, mark);
        }
    }

    fn draw_mark(&self, chart: &mut Chart<'_, '_>, mark: &Mark) {
        let (x, y) = (self.x, self.y);
        let dashed = |chart: &mut Chart<'_, '_>, points: Vec<Point>, colour: &RGBColor| {
            done(chart.draw_series(DashedLineSeries::new(points, 6, 5, colour.stroke_width(2))));
        };
        let line = |chart: &mut Chart<'_, '_>, points: Vec<Point>, colour: &RGBColor| {
            done(chart.draw_series(LineSeries::new(points, colour.stroke_width(2))));
        };
        match mark {
            Mark::Line(points, colour) => line(chart, points.clone(), colour),
            Mark::Dashed(points, colour) => dashed(chart, points.clone(), colour),
            Mark::Rule(at, colour) => line(chart, vec![(*at, y.from), (*at, y.to)], colour),
            Mark::Level(at, colour) => dashed(chart, vec![(x.from, *at), (x.to, *at)], colour),
            Mark::Shade(from, to, colour) => {
                let corners = [(*from, y.from), (*to, y.to)];
                done(chart.draw_series([Rectangle::new(corners, colour.mix(0.25).filled())]));
            }
            Mark::Bar(from, to, colour) => {
                done(chart.draw_series([Rectangle::new([*from, *to], colour.filled())]));
            }
            Mark::Dots(points, colour, radius) => {
                let dot = |point: &Point| Circle::new(*point, *radius, colour.mix(0.6).filled());
                done(chart.draw_series(points.iter().map(dot)));
            }
            Mark::Text(at, text, side) => {
                let style = TextStyle::from(font(TEXT)).color(&INK).pos(Pos::new(*side, VPos::Center));
                let line = |(number, text): (i32, &str)| {
                    EmptyElement::at(*at) + Text::new(text.to_owned(), (0, 14 * number), style.clone())
                };
                done(chart.draw_series((0..).zip(text.lines()).map(line)));
            }
        }
    }
}

/// Text of this size in pixels: the backend divides by the factor.
fn font(size: f64) -> FontDesc<'static> {
    ("sans-serif", 1.24 * size).into_font()
}

/// About how wide a text is. The backend cannot measure it.
fn text_width(text: &str, size: f64) -> i32 {
    (0.58 * size * text.chars().count() as f64).ceil() as i32
}

/// Lines that are about as wide as the picture.
fn wrap(text: &str, size: f64, width: u32) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one");
        if !line.is_empty() && text_width(&format!("{line} {word}"), size) > width as i32 - 2 * MARGIN {
            lines.push(word.to_owned());
        } else {
            *line += if line.is_empty() { "" } else { " " };
            *line += word;
        }
    }
    lines
}

/// A drawing into memory does not fail, unless the picture is too small for its parts.
fn done<T, E: std::error::Error>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("a picture cannot be drawn: {error}"))
}

fn write(area: &Area<'_>, at: (i32, i32), text: &str, size: f64) {
    let style = TextStyle::from(font(size)).color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
    done(area.draw(&Text::new(text.to_owned(), at, style)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_the_colours_of_a_dark_page() {
        let marks = vec![Mark::Line(vec![(0.0, 0.0), (1.0, 1.0)], SYNCHRONOUS)];
        let panel = Panel { caption: None, x: Axis::numbers(0.0, 1.0), y: Axis::logarithms(1.0), marks };
        let legend = Strip::Legend("legend", vec![key("not accepted", [NOT_ACCEPTED])]);
        let picture =
            Picture { title: "title".to_owned(), strips: vec![legend, Strip::Panels(80, vec![panel])] };
        let svg = picture.svg(WIDTH);
        assert!(svg.contains("prefers-color-scheme"), "{svg}");
        for colour in ["fill=\"#FFFFFF\"", "fill=\"#1F2328\"", "fill=\"#D93A3A\"", "stroke=\"#2F81F7\""] {
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
        let marks = [Mark::Level(10.0, INK), Mark::Bar((0.0, 0.0), (1.0, 40.0), INK)];
        assert!((top(&marks) - 50.0).abs() < 1e-9, "with room above the highest");
    }
}
