use std::fmt::Debug;
use std::sync::Arc;

use burn::tensor::{DType, Device, Shape, Tensor};
use osculate_curvature::{ParamEntry, ParamLayout, ParamVec};
use osculate_linalg::BlockPartition;

use super::schedule::Refresh;

/// An update rule that acts on stacks of equal-shaped blocks.
///
/// One rule serves both doors: [`PerParam`](crate::PerParam), a burn `Optimizer` for one parameter
/// at a time, and [`Stacked`](crate::Stacked), which stacks the blocks of all parameters. What the
/// engine does for the rule: it cuts parameters into blocks, keeps and records the state, leaves out
/// parameters with a gradient or an update that is not finite, and counts solver failures.
///
/// A rule must treat the blocks of a stack independently: a block's update must not depend on which
/// others are stacked with it.
pub trait MatrixRule: Clone + Debug + Send + Sync + 'static {
    /// Names of all state tensors that the rule may have, under any settings.
    const FIELDS: &'static [&'static str];

    /// Name of the method, in lower case.
    fn name(&self) -> &'static str;

    /// How a parameter of this shape, of any rank, is cut into blocks. The partition's dimensions
    /// have as many elements as the shape and are at least one: `[1]` for a scalar.
    fn partition(&self, shape: &[usize]) -> BlockPartition;

    /// The state of a block. Every element is zero before the first step, and a block whose first
    /// gradients are skipped stays so: a rule tells a fresh block by a state of zero, not by its
    /// step.
    ///
    /// `compute` is the type in which the block is computed.
    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field>;

    /// Whether the rule wants a curvature product in this step, of the closure door. The steps are
    /// those of the optimizer, not of one block.
    fn wants_product(&self, step: u64) -> bool {
        let _ = step;
        false
    }

    /// Seed of the rule's own random numbers.
    fn seed(&self) -> u64 {
        0
    }

    /// Failures in a row of one factor's solver that are tolerated; one more ends the step with
    /// [`StepErrorCause::Solver`](crate::StepErrorCause::Solver) in the closure door.
    fn tolerated_failures(&self) -> u64 {
        3
    }

    /// Makes a step for a stack of blocks. On CPU backends several stacks are made at once, on the threads of
    /// a pool and in any order: no lock may be held over an operation on tensors.
    fn step(&self, stack: Stack<'_>) -> Stepped;
}

/// One state tensor of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name, one of [`MatrixRule::FIELDS`].
    pub name: &'static str,
    /// Number of elements for each block.
    pub len: usize,
    /// Element type in which it is kept between steps, where the backend has it; the type in which
    /// the block is computed otherwise. Rules always see it in the latter.
    pub dtype: DType,
}

impl Field {
    /// A state tensor of `len` elements for each block.
    pub fn new(name: &'static str, len: usize, dtype: DType) -> Self {
        Self { name, len, dtype }
    }
}

/// Which block a row of a stack is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Path of the parameter; empty where the optimizer was not told it.
    pub path: Arc<str>,
    /// Number of the block within the parameter.
    pub block: usize,
    /// The block's place in the order in which refreshes take turns.
    pub slot: u64,
}

/// A direction and its Hessian product, for rules that asked.
#[derive(Debug, Clone)]
pub struct ProductPair {
    /// Standard normal probes, `[k, n]`.
    pub probe: Tensor<2>,
    /// The Hessian times the probes, `[k, n]`.
    pub product: Tensor<2>,
}

/// `k` blocks of equal dimensions, with all that a rule needs for their next step.
///
/// All tensors are of one type: `F64` for `F64` parameters and `F32` for all others.
#[derive(Debug)]
pub struct Stack<'a> {
    /// Dimensions of every block; `n` is their product. At least one, none of them 0.
    pub dims: &'a [usize],
    /// Which blocks the rows are.
    pub rows: &'a [Row],
    /// Learning rate.
    pub lr: f64,
    /// Gradients that these blocks received before, skipped ones included.
    pub step: u64,
    /// Weights, `[k, n]`.
    pub weights: Tensor<2>,
    /// Gradients, `[k, n]`; zero where they are skipped.
    pub gradient: Tensor<2>,
    /// The state, `[k, len]` each, in the order of [`MatrixRule::fields`].
    pub state: Vec<Tensor<2>>,
    /// The curvature product, where [`MatrixRule::wants_product`] asked and there is one.
    pub product: Option<ProductPair>,
}

