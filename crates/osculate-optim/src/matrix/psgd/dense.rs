use burn::config::Config;
use burn::tensor::{Bool, DType, Tensor};
use osculate_linalg::{BlockPartition, Triangle, substitute};

use super::descent::{COUNT, MOMENTUM, Preconditioner, Shared, Update, shared, step};
use super::factor::{Factor, FactorKind};
use super::geometry::{Descent, Direction, PsgdGeometry, SpectralNorm};
use super::precondition::{PsgdFit, STATISTICS_LIMIT, limited};
use super::probes::RowProbeFn;
use crate::config::{Check, ConfigError, StepPolicy};
use crate::matrix::{Field, MatrixRule, RefreshSchedule, Stack, Stepped, matrix_doors};

/// [`PsgdDense`] configuration.
#[derive(Config, Debug)]
pub struct PsgdDenseConfig {
    /// What is fitted. Default `Newton`.
    #[config(default = "PsgdFit::Newton")]
    pub fit: PsgdFit,
    /// In which coordinates. Default `Quad`, whose update costs two matrix-vector products.
    #[config(default = "PsgdGeometry::Quad")]
    pub geometry: PsgdGeometry,
    /// Decay of the gradient's average; 0 for none. Default 0.9.
    #[config(default = 0.9)]
    pub momentum: f64,
    /// Step size of the preconditioner's own descent. Default 0.1.
    #[config(default = 0.1)]
    pub lr_preconditioner: f64,
    /// Decay of the Lipschitz bound of that descent. Default 0.9.
    #[config(default = 0.9)]
    pub lipschitz_decay: f64,
    /// Standard deviation of the noise on the fitted gradient, which bounds `P` by its inverse.
    /// 0 for none. Default 1e-9.
    #[config(default = 1e-9)]
    pub damping: f64,
    /// Scale of the first `Q`, a multiple of the identity; measured on the first gradient that is
    /// not zero for `None`. Default `None`.
    pub init_scale: Option<f64>,
    /// Largest block with one matrix; a longer parameter is cut into blocks of this length. Default
    /// 1024.
    #[config(default = 1024)]
    pub max_size: usize,
    /// In which steps the preconditioner is updated. Default: in all.
    #[config(default = "RefreshSchedule::ALWAYS")]
    pub schedule: RefreshSchedule,
    /// Updates the preconditioner before it is applied to the same gradient. Default `true`.
    #[config(default = true)]
    pub update_first: bool,
    /// Largest root mean square of a preconditioned block. Default 2.
    #[config(default = "Some(2.0)")]
    pub clip_rms: Option<f64>,
    /// Largest magnitude of an element of it. Default 10.
    #[config(default = "Some(10.0)")]
    pub clip_element: Option<f64>,
    /// Decoupled weight decay, applied before the step. Default 0.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// How the norm within a Procrustes rotation is found. Default `Bound`.
    #[config(default = "SpectralNorm::Bound")]
    pub norm: SpectralNorm,
    /// Settings of the step that do not depend on the method.
    #[config(default = "StepPolicy::new()")]
    pub policy: StepPolicy,
}

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
/// With Newton's pairs `P` becomes `|H|⁻¹`, one rank-two change a step: a quasi-Newton method that
/// needs neither a line search nor a positive Hessian. Learning rates are then up to 1.
///
/// - Cost of a step: 4 matrix-vector products and those of the [geometry](PsgdGeometry), which are
///   matrix-vector products too except in `Eq`, `Q05Eq15` and `Pro4p`. Newton adds 2 gradient
///   evaluations where an update is due.
/// - State: `n (n + 1) / 2` elements for a block of `n` in `Quad`, `Quad4p` and `Eq`, `n²` in the
///   others, and `n` with momentum.
/// - When not to use it: for matrices of any size; [`PsgdKron`](crate::PsgdKron) is for them.
///
/// Paper: Li, *Stochastic Hessian fittings with Lie groups*, <https://arxiv.org/abs/2402.11858>.
///
/// ```
/// use osculate_optim::PsgdDenseConfig;
/// let optimizer = PsgdDenseConfig::new().stacked()?;
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PsgdDense {
    config: PsgdDenseConfig,
    shared: Shared,
}

const FACTOR: &str = "q";
const BOUND: &str = "lipschitz";

matrix_doors!(PsgdDenseConfig, PsgdDense);

impl PsgdDenseConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, a negative or non-finite number, a size of 0,
    /// or an invalid schedule or policy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.rule().map(|_| ())
    }

    pub(crate) fn rule(&self) -> Result<PsgdDense, ConfigError> {
        let check = Check::of("PsgdDenseConfig").that(
            self.max_size > 0,
            "max_size",
            self.max_size,
            "at least 1",
        );
        Ok(PsgdDense {
            shared: shared!(self, check)?,
            config: self.clone(),
        })
    }
}

impl PsgdDense {
    /// Draws the probes of damping and of whitening by the caller's own function instead of from the
    /// policy's seed.
    pub fn with_probes(mut self, probes: RowProbeFn) -> Self {
        self.shared.probes.set(probes);
        self
    }

    fn kind(&self) -> FactorKind {
        FactorKind::dense(self.config.geometry)
    }
}

