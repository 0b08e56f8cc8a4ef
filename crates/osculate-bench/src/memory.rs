//! How much memory the optimizers' states take on a layer of a given shape.

use burn::tensor::Device;
use osculate::optim::registry::OptimizerKind;

use crate::entrant::Entrant;
use crate::error::BenchError;
use crate::layer::{layer, objective, parse_shape};
use crate::report::Grid;
use crate::trial::{StepTimesSpec, Watch, interleaved};

/// Optimizers whose state can be kept in half precision, with the setting that does it.
const HALVES: [(&str, &str); 5] = [
    ("shampoo-bf16_roots=shampoo", "bf16_roots=true"),
    ("soap-bf16_bases=soap", "bf16_bases=true"),
    ("kl-soap-bf16_bases=kl-soap", "bf16_bases=true"),
    ("psgd-kron-half_factors=psgd-kron", "half_factors=true"),
    ("muon-half_momentum=muon", "muon.half_momentum=true"),
];

/// Elements of a matrix that is measured at most.
const LARGEST: usize = 1 << 26;

/// State bytes over parameter bytes of every optimizer, and of those whose state can be kept in half
/// precision, on one `f32` matrix after two steps.
///
/// # Errors
/// [`BenchError::Usage`] for a shape that is not `ROWSxCOLUMNS`, and [`BenchError::Step`].
pub fn measure(shape: &str, device: &Device) -> Result<Grid, BenchError> {
    let [rows, columns] = parse_shape("--memory", shape, LARGEST)?;
    let device = device.clone().autodiff();
    let mut grid = Grid::new(["optimizer", "state / params"]);
    let plain = OptimizerKind::all().into_iter().map(Entrant::new);
    let halves = HALVES.iter();
    let halves = halves.map(|(name, setting)| name.parse::<Entrant>()?.with_settings([setting]));
    for entrant in plain.chain(halves) {
        let entrant = entrant?;
        let label = entrant.label.clone();
        let lr = entrant.documented_rate();
        // One optimizer at a time: their states together may be more than there is.
        let times = interleaved(
            &StepTimesSpec {
                entrants: vec![(entrant, lr)],
                rounds: 1,
                block: 1,
            },
            || Ok(layer([rows, columns], &device)),
            |_| Ok(objective([rows, columns], &device)),
            &Watch::default(),
        )?;
        for blocks in times.entrants {
            if let Some(message) = blocks.failure {
                return Err(BenchError::Step {
                    optimizer: label,
                    message,
                });
            }
            let ratio = blocks.state_bytes as f64 / (rows * columns * size_of::<f32>()) as f64;
            grid.rows.push(vec![blocks.label, format!("{ratio:.2}")]);
        }
    }
    Ok(grid)
}
