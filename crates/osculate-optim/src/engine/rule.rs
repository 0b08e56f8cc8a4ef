//! The trait of block rules, and what goes in and out of a step.

use std::fmt::Debug;
use std::sync::Arc;

use burn::tensor::{Bool, DType, Device, Shape, Tensor};
use osculate_curvature::{ParamEntry, ParamLayout, ParamVec};
use osculate_linalg::BlockPartition;

use super::error::RuleError;
use super::schedule::Refresh;
use super::state::BlockState;
use crate::curvature::CurvatureSource;
use crate::parameter::{Orientation, Parameter};
use crate::weight_decay::WeightDecay;

/// An update rule that acts on stacks of equal-shaped blocks.
///
/// A rule turns a gradient into a **direction** `u`; the step is `θ ← θ - lr u`. Rate, weight decay,
/// step-size policy, masks and averaging are the [`Driver`](crate::Driver)'s. The engine cuts
/// parameters into blocks, stacks blocks of equal dimensions over the whole model, keeps and records
/// the state, leaves out parameters with a gradient or an update that is not finite, and counts solver
/// failures.
///
/// One rule serves both ways in: [`Driver::of_blocks`](crate::Driver::of_blocks), the closure optimizer,
/// and [`PerParameter`](crate::PerParameter), a burn `Optimizer`.
///
/// A rule must treat the blocks of a stack independently: a block's direction must not depend on which
/// others are stacked with it.
///
/// ```
/// use burn::tensor::{DType, Tensor};
/// use osculate_linalg::BlockPartition;
/// use osculate_optim::{BlockRule, Field, Parameter, RuleError, Stack, Stepped};
///
/// /// Heavy ball: `m = 0.9 m + g`, `u = m`.
/// #[derive(Debug, Clone)]
/// struct HeavyBall;
///
/// impl BlockRule for HeavyBall {
///     fn name(&self) -> &'static str {
///         "heavy-ball"
///     }
///     fn partition(&self, parameter: &Parameter) -> BlockPartition {
///         BlockPartition::new(&[parameter.num_elements()], usize::MAX)
///     }
///     fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
///         vec![Field::new("m", dims.iter().product(), compute)]
///     }
///     fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError> {
///         let m = stack.state.take("m")?.mul_scalar(0.9) + stack.gradient.clone();
///         stack.state.put("m", m.clone())?;
///         Ok(Stepped::along(m))
///     }
/// }
///
/// # use osculate_optim::{ClosureOptimizer, Driver};
/// # use burn::nn::{Linear, LinearConfig};
/// # let device = burn::tensor::Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(2, 1).init(&device);
/// # let x = Tensor::<2>::ones([4, 2], &device);
/// # let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = Driver::of_blocks(HeavyBall);
/// let step = optimizer.step(0.1, model, &loss)?;
/// # let before = step.report.loss();
/// # let after = optimizer.step(0.1, step.model, &loss)?.report.loss();
/// # assert!(after < before);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait BlockRule: Clone + Debug + Send + Sync + 'static {
    /// Name of the method, in lower case.
    fn name(&self) -> &'static str;

    /// How a parameter of any rank is cut into blocks. The partition's dimensions have as many elements
    /// as the parameter and are at least one: `[1]` for a scalar.
    fn partition(&self, parameter: &Parameter) -> BlockPartition;

    /// The state of a block, the only place where its fields are declared. Every element is zero before
    /// the first step, and a block whose first gradients are skipped stays so: a rule tells a fresh
    /// block by a state of zero, not by its step.
    ///
    /// `compute` is the type in which the block is computed.
    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field>;

    /// Whether the rule asks for curvature in this step. The steps are those of the optimizer, not of
    /// one block. burn's `Optimizer` has none to give.
    fn wants_curvature(&self, step: u64) -> bool {
        let _ = step;
        false
    }

    /// Where that curvature comes from, unless the driver is given another source.
    fn curvature_source(&self) -> Option<Box<dyn CurvatureSource>> {
        None
    }

    /// The decay of the weights, which the driver applies; a group may have another rate.
    fn weight_decay(&self) -> WeightDecay {
        WeightDecay::NONE
    }

    /// Whether rows and columns mean different things to the rule. Blocks of weights that keep outputs
    /// first are then not stacked with those that keep inputs first.
    fn is_oriented(&self) -> bool {
        false
    }

    /// Parameters of one layer that make one block together, such as `[W b]`; each is its own for `None`.
    /// `layer` holds all parameters of the layer that have a gradient, in the order of the module.
    fn joins(&self, layer: &[Parameter]) -> Option<Joined> {
        let _ = layer;
        None
    }

    /// Multiplications of one refresh of a block's preconditioner, where it is made by decompositions: far
    /// beyond the usual it is announced before the first.
    fn refresh_multiplications(&self, dims: &[usize]) -> f64 {
        let _ = dims;
        0.0
    }

    /// Failures in a row of one factor's solver that are tolerated; one more ends the step with
    /// [`StepErrorCause::Solver`](crate::StepErrorCause::Solver) in the closure optimizer.
    fn tolerated_failures(&self) -> u64 {
        3
    }

    /// The direction for a stack of blocks, and their new state in the place of the old one. On CPU
    /// backends several stacks are made at once, on the threads of a pool and in any order: no lock may
    /// be held over an operation on tensors.
    ///
    /// # Errors
    /// [`RuleError`], for a state field that was not declared, and curvature that is missing or of the
    /// wrong kind. The step is then not made.
    fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError>;
}