/// The factor of a stack, with its Lipschitz bound `[k, 1]`.
pub(super) struct Dense {
    q: Tensor<3>,
    bound: Tensor<2>,
}

/// `A x` for columns `[k, n, 1]`.
fn times(a: &Tensor<3>, x: Tensor<3>) -> Tensor<3> {
    a.clone().matmul(x)
}

/// `Aᵀ x`.
fn transposed_times(a: &Tensor<3>, x: Tensor<3>) -> Tensor<3> {
    a.clone().swap_dims(1, 2).matmul(x)
}

/// The squared length of columns `[k, n, 1]`, `[k, 1]`.
fn squared_length(x: &Tensor<3>) -> Tensor<2> {
    let [k, _, _] = x.dims();
    x.clone().square().sum_dim(1).reshape([k, 1])
}

impl Preconditioner for PsgdDense {
    type State = Dense;

    fn unpack(&self, fields: Vec<Tensor<2>>, dims: &[usize]) -> Dense {
        let mut fields = fields.into_iter();
        let (Some(packed), Some(bound)) = (fields.next(), fields.next()) else {
            unreachable!("the rule has these fields");
        };
        let (k, n) = (packed.dims()[0], dims[0]);
        let q = match Factor::unpack(packed, self.kind(), n) {
            Factor::Dense(q, _) => q,
            Factor::Diagonal(q) => q.reshape([k, n, 1]),
        };
        Dense { q, bound }
    }

    fn pack(&self, state: Dense) -> Vec<Tensor<2>> {
        vec![Factor::Dense(state.q, self.kind()).pack(), state.bound]
    }

    fn start(&self, state: Dense, _: &Stack<'_>, scale: Tensor<2>) -> Dense {
        let scale = if self.config.geometry.fits_p() {
            scale.square()
        } else {
            scale
        };
        let q = state.q.clone() + Factor::identity_like(&state.q) * scale.unsqueeze_dim::<3>(2);
        Dense { q, ..state }
    }

    fn is_there(&self, state: &Dense) -> Tensor<2, Bool> {
        Factor::Dense(state.q.clone(), self.kind()).is_there()
    }

    fn whitens_with_probe(&self) -> bool {
        // In the other geometries the expectation of v vᵀ is the identity, and exact.
        matches!(self.config.geometry, PsgdGeometry::Eq | PsgdGeometry::Qep)
    }

    #[expect(clippy::expect_used, reason = "the factor is square")]
    fn update(&self, state: Dense, update: Update<'_>) -> Dense {
        let column = |x: Tensor<2>| x.unsqueeze_dim::<3>(2);
        let geometry = self.config.geometry;
        let q = &state.q;
        let h = column(update.source);
        let v = update.probe.map(column);
        let (a, b) = match geometry {
            PsgdGeometry::Eq => {
                let whole = Factor::Dense(q.clone(), self.kind()).invertible();
                let solved = v.map(|v| {
                    let Factor::Dense(whole, _) = &whole else {
                        return v;
                    };
                    let lower = whole.clone().swap_dims(1, 2);
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
        let bounded = |x: Tensor<3>| column(limited(x.squeeze_dim::<2>(2), STATISTICS_LIMIT));
        let (a, b) = (bounded(a), b.map(bounded));
        let descent = Descent {
            geometry,
            lr: self.config.lr_preconditioner,
            beta: self.config.lipschitz_decay,
            norm: self.config.norm,
        };
        let norm = squared_length(&a);
        let norm = match &b {
            Some(b) => norm + squared_length(b),
            None => norm.add_scalar(1.0),
        };
        let bound = descent.bound(state.bound.clone(), norm);
        let mu = descent.step(bound.clone());
        let mu = mu.mask_fill(update.live.clone().bool_not(), 0.0);
        Dense {
            q: descent.dense(state.q, &Direction::Pair(Box::new((a, b))), mu),
            bound: state.bound.mask_where(update.live, bound),
        }
    }

    fn apply(&self, state: &Dense, x: Tensor<2>, _: &[usize]) -> Tensor<2> {
        let x = times(&state.q, x.unsqueeze_dim::<3>(2));
        let x = if self.config.geometry.fits_p() {
            x
        } else {
            transposed_times(&state.q, x)
        };
        x.squeeze_dim::<2>(2)
    }
}

impl MatrixRule for PsgdDense {
    const FIELDS: &'static [&'static str] = &[FACTOR, BOUND, COUNT, MOMENTUM];

    fn name(&self) -> &'static str {
        match self.config.fit {
            PsgdFit::Newton => "psgd-dense-newton",
            _ => "psgd-dense",
        }
    }

    fn partition(&self, shape: &[usize]) -> BlockPartition {
        let n = shape.iter().product();
        BlockPartition::new(&[n], self.config.max_size)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let n = dims[0];
        let mut fields = vec![
            Field::new(FACTOR, self.kind().len(n), compute),
            Field::new(BOUND, 1, compute),
        ];
        fields.extend(self.shared.fields(dims, compute));
        fields
    }

    fn wants_product(&self, step: u64) -> bool {
        self.shared.wants_product(step)
    }

    fn step(&self, stack: Stack<'_>) -> Stepped {
        step(self, &self.shared, stack)
    }
}
