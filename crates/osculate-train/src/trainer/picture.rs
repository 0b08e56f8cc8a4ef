//! The run in pictures.

use std::path::Path;

use plotters::prelude::*;

use super::error::TrainerError;
use super::log::Line;
use super::task::Judged;

/// A curve over steps.
struct Curve {
    title: String,
    points: Vec<(f64, f64)>,
}

/// The pictures that [`draw_all`] may write.
pub(crate) const FILES: [&str; 3] = [LOSS, EVALUATION, SHARPNESS];
const LOSS: &str = "loss.svg";
const EVALUATION: &str = "evaluation.svg";
const SHARPNESS: &str = "sharpness.svg";

const SIZE: (u32, u32) = (800, 460);
/// A blue that is told apart with any colour vision (Okabe and Ito).
const COLOUR: RGBColor = RGBColor(0, 114, 178);

/// Draws what a log holds into a folder; a curve of fewer than two points is left out.
pub(crate) fn draw_all(lines: &[Line], judged: Judged, folder: &Path) -> Result<(), TrainerError> {
    let pictures = [
        (LOSS, losses(lines)),
        (EVALUATION, evaluations(lines, judged)),
        (SHARPNESS, sharpness(lines)),
    ];
    for (name, curve) in pictures {
        if curve.points.len() < 2 {
            continue;
        }
        let path = folder.join(name);
        let svg = draw(&curve).map_err(|message| TrainerError::Picture {
            path: path.display().to_string(),
            message,
        })?;
        std::fs::write(&path, svg).map_err(TrainerError::output("write", &path))?;
    }
    Ok(())
}

fn losses(lines: &[Line]) -> Curve {
    let points = lines.iter().filter_map(|line| match line {
        Line::Train { step, loss, .. } => Some((*step as f64, (*loss)?)),
        _ => None,
    });
    Curve {
        title: "training loss".to_string(),
        points: points.collect(),
    }
}

fn evaluations(lines: &[Line], judged: Judged) -> Curve {
    let points = lines.iter().filter_map(|line| match line {
        Line::Evaluation { step, metrics, .. } => {
            Some((*step as f64, metrics.get(judged.metric).copied().flatten()?))
        }
        _ => None,
    });
    Curve {
        title: judged.metric.replace('_', " "),
        points: points.collect(),
    }
}

fn sharpness(lines: &[Line]) -> Curve {
    let points = lines.iter().filter_map(|line| match line {
        Line::Sharpness {
            step, sharpness, ..
        } => Some((*step as f64, (*sharpness)?)),
        _ => None,
    });
    Curve {
        title: "sharpness".to_string(),
        points: points.collect(),
    }
}

/// The ends of an axis that holds all values with a little room.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) = values.fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)));
    let room = 0.05 * (most - least);
    let room = if room > 0.0 {
        room
    } else {
        least.abs().max(1.0) * 0.05
    };
    (least - room, most + room)
}

fn draw(curve: &Curve) -> Result<String, String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let (left, right) = (
            curve.points.first().map_or(0.0, |point| point.0),
            curve.points.last().map_or(1.0, |point| point.0),
        );
        let (bottom, top) = range(curve.points.iter().map(|point| point.1));
        let paint = || -> Result<(), DrawingAreaErrorKind<_>> {
            area.fill(&WHITE)?;
            let mut chart = ChartBuilder::on(&area)
                .margin(12)
                .caption(&curve.title, ("sans-serif", 22))
                .x_label_area_size(40)
                .y_label_area_size(64)
                .build_cartesian_2d(left..right, bottom..top)?;
            chart
                .configure_mesh()
                .light_line_style(WHITE)
                .x_desc("steps")
                .x_label_formatter(&|x| format!("{x:.0}"))
                .label_style(("sans-serif", 14))
                .axis_desc_style(("sans-serif", 15))
                .draw()?;
            let points = curve.points.iter().copied();
            chart.draw_series(LineSeries::new(points, COLOUR.stroke_width(2)))?;
            area.present()
        };
        paint().map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn curves_of_two_points_are_drawn() {
        let evaluation = |step, value| Line::Evaluation {
            step,
            epoch: 0,
            seconds: 0.0,
            gradient_evaluations: 0.0,
            metrics: BTreeMap::from([("accuracy".to_string(), value)]),
        };
        let lines = [
            evaluation(1, Some(0.5)),
            evaluation(2, None),
            evaluation(3, Some(0.5)),
        ];
        let folder = tempfile::tempdir().unwrap();
        draw_all(&lines, Judged::highest("accuracy"), folder.path()).unwrap();
        let svg = std::fs::read_to_string(folder.path().join("evaluation.svg")).unwrap();
        assert!(svg.contains("accuracy") && svg.contains("polyline"));
        assert!(!folder.path().join("loss.svg").exists());
    }
}
