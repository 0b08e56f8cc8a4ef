//! PSGD with a full matrix for its preconditioner.

use burn::tensor::{Bool, DType, Tensor};
use osculate_linalg::{BlockPartition, Triangle, substitute};

use super::descent::{Preconditioner, Rows, Update, step};
use super::factor::{Storage, invertible, is_there, plus_identity};
use super::geometry::{Descent, Direction, PsgdGeometry, SpectralNorm};
use super::low_rank::{column, flat, transpose};
use super::precondition::{PsgdFit, STATISTICS_LIMIT, limited};
use super::probes::RowProbeFn;
use super::settings::{Settings, psgd_config};
use crate::config::{Check, ConfigError};
use crate::curvature::CurvatureSource;
use crate::engine::{
    BlockRule, BlockState, Field, RefreshSchedule, RuleError, Stack, Stepped, constructors,
    put_rows, take_rows,
};
use crate::parameter::Parameter;
use crate::registry::{OptimizerRow, read, to_value};
use crate::weight_decay::WeightDecay;

psgd_config! {
    /// PSGD with a full matrix for its preconditioner, for parameters of up to a few thousand elements.
    ///
    /// For a parameter as a vector of `n` elements, `P = QᵀQ` with a dense `Q`. An update with the pair
    /// `(v, h)`:
    ///
    /// ```text
    /// a = P h,  b = v                          (a = Q h, b = Q^-T v for Eq)
    /// L = max(β L + (1 - β) l, l)              with l = |a|² + |b|²
    /// Q moves by (lr_preconditioner / L) (a aᵀ - b bᵀ), in the geometry
    /// ```
    ///
    /// The step is `θ = (1 - lr λ) θ - lr clip(P m)` for the averaged gradient `m`. With Newton's pairs
    /// `P` becomes `|H|⁻¹`, one rank-two change a step: a quasi-Newton method that needs neither a line
    /// search nor a positive Hessian.
    ///
    /// - Cost of a step: 4 matrix-vector products and those of the [geometry](PsgdGeometry), which are
    ///   matrix-vector products too except in `Eq`, `Q05Eq15` and `Pro4p`. Newton adds 2 gradient
    ///   evaluations where an update is due.
    /// - State: `n (n + 1) / 2` elements for a block of `n` in `Quad`, `Quad4p` and `Eq`, `n²` in the
    ///   others, and `n` with momentum.
    /// - Learning rate: begin at 5e-3, where AdamW has 3e-3; once Newton's `P` is fitted, up to 1, a Newton step. The
    ///   study has no figure for it.
    /// - When not to use it: for matrices of any size; [`PsgdKronConfig`](crate::PsgdKronConfig) is for
    ///   them.
    ///
    /// Paper: Li, *Stochastic Hessian fittings with Lie groups*, <https://arxiv.org/abs/2402.11858>.
    ///
    /// ```
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::{Device, Distribution, Tensor};
    /// use osculate_optim::{ClosureOptimizer, PsgdDenseConfig};
    ///
    /// let device = Device::flex().autodiff();
    /// device.seed(1);
    /// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
    /// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
    /// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
    /// let mut optimizer = PsgdDenseConfig::new().init()?;
    /// let mut losses = Vec::new();
    /// for _ in 0..10 {
    ///     let step = optimizer.step(0.03, model, &loss)?;
    ///     losses.push(step.report.loss());
    ///     model = step.model;
    /// }
    /// assert!(losses[9] < losses[0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub struct PsgdDenseConfig {
        /// What is fitted. Default `Newton`.
        fit: "PsgdFit::Newton",
        /// Step size of the preconditioner's own descent. Default 0.1, the authors'.
        lr_preconditioner: 0.1,
        /// In which coordinates. Default `Quad`, whose update costs two matrix-vector products.
        #[config(default = "PsgdGeometry::Quad")]
        pub geometry: PsgdGeometry,
        /// How the norm within a Procrustes rotation is found. Default `Bound`.
        #[config(default = "SpectralNorm::Bound")]
        pub norm: SpectralNorm,
        /// Largest block with one matrix; a longer parameter is cut into blocks of this length. Default
        /// 1024.
        #[config(default = 1024)]
        pub max_size: usize,
    }
}

impl PsgdDenseConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, a negative or non-finite number, a size of 0,
    /// or an invalid schedule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.rule().map(|_| ())
    }

    /// The rule, for [`Driver::of_blocks`](crate::Driver::of_blocks) or
    /// [`PerParameter`](crate::PerParameter).
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn rule(&self) -> Result<PsgdDense, ConfigError> {
        let name = match self.fit {
            PsgdFit::Newton => "psgd-dense-newton",
            _ => "psgd-dense",
        };
        let check = Check::of("PsgdDenseConfig").that(
            self.max_size > 0,
            "max_size",
            self.max_size,
            "at least 1",
        );
        Ok(PsgdDense {
            settings: self.settings(name, check)?,
            descent: Descent {
                geometry: self.geometry,
                norm: self.norm,
            },
            max_size: self.max_size,
        })
    }
}

constructors!(PsgdDenseConfig);

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "psgd-dense",
    text: "dense preconditioner fitted to Hessian products",
    learning_rate: 5e-3,
    gradients: 3.0,
    state: "block / 2",
    defaults: || to_value(&PsgdDenseConfig::new()),
    build: |settings| Ok(read::<PsgdDenseConfig>(settings, "settings")?.init()?),
};

/// The rule of [`PsgdDenseConfig`].
#[derive(Debug, Clone)]
pub struct PsgdDense {
    settings: Settings,
    descent: Descent,
    max_size: usize,
}

const FACTOR: &str = "q";
const BOUND: &str = "lipschitz";

