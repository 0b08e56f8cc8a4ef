use super::Palette;
use super::curves::scale;
use super::plot::{Axis, Panel, Series, draw};
use super::ticks::Scale;
use crate::analysis::{EntrantResults, WorkloadResults};
use crate::error::BenchError;
use crate::stats::median;

/// What a learning rate leads to, and the largest Hessian eigenvalues of the solutions. `None` where
/// neither is known.
///
/// # Errors
/// [`BenchError::Figure`].
pub fn solutions(
    results: &WorkloadResults,
    palette: &Palette,
) -> Result<Option<String>, BenchError> {
    let panels: Vec<Panel> = [sensitivity(results, palette), spectrum(results, palette)]
        .into_iter()
        .filter(|panel| !panel.series.is_empty())
        .collect();
    if panels.is_empty() {
        return Ok(None);
    }
    draw(
        &format!("{}: rates and solutions", results.about.title),
        &panels,
    )
    .map(Some)
}

/// The last measurement of the tuning trials by learning rate.
fn sensitivity(results: &WorkloadResults, palette: &Palette) -> Panel {
    let metric = &results.about.metric;
    let unit = if metric.percent { 100.0 } else { 1.0 };
    let points = |entrant: &EntrantResults| {
        let point = |trial: &crate::analysis::TuneResult| Some((trial.lr, unit * trial.last?));
        entrant.tuning.iter().filter_map(point).collect()
    };
    let series = series(results, palette, points);
    let mut y = range(
        series
            .iter()
            .flat_map(|s| s.points.iter().map(|point| point.1)),
    );
    if metric.logarithmic {
        y = (y.0 * 0.8, y.1 * 1.25);
    }
    let x = range(
        series
            .iter()
            .flat_map(|s| s.points.iter().map(|point| point.0)),
    );
    Panel {
        x: Axis {
            text: "peak learning rate".to_string(),
            scale: Scale::Logarithmic,
            range: (x.0 * 0.9, x.1 * 1.1),
        },
        y: Axis {
            text: "last measurement in tuning".to_string(),
            scale: scale(metric),
            range: y,
        },
        series,
        mark: None,
    }
}

/// The largest eigenvalues in their order, the median of the seeds.
fn spectrum(results: &WorkloadResults, palette: &Palette) -> Panel {
    let points = |entrant: &EntrantResults| {
        let found: Vec<&Vec<f64>> = entrant
            .runs
            .iter()
            .filter_map(|run| Some(&run.curvature.as_ref()?.largest))
            .collect();
        let count = found.iter().map(|values| values.len()).min().unwrap_or(0);
        (0..count)
            .filter_map(|index| {
                let values: Vec<f64> = found.iter().map(|values| values[index]).collect();
                Some(((index + 1) as f64, median(&values)?))
            })
            .collect()
    };
    let series = series(results, palette, points);
    let positive = |value: &f64| *value > 0.0;
    let values = series
        .iter()
        .flat_map(|s| s.points.iter().map(|point| point.1));
    let y = range(values.filter(positive));
    let last = series.iter().map(|s| s.points.len()).max().unwrap_or(1);
    Panel {
        x: Axis {
            text: "number of the eigenvalue".to_string(),
            scale: Scale::Linear,
            range: (0.8, last as f64 + 0.2),
        },
        y: Axis {
            text: "largest Hessian eigenvalues".to_string(),
            scale: Scale::Logarithmic,
            range: (y.0 * 0.8, y.1 * 1.25),
        },
        series,
        mark: None,
    }
}

/// Dotted lines through the points of every optimizer that has some, in the order of their places.
fn series(
    results: &WorkloadResults,
    palette: &Palette,
    points: impl Fn(&EntrantResults) -> Vec<(f64, f64)>,
) -> Vec<Series> {
    let line = |label: &String| {
        let mut points = points(results.entrant(label)?);
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        (!points.is_empty()).then(|| Series {
            name: label.clone(),
            colour: palette.colour(label),
            points,
            band: Vec::new(),
            dots: true,
        })
    };
    palette.labels().iter().filter_map(line).collect()
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}
