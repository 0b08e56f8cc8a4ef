use super::Palette;
use super::plot::{Axis, Colour, Panel, Series, draw};
use super::ticks::Scale;
use crate::analysis::{Cost, EntrantResults, WorkloadResults};
use crate::error::BenchError;
use crate::stats::median;
use crate::workload::Metric;

/// The metric over steps, gradient evaluations and seconds: the median of the seeds, and a band from the
/// least to the greatest.
///
/// # Errors
/// [`BenchError::Figure`].
pub fn curves(
    results: &WorkloadResults,
    palette: &Palette,
    cpu_time: bool,
) -> Result<String, BenchError> {
    let metric = &results.about.metric;
    let unit = unit(metric);
    let lines: Vec<Vec<Line>> = Cost::ALL
        .iter()
        .map(|cost| lines(results, palette, *cost, unit))
        .collect();
    let range = vertical_range(&lines, metric);
    let panels: Vec<Panel> = Cost::ALL
        .iter()
        .zip(lines)
        .map(|(cost, lines)| {
            let ends = lines
                .iter()
                .filter_map(|line| line.last())
                .map(|point| point.x);
            Panel {
                x: Axis {
                    text: axis_text(*cost, cpu_time).to_string(),
                    scale: Scale::Linear,
                    range: (0.0, ends.fold(0.0, f64::max)),
                },
                y: Axis {
                    text: metric.heading(),
                    scale: scale(metric),
                    range,
                },
                series: lines.into_iter().map(Line::into_series).collect(),
                mark: results.target.map(|target| unit * target),
            }
        })
        .collect();
    draw(&results.about.title, &panels)
}

fn axis_text(cost: Cost, cpu_time: bool) -> &'static str {
    match cost {
        Cost::Steps => "steps",
        Cost::Evaluations => "gradient evaluations",
        Cost::Seconds if cpu_time => "seconds of a core",
        Cost::Seconds => "seconds",
    }
}

pub(in crate::report) fn scale(metric: &Metric) -> Scale {
    if metric.logarithmic {
        Scale::Logarithmic
    } else {
        Scale::Linear
    }
}

/// The medians of an optimizer.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::report) struct Curve {
    pub(in crate::report) name: String,
    pub(in crate::report) colour: Colour,
    /// Places and values, in per cent where the metric is.
    pub(in crate::report) points: Vec<(f64, f64)>,
}

impl Curve {
    /// Those of all optimizers that were measured.
    pub(in crate::report) fn all(
        results: &WorkloadResults,
        palette: &Palette,
        cost: Cost,
    ) -> Vec<Self> {
        let curve = |line: Line| Self {
            name: line.name,
            colour: line.colour,
            points: line
                .points
                .iter()
                .map(|point| (point.x, point.middle))
                .collect(),
        };
        let lines = lines(results, palette, cost, unit(&results.about.metric));
        lines.into_iter().map(curve).collect()
    }
}

/// The bounds of an axis for the values of some curves.
pub(in crate::report) fn range_of(curves: &[Curve], metric: &Metric) -> (f64, f64) {
    let values = |curve: &Curve| curve.points.iter().map(|point| point.1).collect();
    bounds(curves.iter().map(values), metric)
}

fn unit(metric: &Metric) -> f64 {
    if metric.percent { 100.0 } else { 1.0 }
}

/// An optimizer's curve.
struct Line {
    name: String,
    colour: Colour,
    points: Vec<LinePoint>,
}

struct LinePoint {
    x: f64,
    middle: f64,
    low: f64,
    high: f64,
}

impl Line {
    fn last(&self) -> Option<&LinePoint> {
        self.points.last()
    }

    fn into_series(self) -> Series {
        let band = self
            .points
            .iter()
            .map(|point| (point.x, point.low, point.high));
        Series {
            name: self.name,
            colour: self.colour,
            band: band.collect(),
            points: self
                .points
                .iter()
                .map(|point| (point.x, point.middle))
                .collect(),
            dots: false,
        }
    }
}

fn lines(results: &WorkloadResults, palette: &Palette, cost: Cost, unit: f64) -> Vec<Line> {
    let line = |label: &String| {
        let entrant = results.entrant(label)?;
        Some(Line {
            name: label.clone(),
            colour: palette.colour(label),
            points: points(entrant, cost, unit),
        })
    };
    palette
        .labels()
        .iter()
        .filter_map(line)
        .filter(|line| !line.points.is_empty())
        .collect()
}

/// Measurement by measurement, for as far as all runs got: where a run ended early the curve ends with
/// it, lest it jump to the others.
fn points(entrant: &EntrantResults, cost: Cost, unit: f64) -> Vec<LinePoint> {
    let shared = entrant
        .runs
        .iter()
        .map(|run| run.points.len())
        .min()
        .unwrap_or(0);
    (0..shared)
        .filter_map(|index| {
            let at = || entrant.runs.iter().filter_map(|run| run.points.get(index));
            let values: Vec<f64> = at()
                .filter_map(|point| Some(unit * point.metric?))
                .collect();
            let places: Vec<f64> = at().map(|point| cost.of(point)).collect();
            Some(LinePoint {
                x: median(&places)?,
                middle: median(&values)?,
                low: values.iter().copied().reduce(f64::min)?,
                high: values.iter().copied().reduce(f64::max)?,
            })
        })
        .collect()
}

fn vertical_range(lines: &[Vec<Line>], metric: &Metric) -> (f64, f64) {
    let values = |line: &Line| {
        let points = line.points.iter();
        points.flat_map(|point| [point.low, point.high]).collect()
    };
    bounds(lines.iter().flatten().map(values), metric)
}

/// From the least to the greatest value of the second halves of the curves, and a little more; on a
/// logarithmic axis of the whole curves. What begins further away comes in over the edge.
fn bounds(curves: impl Iterator<Item = Vec<f64>>, metric: &Metric) -> (f64, f64) {
    let skipped = |count: usize| if metric.logarithmic { 0 } else { count / 2 };
    let values: Vec<f64> = curves
        .flat_map(|curve| curve[skipped(curve.len())..].to_vec())
        .filter(|value| value.is_finite())
        .collect();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if metric.logarithmic {
        (low * 0.8, high * 1.25)
    } else {
        let margin = 0.08 * (high - low).max(1e-9);
        let high = if metric.percent {
            (high + margin).min(100.0)
        } else {
            high + margin
        };
        (low - margin, high)
    }
}
