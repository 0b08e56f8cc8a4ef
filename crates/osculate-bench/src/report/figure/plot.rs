use plotters::coord::Shift;
use plotters::prelude::*;

use super::ruler::Ruler;
use super::ticks::Scale;
use crate::error::BenchError;

/// A colour of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::report) struct Colour(RGBColor);

/// Colours that are told apart with any colour vision (Okabe and Ito, the yellow darkened), and some between, for
/// the optimizers that meet most often.
const COLOURS: [(&str, RGBColor); 12] = [
    (BLACK_ONE, RGBColor(0, 0, 0)),
    ("sgd", RGBColor(127, 127, 127)),
    ("sam", RGBColor(230, 159, 0)),
    ("sam-0.5", RGBColor(150, 100, 0)),
    ("adahessian", RGBColor(176, 160, 0)),
    ("sophia-h", RGBColor(140, 80, 40)),
    ("sophia-g", RGBColor(90, 60, 120)),
    ("shampoo", RGBColor(0, 114, 178)),
    ("soap", RGBColor(86, 180, 233)),
    ("psgd-kron", RGBColor(0, 158, 115)),
    ("muon", RGBColor(213, 94, 0)),
    ("kl-soap", RGBColor(204, 121, 167)),
];

/// The optimizer whose line is black.
const BLACK_ONE: &str = "adamw";

impl Colour {
    /// The colour of an optimizer, the same in all reports: that of the list, or one that its name decides.
    pub(super) fn of(label: &str) -> Self {
        let known = COLOURS.iter().find(|(name, _)| *name == label);
        Self(known.map_or_else(|| hashed(label), |(_, colour)| *colour))
    }

    /// Red, green and blue for a terminal; `None` for what is black on white, which is the terminal's own.
    pub(in crate::report) fn terminal(self) -> Option<[u8; 3]> {
        let RGBColor(r, g, b) = self.0;
        (self != Self::of(BLACK_ONE)).then_some([r, g, b])
    }
}

/// A colour of middle lightness whose hue a name decides.
fn hashed(label: &str) -> RGBColor {
    let hash = crc32fast::hash(label.as_bytes());
    let hue = f64::from(hash % 360) / 360.0;
    let lightness = 0.3 + 0.25 * f64::from(hash / 360 % 4) / 3.0;
    let (r, g, b) = HSLColor(hue, 0.75, lightness).to_backend_color().rgb;
    RGBColor(r, g, b)
}

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    /// What it shows.
    pub(super) text: String,
    pub(super) scale: Scale,
    /// Bounds in the values' unit; what lies outside is drawn at the edge.
    pub(super) range: (f64, f64),
}

/// A line with its band.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) colour: Colour,
    pub(super) points: Vec<(f64, f64)>,
    /// Place, lower and upper edge.
    pub(super) band: Vec<(f64, f64, f64)>,
    /// Whether the points are marked.
    pub(super) dots: bool,
}

/// A plot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Panel {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
    /// A horizontal line, such as a target.
    pub(super) mark: Option<f64>,
}

const PANEL: (u32, u32) = (380, 300);
/// Width of a name in the legend.
const NAME: i32 = 112;
const LEGEND_ROW: i32 = 20;

/// Panels side by side under a title, with one legend.
pub(super) fn draw(title: &str, panels: &[Panel]) -> Result<String, BenchError> {
    let failed = |message: String| BenchError::Figure {
        figure: title.to_string(),
        message,
    };
    let width = PANEL.0 * panels.len().max(1) as u32;
    let names = legend(panels);
    let in_a_row = (width as i32 / NAME).max(1);
    let rows = (names.len() as i32 + in_a_row - 1) / in_a_row;
    let height = PANEL.1 + 34 + (rows * LEGEND_ROW + 8) as u32;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        compose(&area, title, panels, &names, in_a_row)
            .map_err(|error| failed(error.to_string()))?;
    }
    Ok(svg)
}

/// The names with their colours, each once.
fn legend(panels: &[Panel]) -> Vec<(String, Colour)> {
    let mut names: Vec<(String, Colour)> = Vec::new();
    for series in panels.iter().flat_map(|panel| &panel.series) {
        if !names.iter().any(|(name, _)| *name == series.name) {
            names.push((series.name.clone(), series.colour));
        }
    }
    names
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type DrawError<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

fn compose<'a>(
    area: &Area<'a>,
    title: &str,
    panels: &[Panel],
    names: &[(String, Colour)],
    in_a_row: i32,
) -> Result<(), DrawError<'a>> {
    area.fill(&WHITE)?;
    let (top, bottom) = area.split_vertically(PANEL.1 + 34);
    let plots = top.titled(title, ("sans-serif", 18))?;
    for (part, panel) in plots
        .split_evenly((1, panels.len().max(1)))
        .iter()
        .zip(panels)
    {
        draw_panel(part, panel)?;
    }
    for (index, (name, colour)) in names.iter().enumerate() {
        let index = index as i32;
        let (x, y) = (
            12 + index % in_a_row * NAME,
            6 + index / in_a_row * LEGEND_ROW,
        );
        let line = [(x, y + 6), (x + 20, y + 6)];
        bottom.draw(&PathElement::new(line, colour.0.stroke_width(3)))?;
        bottom.draw(&Text::new(name.clone(), (x + 26, y), ("sans-serif", 13)))?;
    }
    area.present()
}

