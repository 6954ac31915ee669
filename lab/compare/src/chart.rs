//! What all pictures have in common. They have a ground of their own, light or dark as the reader prefers.

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
const SIZE: i32 = 14;

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plane = Cartesian2d<RangedCoordf64, RangedCoordf64>;

/// A plane with axes.
pub(crate) struct Panel<'a, 'b>(ChartContext<'a, SVGBackend<'b>, Plane>);

/// The axes of a panel.
#[derive(Clone, Copy)]
pub(crate) struct Axes<'a> {
    pub(crate) x: (f64, f64),
    pub(crate) y: (f64, f64),
    pub(crate) x_name: &'a str,
    pub(crate) x_label: fn(f64) -> String,
    pub(crate) y_label: fn(f64) -> String,
    pub(crate) x_labels: usize,
    pub(crate) y_labels: usize,
    /// The space for the labels to the left.
    pub(crate) left: u32,
}

/// A picture as SVG.
pub(crate) fn picture(size: (u32, u32), draw: impl FnOnce(&Area<'_>)) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        done(area.fill(&GROUND));
        draw(&area);
        done(area.present());
    }
    let svg = join_dots(&svg);
    // Between the first tag and its content.
    match svg.find("<svg").and_then(|tag| Some(tag + svg[tag..].find('>')? + 1)) {
        Some(content) => format!("{}\n{DARK}{}", &svg[..content], &svg[content..]),
        None => svg,
    }
}

/// Draws dots of one kind that follow each other as one line with gaps: a picture of thousands is a tenth as large.
fn join_dots(svg: &str) -> String {
    let mut joined = String::new();
    let mut kind = None;
    for line in svg.lines() {
        let dot = line.strip_prefix("<circle ").map(|attributes| {
            let value = |name: &str| {
                let (_, rest) = attributes.split_once(&format!("{name}=\""))?;
                rest.split('"').next()
            };
            let value = |name: &str| value(name).unwrap_or_default();
            let width = 2 * value("r").parse().unwrap_or(1);
            let style = format!(
                "stroke=\"{}\" stroke-opacity=\"{}\" stroke-width=\"{width}\"",
                value("fill"),
                value("opacity")
            );
            (style, format!("M{} {}h0", value("cx"), value("cy")))
        });
        let (style, place) = dot.unzip();
        if style != kind {
            if kind.is_some() {
                joined += "\"/>\n";
            }
            if let Some(style) = &style {
                joined += &format!("<path fill=\"none\" stroke-linecap=\"round\" {style} d=\"");
            }
            kind = style;
        }
        match place {
            Some(place) => joined += &place,
            None => {
                joined += line;
                joined.push('\n');
            }
        }
    }
    joined
}

/// A drawing into memory does not fail, unless the picture is too small for its parts.
fn done<T, E: std::error::Error>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("a picture cannot be drawn: {error}"))
}

/// Writes a text.
pub(crate) fn write(area: &Area<'_>, at: (i32, i32), text: &str, size: i32, colour: RGBColor, place: HPos) {
    let style = TextStyle::from((FONT, size)).color(&colour).pos(Pos::new(place, VPos::Center));
    done(area.draw(&Text::new(text.to_owned(), at, style)));
}

/// A line above panels: what they show, and the colours.
pub(crate) fn legend(area: &Area<'_>, title: &str, entries: &[(&str, RGBColor)]) {
    write(area, (12, 12), title, SIZE + 1, INK, HPos::Left);
    // The backend cannot measure text: about 7 pixels a letter.
    let mut x = 12 + 8 * i32::try_from(title.chars().count()).unwrap_or(0) + 24;
    for (name, colour) in entries {
        done(area.draw(&Rectangle::new([(x, 7), (x + 10, 17)], colour.filled())));
        write(area, (x + 16, 12), name, SIZE, INK, HPos::Left);
        x += 16 + 7 * i32::try_from(name.chars().count()).unwrap_or(0) + 22;
    }
}

/// A panel with its grid and labels.
pub(crate) fn panel<'a, 'b>(area: &'a Area<'b>, axes: &Axes<'_>) -> Panel<'a, 'b> {
    let bottom = if axes.x_name.is_empty() { 20 } else { 38 };
    let mut chart = done(
        ChartBuilder::on(area)
            .margin_right(14)
            .margin_top(4)
            .x_label_area_size(bottom)
            .y_label_area_size(axes.left)
            .build_cartesian_2d(axes.x.0..axes.x.1, axes.y.0..axes.y.1),
    );
    let label = (FONT, SIZE - 2).into_font().color(&INK);
    done(
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.stroke_width(1))
            .axis_style(GRID.stroke_width(1))
            .x_labels(axes.x_labels)
            .y_labels(axes.y_labels)
            .x_label_formatter(&|value| (axes.x_label)(*value))
            .y_label_formatter(&|value| (axes.y_label)(*value))
            .x_desc(axes.x_name)
            .axis_desc_style((FONT, SIZE - 1).into_font().color(&INK))
            .label_style(label)
            .draw(),
    );
    Panel(chart)
}