impl BlockRule for PsgdDense {
    fn name(&self) -> &'static str {
        self.settings.name
    }

    fn partition(&self, parameter: &Parameter) -> BlockPartition {
        BlockPartition::new(&[parameter.num_elements()], self.max_size)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let n = dims.iter().product();
        let mut fields = vec![
            Field::new(FACTOR, self.storage().len(n), compute),
            Field::new(BOUND, 1, compute),
        ];
        fields.extend(self.settings.fields(dims, compute));
        fields
    }

    fn wants_curvature(&self, step: u64) -> bool {
        self.settings.wants_curvature(step)
    }

    fn curvature_source(&self) -> Option<Box<dyn CurvatureSource>> {
        self.settings.curvature_source()
    }

    fn weight_decay(&self) -> WeightDecay {
        self.settings.weight_decay()
    }

    fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError> {
        step(self, &self.settings, stack)
    }
}

impl PsgdDense {
    /// Draws the probes of damping and of whitening by the caller's own function instead of from the
    /// run's seed.
    pub fn with_probes(mut self, probes: RowProbeFn) -> Self {
        self.settings.probes.set(probes);
        self
    }

    fn storage(&self) -> Storage {
        Storage::of(self.descent.geometry)
    }

    /// The pair in the coordinates of `q`: columns `[k, n, 1]`.
    #[expect(clippy::expect_used, reason = "the factor is square")]
    fn pair(
        &self,
        q: &Tensor<3>,
        h: Tensor<3>,
        v: Option<Tensor<3>>,
    ) -> (Tensor<3>, Option<Tensor<3>>) {
        let (a, b) = match self.descent.geometry {
            PsgdGeometry::Eq => {
                let solved = v.map(|v| {
                    let lower = transpose(&invertible(q));
                    substitute(lower, v, Triangle::Lower).expect("a column of the same length")
                });
                (times(q, h), solved)
            }
            PsgdGeometry::Qep => {
                let p = transposed_times(q, times(q, h));
                (times(q, p), v.map(|v| times(q, v)))
            }
            PsgdGeometry::Quad4p | PsgdGeometry::Pro4p => (times(q, h), v),
            _ => (transposed_times(q, times(q, h)), v),
        };
        let bounded = |x: Tensor<3>| column(limited(flat(x), STATISTICS_LIMIT));
        (bounded(a), b.map(bounded))
    }
}

/// The factor of a stack, with its Lipschitz bound `[k, 1]`.
pub(super) struct Dense {
    q: Tensor<3>,
    storage: Storage,
    bound: Tensor<2>,
}

impl Rows for Dense {
    fn rows(&self, rows: &[usize]) -> Self {
        Self {
            q: self.storage.rows(&self.q, rows),
            storage: self.storage,
            bound: take_rows(&self.bound, rows),
        }
    }

    fn with_rows(self, rows: &[usize], part: Self) -> Self {
        Self {
            q: self.storage.with_rows(self.q, rows, part.q),
            storage: self.storage,
            bound: put_rows(self.bound, rows, part.bound),
        }
    }
}

impl Preconditioner for PsgdDense {
    type State = Dense;

    fn take(&self, state: &mut BlockState, dims: &[usize]) -> Result<Dense, RuleError> {
        let (n, storage) = (dims.iter().product(), self.storage());
        Ok(Dense {
            q: storage.unpack(state.take(FACTOR)?, n),
            storage,
            bound: state.take(BOUND)?,
        })
    }

    fn put(&self, state: &mut BlockState, own: Dense) -> Result<(), RuleError> {
        state.put(FACTOR, own.storage.pack(own.q))?;
        state.put(BOUND, own.bound)
    }

    fn start(&self, state: Dense, _: &Stack<'_>, scale: Tensor<2>) -> Dense {
        let scale = if self.descent.geometry.fits_p() {
            scale.square()
        } else {
            scale
        };
        Dense {
            q: plus_identity(state.q, scale),
            ..state
        }
    }

    fn is_there(&self, state: &Dense) -> Tensor<2, Bool> {
        is_there(&state.q)
    }

    fn whitens_with_probe(&self) -> bool {
        // In the other geometries the expectation of v vᵀ is the identity, and exact.
        let geometry = self.descent.geometry;
        matches!(geometry, PsgdGeometry::Eq | PsgdGeometry::Qep)
    }

    fn update(&self, state: Dense, update: Update<'_>) -> Dense {
        let (h, v) = (column(update.source), update.probe.map(column));
        let (a, b) = self.pair(&state.q, h, v);
        let norm = squared_length(&a);
        let norm = match &b {
            Some(b) => norm + squared_length(b),
            None => norm.add_scalar(1.0),
        };
        let (bound, mu) = self.settings.step_size(state.bound, norm, &update.live);
        let direction = Direction::Pair(Box::new((a, b)));
        Dense {
            q: self.descent.dense(state.q, &direction, mu),
            storage: state.storage,
            bound,
        }
    }

    fn apply(&self, state: &Dense, x: Tensor<2>, _: &[usize]) -> Tensor<2> {
        let x = times(&state.q, column(x));
        let x = if self.descent.geometry.fits_p() {
            x
        } else {
            transposed_times(&state.q, x)
        };
        flat(x)
    }
}

/// `A x` for columns `[k, n, 1]`.
fn times(a: &Tensor<3>, x: Tensor<3>) -> Tensor<3> {
    a.clone().matmul(x)
}

/// `Aᵀ x`.
fn transposed_times(a: &Tensor<3>, x: Tensor<3>) -> Tensor<3> {
    transpose(a).matmul(x)
}

/// The squared length of columns `[k, n, 1]`, `[k, 1]`.
fn squared_length(x: &Tensor<3>) -> Tensor<2> {
    let [k, _, _] = x.dims();
    x.clone().square().sum_dim(1).reshape([k, 1])
}
