use super::Palette;
use super::plot::{Axis, Panel, Series, draw};
use super::ticks::Scale;
use crate::analysis::{Cost, LARGEST_FACTOR, Results};
use crate::error::BenchError;

/// The performance profiles over steps, gradient evaluations and seconds.
///
/// # Errors
/// [`BenchError::Figure`].
pub fn profiles(results: &Results, palette: &Palette) -> Result<String, BenchError> {
    let panels: Vec<Panel> = Cost::ALL
        .iter()
        .map(|cost| Panel {
            x: Axis {
                text: format!("{} to target, over the best", cost.name()),
                scale: Scale::Linear,
                range: (1.0, LARGEST_FACTOR),
            },
            y: Axis {
                text: "part of the workloads".to_string(),
                scale: Scale::Linear,
                range: (0.0, 1.02),
            },
            series: palette
                .labels()
                .iter()
                .filter_map(|label| {
                    let standing = results.standings.iter().find(|s| s.label == *label)?;
                    Some(Series {
                        name: label.clone(),
                        colour: palette.colour(label),
                        points: stairs(&standing.profile(*cost).points),
                        band: Vec::new(),
                        dots: false,
                    })
                })
                .collect(),
            mark: None,
        })
        .collect();
    draw("Performance profiles", &panels)
}

/// The corners of a curve that rises at points, from the factor 1 to the largest.
fn stairs(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut corners = vec![(1.0, 0.0)];
    let mut height = 0.0;
    for (factor, next) in points {
        corners.push((*factor, height));
        corners.push((*factor, *next));
        height = *next;
    }
    corners.push((LARGEST_FACTOR, height));
    corners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_stairs() {
        let corners = stairs(&[(1.0, 0.5), (2.0, 0.75)]);
        assert_eq!(
            corners,
            [
                (1.0, 0.0),
                (1.0, 0.0),
                (1.0, 0.5),
                (2.0, 0.5),
                (2.0, 0.75),
                (4.0, 0.75)
            ]
        );
    }
}
