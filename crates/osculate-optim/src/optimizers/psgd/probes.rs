//! The random signs of damping and of whitening.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};

use crate::engine::{Row, Stack};

/// A user's own probe for a block: of the given length, with independent elements of zero mean and
/// unit variance. It must depend on the block, the block's step and the length alone, or a resumed
/// run differs from an uninterrupted one. Several blocks may be asked for at once, in any order.
/// Another length than the one asked for panics.
///
/// ```
/// use std::sync::Arc;
///
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use osculate_optim::{ClosureOptimizer, Driver, PsgdLraConfig, Row, RowProbeFn};
///
/// // The rows of a Hadamard matrix, by the parities of bits.
/// let probes: RowProbeFn = Arc::new(|_: &Row, step: u64, len: usize| {
///     let sign = |element: usize| (step & element as u64).count_ones() % 2;
///     (0..len).map(|element| 1.0 - 2.0 * f64::from(sign(element))).collect()
/// });
/// assert_eq!(probes(&Row { path: "weight".into(), block: 0, phase: 0 }, 1, 3), [1.0, -1.0, 1.0]);
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::ones([8, 4], &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let rule = PsgdLraConfig::new().rule()?.with_probes(probes);
/// let mut optimizer = Driver::of_blocks(rule);
/// let step = optimizer.step(0.01, model, &loss)?;
/// let before = step.report.loss();
/// assert!(optimizer.step(0.01, step.model, &loss)?.report.loss() < before);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type RowProbeFn = Arc<dyn Fn(&Row, u64, usize) -> Vec<f64> + Send + Sync>;

/// Where the random signs of damping and of whitening come from: the run's seed, or the user.
#[derive(Clone, Default)]
pub(super) struct Probes {
    custom: Option<RowProbeFn>,
}

impl Debug for Probes {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probes")
            .field("custom", &self.custom.is_some())
            .finish()
    }
}

/// Keeps the probes apart from other random numbers of the same seed.
const STREAM: u64 = 0x5053_4744;

impl Probes {
    pub(super) fn set(&mut self, custom: RowProbeFn) {
        self.custom = Some(custom);
    }

    /// One probe for each row of a stack, `[k, len]`. Signs have the second moments of normal
    /// numbers, which is all that the criterion sees of a probe, and are cheaper to draw.
    pub(super) fn draw(&self, stack: &Stack<'_>, len: usize) -> Tensor<2> {
        let Some(custom) = &self.custom else {
            return stack.rademacher(STREAM, len);
        };
        let at = (&stack.gradient.device(), stack.gradient.dtype());
        let rows = stack.rows.iter();
        let values: Vec<f64> = rows.flat_map(|row| custom(row, stack.step, len)).collect();
        Tensor::from_data(TensorData::new(values, [stack.len(), len]), at)
    }
}
