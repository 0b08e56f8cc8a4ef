//! Step times by shape.

use burn::tensor::Device;

use crate::entrant::{Entrant, check_labels};
use crate::error::BenchError;
use crate::layer::{layer, objective, parse_shape};
use crate::report::Grid;
use crate::trial::{StepTimesSpec, Watch, interleaved};

/// Steps in a block: the periods of the methods divide it.
const BLOCK: usize = 10;
/// Elements of a matrix that is measured at most.
const LARGEST: usize = 1 << 24;

/// Measures the step times of several optimizers on a network of one matrix of each shape, whose loss
/// costs next to nothing: what is left is the optimizer. All take turns; ratios refer to the first.
///
/// # Errors
/// [`BenchError::Usage`] for optimizers, shapes or rounds that are none or make no sense,
/// [`BenchError::Interrupted`].
pub fn bench_steps(
    entrants: &[Entrant],
    shapes: &[String],
    rounds: usize,
    device: &Device,
    watch: &Watch,
) -> Result<Grid, BenchError> {
    check_labels(entrants)?;
    for (option, count) in [
        ("--optimizers", entrants.len()),
        ("--shapes", shapes.len()),
        ("--rounds", rounds),
    ] {
        if count == 0 {
            return Err(BenchError::Usage(format!(
                "{option} 0: expected at least 1"
            )));
        }
    }
    let device = device.clone().autodiff();
    let mut header = vec!["optimizer".to_string()];
    let mut columns = Vec::new();
    for shape in shapes {
        let sides = parse_shape("--shapes", shape, LARGEST)?;
        let spec = StepTimesSpec {
            entrants: entrants
                .iter()
                .map(|entrant| (entrant.clone(), entrant.documented_rate()))
                .collect(),
            rounds,
            block: BLOCK,
        };
        let times = interleaved(
            &spec,
            || Ok(layer(sides, &device)),
            |_| Ok(objective(sides, &device)),
            watch,
        )?;
        header.push(shape.clone());
        columns.push(times);
    }
    let mut grid = Grid::new(header);
    for entrant in entrants {
        let label = &entrant.label;
        let mut row = vec![label.clone()];
        for times in &columns {
            row.push(match (times.seconds(label), times.ratio(label)) {
                (Some(seconds), Some(ratio)) => format!("{} {ratio:.2}x", duration(seconds)),
                _ => "failed".to_string(),
            });
        }
        grid.rows.push(row);
    }
    Ok(grid)
}

fn duration(seconds: f64) -> String {
    if seconds < 1e-3 {
        format!("{:.0} µs", 1e6 * seconds)
    } else if seconds < 1.0 {
        format!("{:.2} ms", 1e3 * seconds)
    } else {
        format!("{seconds:.2} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_optimizer_has_a_time_for_every_shape() {
        let entrants: Vec<Entrant> = ["adamw", "sophia-g", "soap"]
            .iter()
            .map(|name| name.parse().unwrap())
            .collect();
        let shapes = ["8x4".to_string(), "5x1".to_string()];
        let device = Device::flex();
        let grid = bench_steps(&entrants, &shapes, 2, &device, &Watch::default()).unwrap();
        assert_eq!(grid.rows.len(), 3);
        assert!(
            grid.rows.iter().flatten().all(|cell| cell != "failed"),
            "{grid:?}"
        );
        assert!(grid.rows[0][1].ends_with("1.00x"), "{grid:?}");
        let wrong = |shape: &str, rounds| {
            let shapes = [shape.to_string()];
            let made = bench_steps(&entrants, &shapes, rounds, &device, &Watch::default());
            made.unwrap_err().to_string()
        };
        assert!(wrong("8", 1).contains("--shapes 8"));
        assert!(wrong("0x3", 1).contains("0x3"));
        assert!(wrong("8x4", 0).contains("--rounds 0"));
    }
}