impl Stack<'_> {
    /// Number of blocks.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no block. The engine never makes such a stack.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Elements of a block.
    pub fn block_len(&self) -> usize {
        self.dims.iter().product()
    }

    /// The rows whose refresh is due in this step, for one of `factors` parts of a block that take
    /// turns too.
    pub fn due(&self, refresh: &Refresh, factor: usize, factors: usize) -> Vec<usize> {
        let slot = |row: &Row| row.slot * factors as u64 + factor as u64;
        (0..self.rows.len())
            .filter(|&index| refresh.due(self.step, slot(&self.rows[index])))
            .collect()
    }

    /// Independent signs `[k, len]`, a function of `seed`, the blocks' paths and the step alone.
    ///
    /// Cost: about a nanosecond for each number, on the host.
    pub fn rademacher(&self, seed: u64, len: usize) -> Tensor<2> {
        self.draw(len, |layout| {
            ParamVec::rademacher(layout, crate::session::step_seed(seed, self.step))
        })
    }

    /// Independent standard normal numbers `[k, len]`, by the same rule.
    ///
    /// Cost: about ten nanoseconds for each number, on the host.
    pub fn gaussian(&self, seed: u64, len: usize) -> Tensor<2> {
        self.draw(len, |layout| {
            ParamVec::gaussian(layout, crate::session::step_seed(seed, self.step))
        })
    }

    fn draw(&self, len: usize, draw: impl FnOnce(&Arc<ParamLayout>) -> ParamVec) -> Tensor<2> {
        let (device, dtype) = (self.gradient.device(), self.gradient.dtype());
        let entries = self
            .rows
            .iter()
            .map(|row| ParamEntry {
                path: format!("{}#{}", row.path, row.block),
                id: 0.into(),
                shape: Shape::from([len]),
                dtype,
                device: device.clone(),
            })
            .collect();
        let vector = draw(&Arc::new(ParamLayout::new(entries)));
        Tensor::stack(vector.into_tensors(), 0)
    }

    /// Zeros `[k, len]`.
    pub fn zeros(&self, len: usize) -> Tensor<2> {
        let at: (&Device, DType) = (&self.gradient.device(), self.gradient.dtype());
        Tensor::zeros([self.len(), len], at)
    }
}

/// What a rule made of a stack.
#[derive(Debug)]
pub struct Stepped {
    /// New weights, `[k, n]`.
    pub weights: Tensor<2>,
    /// New state, in the order of [`MatrixRule::fields`].
    pub state: Vec<Tensor<2>>,
    /// Solves on the host that were tried, with their outcomes. After a failure the rule goes on
    /// with the last good result.
    pub solves: Vec<Solve>,
    /// Whether any preconditioner of the stack was refreshed.
    pub refreshed: bool,
}

/// The outcome of one solve of a factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solve {
    /// Row of the stack.
    pub row: usize,
    /// Number of the factor within the block, below 8.
    pub factor: usize,
    /// The solver's message, where it failed.
    pub result: Result<(), String>,
}

/// The rows of a tensor at the given positions, in rising order.
pub fn take_rows<const D: usize>(x: &Tensor<D>, rows: &[usize]) -> Tensor<D> {
    let k = x.dims()[0];
    if rows.len() == k {
        return x.clone();
    }
    let parts = runs(rows)
        .into_iter()
        .map(|run| x.clone().narrow(0, run.start, run.len()))
        .collect();
    Tensor::cat(parts, 0)
}

/// The tensor with the given rows replaced, in rising order.
pub fn put_rows<const D: usize>(x: Tensor<D>, rows: &[usize], values: Tensor<D>) -> Tensor<D> {
    let k = x.dims()[0];
    if rows.len() == k {
        return values;
    }
    let (mut parts, mut kept, mut taken) = (Vec::new(), 0, 0);
    for run in runs(rows) {
        if run.start > kept {
            parts.push(x.clone().narrow(0, kept, run.start - kept));
        }
        parts.push(values.clone().narrow(0, taken, run.len()));
        taken += run.len();
        kept = run.end;
    }
    if kept < k {
        parts.push(x.narrow(0, kept, k - kept));
    }
    Tensor::cat(parts, 0)
}

/// Rising positions as ranges of neighbours.
fn runs(rows: &[usize]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for &row in rows {
        match runs.last_mut() {
            Some(run) if run.end == row => run.end += 1,
            _ => runs.push(row..row + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Int;

    #[test]
    fn rows_are_taken_and_put_back() {
        let x = Tensor::<1, Int>::arange(0..12, &Device::flex())
            .float()
            .reshape([6, 2]);
        for rows in [&[0, 1, 4][..], &[5], &[0, 1, 2, 3, 4, 5], &[1, 3, 5]] {
            let taken = take_rows(&x, rows);
            let values: Vec<f32> = taken.clone().try_into_vec_as().unwrap();
            let want: Vec<f32> = rows
                .iter()
                .flat_map(|&row| [2.0 * row as f32, 2.0 * row as f32 + 1.0])
                .collect();
            assert_eq!(values, want);
            let put = put_rows(x.clone(), rows, taken.mul_scalar(-1.0));
            let put: Vec<f32> = put.try_into_vec_as().unwrap();
            for (index, value) in put.iter().enumerate() {
                let sign = if rows.contains(&(index / 2)) {
                    -1.0
                } else {
                    1.0
                };
                assert_eq!(*value, sign * index as f32);
            }
        }
    }
}
