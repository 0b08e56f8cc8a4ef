use plotters::prelude::*;

use crate::race::NetResults;
use crate::run::{Point, Run};

/// What the curves run over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Steps made.
    Steps,
    /// Seconds spent in steps.
    Seconds,
}

impl Axis {
    /// Name in file names.
    pub fn name(self) -> &'static str {
        match self {
            Axis::Steps => "steps",
            Axis::Seconds => "seconds",
        }
    }

    fn of(self, point: &Point) -> f64 {
        match self {
            Axis::Steps => point.step as f64,
            Axis::Seconds => point.seconds,
        }
    }
}

/// Colours that are told apart with any colour vision (Okabe and Ito), and a grey.
const COLOURS: [RGBColor; 9] = [
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(240, 228, 66),
    RGBColor(127, 127, 127),
];

/// A curve: the mean over the seeds.
struct Curve {
    name: &'static str,
    /// Place on the axis, test accuracy, training loss.
    points: Vec<(f64, f64, f64)>,
}

/// A figure of test accuracy and training loss, as SVG.
///
/// # Errors
/// What the drawing library says.
pub fn draw(net: &NetResults, axis: Axis) -> Result<String, String> {
    let curves = curves(&net.runs, axis);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (1100, 460)).into_drawing_area();
        panels(&area, &curves, net.title, axis).map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type DrawError<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

fn panels<'a>(
    area: &Area<'a>,
    curves: &[Curve],
    title: &str,
    axis: Axis,
) -> Result<(), DrawError<'a>> {
    area.fill(&WHITE)?;
    let area = area.titled(title, ("sans-serif", 22))?;
    let (left, right) = area.split_horizontally(550);
    let right_end = curves
        .iter()
        .filter_map(|curve| curve.points.last())
        .map(|point| point.0)
        .fold(0.0, f64::max)
        .max(f64::MIN_POSITIVE);
    let unit = match axis {
        Axis::Steps => "steps",
        Axis::Seconds => "seconds of training",
    };

    let lowest = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|point| point.1)
        .fold(1.0, f64::min);
    // The interesting part is at the top: what lies below is cut off.
    let bottom = lowest.clamp(0.7, 0.9) * 100.0;
    let mut chart = ChartBuilder::on(&left)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..right_end, bottom..100.0)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(unit)
        .y_desc("test accuracy, %")
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 15))
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.into_iter().cycle()) {
        let points = curve
            .points
            .iter()
            .map(|(x, accuracy, _)| (*x, (100.0 * accuracy).max(bottom)));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font(("sans-serif", 14))
        .draw()?;

    let losses = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|point| point.2)
        .filter(|loss| loss.is_finite() && *loss > 0.0);
    let (least, most) = losses.fold((f64::MAX, 0.0_f64), |(a, b), x| (a.min(x), b.max(x)));
    let (least, most) = if least < most {
        (least * 0.8, most * 1.2)
    } else {
        (1e-3, 1.0)
    };
    let mut chart = ChartBuilder::on(&right)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..right_end, (least..most).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(unit)
        .y_desc("training loss")
        .y_label_formatter(&|y| format!("{y:.0e}"))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 15))
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.into_iter().cycle()) {
        let points = curve
            .points
            .iter()
            .filter(|(_, _, loss)| loss.is_finite() && *loss > 0.0)
            .map(|(x, _, loss)| (*x, *loss));
        chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
    }
    area.present()
}

/// One curve for each optimizer: the mean, test by test, for as far as all of its runs got. Where a
/// run ended early the curve ends with it, lest it jump to the mean of the others.
fn curves(runs: &[Run], axis: Axis) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for run in runs {
        if curves.iter().any(|curve| curve.name == run.optimizer) {
            continue;
        }
        let same: Vec<&Run> = runs
            .iter()
            .filter(|other| other.optimizer == run.optimizer)
            .collect();
        let shared = same.iter().map(|run| run.points.len()).min().unwrap_or(0);
        let points = (0..shared)
            .map(|index| {
                let at: Vec<&Point> = same
                    .iter()
                    .filter_map(|run| run.points.get(index))
                    .collect();
                let mean = |value: &dyn Fn(&Point) -> f64| {
                    at.iter().map(|point| value(point)).sum::<f64>() / at.len() as f64
                };
                (
                    mean(&|point| axis.of(point)),
                    mean(&|point| point.test_accuracy),
                    mean(&|point| point.train_loss),
                )
            })
            .collect();
        curves.push(Curve {
            name: run.optimizer,
            points,
        });
    }
    curves
}