/// Bounds as places, with a width.
fn bounds(axis: &Axis) -> (f64, f64) {
    let (low, high) = (
        axis.scale.place(axis.range.0),
        axis.scale.place(axis.range.1),
    );
    if low.is_finite() && high.is_finite() && high > low {
        (low, high)
    } else if low.is_finite() {
        (low - 0.5, low + 0.5)
    } else {
        (0.0, 1.0)
    }
}

fn draw_panel<'a>(area: &Area<'a>, panel: &Panel) -> Result<(), DrawError<'a>> {
    let (x, y) = (bounds(&panel.x), bounds(&panel.y));
    let horizontal = Ruler::new(panel.x.scale, x.0..x.1);
    let vertical = Ruler::new(panel.y.scale, y.0..y.1);
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(14)
        .x_label_area_size(38)
        .y_label_area_size(58)
        .build_cartesian_2d(horizontal, vertical)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .x_desc(panel.x.text.as_str())
        .y_desc(panel.y.text.as_str())
        .label_style(("sans-serif", 12))
        .axis_desc_style(("sans-serif", 13))
        .draw()?;
    // What lies outside is drawn at the edge; what is no number is left out.
    let place = |(px, py): (f64, f64)| {
        let (px, py) = (panel.x.scale.place(px), panel.y.scale.place(py));
        (!px.is_nan() && !py.is_nan()).then(|| (px.clamp(x.0, x.1), py.clamp(y.0, y.1)))
    };
    for series in &panel.series {
        let edge = |upper: bool| {
            let point =
                move |(px, low, high): &(f64, f64, f64)| (*px, if upper { *high } else { *low });
            series.band.iter().map(point).filter_map(place)
        };
        let mut outline: Vec<(f64, f64)> = edge(false).collect();
        let mut back: Vec<(f64, f64)> = edge(true).collect();
        back.reverse();
        outline.append(&mut back);
        if outline.len() > 2 {
            let fill = series.colour.0.mix(0.13).filled();
            chart.draw_series([Polygon::new(outline, fill)])?;
        }
    }
    if let Some((_, level)) = panel.mark.and_then(|level| place((panel.x.range.1, level))) {
        let dashes = (0..40).step_by(2).map(|part| {
            let at = |part: i32| x.0 + (x.1 - x.0) * f64::from(part) / 40.0;
            PathElement::new(
                [(at(part), level), (at(part + 1), level)],
                RGBColor(120, 120, 120),
            )
        });
        chart.draw_series(dashes)?;
    }
    for series in &panel.series {
        let points = || series.points.iter().copied().filter_map(place);
        chart.draw_series(LineSeries::new(points(), series.colour.0.stroke_width(2)))?;
        if series.dots {
            let dot = |point| Circle::new(point, 3, series.colour.0.filled());
            chart.draw_series(points().map(dot))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_colour_and_known_ones_differ() {
        let mut found: Vec<[u8; 3]> = COLOURS
            .iter()
            .map(|(name, _)| Colour::of(name).0)
            .map(|RGBColor(r, g, b)| [r, g, b])
            .collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), COLOURS.len());
        assert_eq!(Colour::of("wide-sam"), Colour::of("wide-sam"));
        assert_ne!(Colour::of("wide-sam"), Colour::of("narrow-sam"));
        assert_eq!(Colour::of("adamw").terminal(), None);
        assert_eq!(Colour::of("sgd").terminal(), Some([127; 3]));
    }

    #[test]
    fn a_figure_is_one_svg_with_its_legend() {
        let axis = |scale, range| Axis {
            text: "steps & more".to_string(),
            scale,
            range,
        };
        let panel = Panel {
            x: axis(Scale::Linear, (0.0, 10.0)),
            y: axis(Scale::Logarithmic, (1e-3, 1.0)),
            series: vec![Series {
                name: "soap".to_string(),
                colour: Colour::of("sam"),
                points: vec![(0.0, 1.0), (5.0, 0.0), (10.0, 1e-9)],
                band: vec![(0.0, 0.5, 2.0), (10.0, 1e-4, 1e-2)],
                dots: true,
            }],
            mark: Some(0.1),
        };
        let empty = Panel {
            series: Vec::new(),
            x: axis(Scale::Linear, (0.0, 0.0)),
            y: axis(Scale::Logarithmic, (f64::INFINITY, f64::NEG_INFINITY)),
            mark: None,
        };
        let svg = draw("title", &[panel, empty]).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("soap") && svg.contains("#E69F00") && !svg.contains("NaN"));
    }
}
