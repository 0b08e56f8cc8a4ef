use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};

use crate::matrix::{Row, Stack};

/// A user's own probe for a block: of the given length, with independent elements of zero mean and
/// unit variance. It must depend on the block, the block's step and the length alone, or a resumed
/// run differs from an uninterrupted one. Several blocks may be asked for at once, in any order.
pub type RowProbeFn = Arc<dyn Fn(&Row, u64, usize) -> Vec<f64> + Send + Sync>;

/// Where the random signs of damping and of the EQ geometry come from.
#[derive(Clone)]
pub(super) struct Probes {
    seed: u64,
    custom: Option<RowProbeFn>,
}

impl Debug for Probes {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probes")
            .field("seed", &self.seed)
            .field("custom", &self.custom.is_some())
            .finish()
    }
}

/// Keeps the stream of probes apart from others of the same seed.
const STREAM: u64 = 0x5053_4744;

impl Probes {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed: seed ^ STREAM,
            custom: None,
        }
    }

    pub(super) fn set(&mut self, custom: RowProbeFn) {
        self.custom = Some(custom);
    }

    /// One probe for each row of a stack, `[k, len]`. Signs have the second moments of normal
    /// numbers, which is all that the criterion sees of a probe, and are cheaper to draw.
    pub(super) fn draw(&self, stack: &Stack<'_>, len: usize) -> Tensor<2> {
        let Some(custom) = &self.custom else {
            return stack.rademacher(self.seed, len);
        };
        let at = (&stack.gradient.device(), stack.gradient.dtype());
        let rows = stack.rows.iter();
        let values: Vec<f64> = rows.flat_map(|row| custom(row, stack.step, len)).collect();
        Tensor::from_data(TensorData::new(values, [stack.len(), len]), at)
    }
}