impl Panel<'_, '_> {
    pub(crate) fn line(&mut self, points: impl IntoIterator<Item = (f64, f64)>, colour: RGBColor) {
        done(self.0.draw_series(LineSeries::new(points, colour.stroke_width(2))));
    }

    pub(crate) fn dashed(&mut self, from: (f64, f64), to: (f64, f64), colour: RGBColor) {
        // In pieces of the plane, since the points are on one line.
        let pieces = 60;
        let point = |piece: i32| {
            let part = f64::from(piece) / f64::from(pieces);
            (from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part)
        };
        for piece in (0..pieces).step_by(2) {
            let ends = [point(piece), point(piece + 1)];
            done(self.0.draw_series(LineSeries::new(ends, colour.stroke_width(2))));
        }
    }

    pub(crate) fn bar(&mut self, from: (f64, f64), to: (f64, f64), colour: RGBColor, opacity: f64) {
        done(self.0.draw_series([Rectangle::new([from, to], colour.mix(opacity).filled())]));
    }

    pub(crate) fn dots(&mut self, points: impl IntoIterator<Item = (f64, f64)>, colour: RGBColor, size: u32) {
        let dot = |point| Circle::new(point, size, colour.mix(0.55).filled());
        done(self.0.draw_series(points.into_iter().map(dot)));
    }

    pub(crate) fn text(&mut self, at: (f64, f64), text: &str, colour: RGBColor, place: HPos) {
        let style = TextStyle::from((FONT, SIZE - 1)).color(&colour).pos(Pos::new(place, VPos::Center));
        done(self.0.draw_series([Text::new(text.to_owned(), at, style)]));
    }
}

/// The end of an axis that begins at 0: a round number above the largest value.
pub(crate) fn round_up(value: f64) -> f64 {
    let unit = 10_f64.powf(value.max(1.0).log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps.iter().map(|step| step * unit).find(|end| *end >= value).unwrap_or(10.0 * unit)
}

/// A label of an axis that is a logarithm of milliseconds.
pub(crate) fn label_of_log(value: f64) -> String {
    let ms = 10_f64.powf(value);
    if ms >= 1_000.0 { format!("{} s", (ms / 1_000.0).round()) } else { format!("{} ms", ms.round()) }
}

pub(crate) fn label_of_number(value: f64) -> String {
    format!("{value}")
}

pub(crate) fn log(ms: f64) -> f64 {
    ms.max(1.0).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_the_colours_of_a_dark_page() {
        let svg = picture((100, 100), |area| legend(area, "title", &[("blue", BLUE)]));
        assert!(svg.starts_with("<svg") && svg.contains("prefers-color-scheme"), "{svg}");
        for colour in ["#FFFFFF", "#1F2328", "#2F81F7"] {
            assert!(svg.contains(&format!("fill=\"{colour}\"")), "{colour}: {svg}");
        }
    }

    #[test]
    fn dots_of_one_kind_are_one_path() {
        let dot = |x: u32, colour: &str| {
            format!(
                "<circle cx=\"{x}\" cy=\"1\" r=\"2\" opacity=\"0.5\" fill=\"{colour}\" stroke=\"none\"/>\n"
            )
        };
        let svg = ["<svg>\n", &dot(1, "#A"), &dot(2, "#A"), &dot(3, "#B"), "</svg>\n"].concat();
        let joined = join_dots(&svg);
        let path = |colour: &str, places: &str| {
            format!(
                "<path fill=\"none\" stroke-linecap=\"round\" stroke=\"{colour}\" stroke-opacity=\"0.5\" \
                 stroke-width=\"4\" d=\"{places}\"/>\n"
            )
        };
        assert_eq!(
            joined,
            ["<svg>\n", &path("#A", "M1 1h0M2 1h0"), &path("#B", "M3 1h0"), "</svg>\n"].concat()
        );
    }

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, end) in
            [(0.0, 1.0), (7.0, 8.0), (12.0, 15.0), (61.0, 80.0), (100.0, 100.0), (101.0, 150.0)]
        {
            assert!((round_up(value) - end).abs() < 1e-9, "{value}: {}", round_up(value));
        }
    }
}
