//! How much memory the optimizers' states take on a layer of a given shape.

use burn::tensor::Device;
use osculate::optim::registry::OptimizerKind;

use crate::entrant::Entrant;
use crate::error::BenchError;
use crate::layer::{layer, parse_shape};
use crate::report::Grid;

/// Optimizers whose state can be kept in half precision, with the setting that does it.
const HALVES: [(&str, &str); 5] = [
    ("shampoo-bf16_roots=shampoo", "bf16_roots=true"),
    ("soap-bf16_bases=soap", "bf16_bases=true"),
    ("kl-soap-bf16_bases=kl-soap", "bf16_bases=true"),
    ("psgd-kron-half_factors=psgd-kron", "half_factors=true"),
    ("muon-half_momentum=muon", "muon.half_momentum=true"),
];

/// Elements of a matrix that is asked for at most.
const LARGEST: usize = 1 << 26;

/// State bytes over parameter bytes of every optimizer, and of those whose state can be kept in half
/// precision, on one `f32` matrix: what they will keep, without a step.
///
/// # Errors
/// [`BenchError::Usage`] for a shape that is not `ROWSxCOLUMNS`.
pub fn measure(shape: &str, device: &Device) -> Result<Grid, BenchError> {
    let [rows, columns] = parse_shape("--memory", shape, LARGEST)?;
    let model = layer([rows, columns], &device.clone().autodiff());
    let mut grid = Grid::new(["optimizer", "state / params"]);
    let plain = OptimizerKind::all().into_iter().map(Entrant::new);
    let halves = HALVES.iter();
    let halves = halves.map(|(name, setting)| name.parse::<Entrant>()?.with_settings([setting]));
    for entrant in plain.chain(halves) {
        let entrant = entrant?;
        let forecast = entrant.recipe.build(0)?.forecast(&model);
        let forecast = forecast.map_err(|cause| BenchError::Step {
            optimizer: entrant.label.clone(),
            message: cause.to_string(),
        })?;
        let ratio = forecast.state_bytes as f64 / forecast.parameter_bytes as f64;
        grid.rows.push(vec![entrant.label, format!("{ratio:.2}")]);
    }
    Ok(grid)
}
