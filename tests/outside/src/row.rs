use osculate_optim::registry::{self, OptimizerKind, OptimizerRow, SpecError, read, to_value};

use crate::ClippedNewtonConfig;

static ROW: OptimizerRow = OptimizerRow {
    name: "clipped-newton",
    text: "Newton's step by a diagonal, clipped",
    learning_rate: 1e-2,
    gradients: 3.0,
    state: "2",
    defaults: || to_value(&ClippedNewtonConfig::new()),
    build: |settings| Ok(read::<ClippedNewtonConfig>(settings, "settings")?.init()?),
};

/// Adds [`ClippedNewton`](crate::ClippedNewton) to the registry, by the name `clipped-newton`.
///
/// # Errors
/// [`SpecError::NameTaken`] where another crate has the name.
pub fn register() -> Result<OptimizerKind, SpecError> {
    registry::register(&ROW)
}