/// Several parameters of one layer as one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Positions in the layer's list, with the matrix `[rows, columns]` that each is reshaped to.
    pub members: Vec<(usize, [usize; 2])>,
    /// Dimension along which the matrices are put together: 0 below, 1 beside each other.
    pub axis: usize,
}

/// One state tensor of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
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
    pub phase: u64,
}

/// Curvature at the point where the gradient was taken, for the blocks of a stack.
#[derive(Debug, Clone)]
// How large they are depends on the backends.
#[allow(
    clippy::large_enum_variant,
    reason = "one of them is made for a stack and taken apart in the same step"
)]
pub enum StackedCurvature {
    /// Random probes `z` and the products `H z`, `[k, n]` each.
    Product {
        /// `z`.
        probe: Tensor<2>,
        /// `H z`, zero where it is not finite.
        product: Tensor<2>,
        /// Set for the blocks whose product is finite, `[k, 1]`; `None` where nobody looked.
        finite: Option<Tensor<2, Bool>>,
    },
    /// An estimate of the diagonal, `[k, n]`.
    Diagonal {
        /// The estimate, zero where it is not finite.
        value: Tensor<2>,
        /// Set for the blocks whose estimate is finite, `[k, 1]`; `None` where nobody looked.
        finite: Option<Tensor<2, Bool>>,
    },
}

impl StackedCurvature {
    /// Set for the blocks whose estimate is finite, `[k, 1]`; `None` where nobody looked.
    pub fn finite(&self) -> Option<&Tensor<2, Bool>> {
        match self {
            Self::Product { finite, .. } | Self::Diagonal { finite, .. } => finite.as_ref(),
        }
    }
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
    /// Gradients that these blocks received before, skipped ones included.
    pub step: u64,
    /// Which side of the weights is the layer's outputs, for rules that are oriented.
    pub orientation: Orientation,
    /// Seed of the run.
    pub seed: u64,
    /// Weights, `[k, n]`.
    pub weights: Tensor<2>,
    /// Gradients, `[k, n]`; zero where they are skipped.
    pub gradient: Tensor<2>,
    /// The state, by name: a rule takes what it declared, and puts the new one in its place.
    pub state: BlockState,
    /// The curvature, where the rule asked and there is any.
    pub curvature: Option<StackedCurvature>,
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
        let phase = |row: &Row| row.phase * factors as u64 + factor as u64;
        (0..self.rows.len())
            .filter(|&index| refresh.due(self.step, phase(&self.rows[index])))
            .collect()
    }

    /// Independent signs `[k, len]`, a function of the run's seed, of `stream`, of the blocks' paths and
    /// of the step alone.
    ///
    /// Cost: about a nanosecond for each number, on the host.
    pub fn rademacher(&self, stream: u64, len: usize) -> Tensor<2> {
        self.draw(len, |layout| {
            ParamVec::rademacher(layout, self.step_seed(stream))
        })
    }

    /// Independent standard normal numbers `[k, len]`, by the same rule.
    ///
    /// Cost: about ten nanoseconds for each number, on the host.
    pub fn gaussian(&self, stream: u64, len: usize) -> Tensor<2> {
        self.draw(len, |layout| {
            ParamVec::gaussian(layout, self.step_seed(stream))
        })
    }

    fn step_seed(&self, stream: u64) -> u64 {
        crate::driver::step_seed(self.seed ^ stream, self.step)
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
    /// The direction `u` of the step `θ ← θ - lr u`, `[k, n]`.
    pub direction: Tensor<2>,
    /// Set for the blocks that stand still in this step, decay included, `[k, 1]`: those that have
    /// nothing to go by yet. Alike for all blocks of one parameter.
    pub hold: Option<Tensor<2, Bool>>,
    /// Solves on the host that were tried, with their outcomes. After a failure the rule goes on
    /// with the last good result.
    pub solves: Vec<Solve>,
    /// Whether any preconditioner of the stack was refreshed.
    pub refreshed: bool,
    /// For rules that clip by element: how many elements of each block were not clipped, `[k, 1]`.
    pub unclipped: Option<Tensor<2>>,
}

impl Stepped {
    /// A step along a direction, without solves.
    pub fn along(direction: Tensor<2>) -> Self {
        Self {
            direction,
            hold: None,
            solves: Vec::new(),
            refreshed: false,
            unclipped: None,
        }
    }
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
