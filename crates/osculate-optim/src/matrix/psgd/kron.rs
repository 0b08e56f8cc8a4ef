use burn::config::Config;
use burn::tensor::{Bool, DType, Tensor};
use osculate_linalg::BlockPartition;

use super::descent::{COUNT, MOMENTUM, Preconditioner, Shared, Update, shared, step};
use super::factor::{Factor, FactorKind};
use super::geometry::{Descent, Direction, PsgdGeometry, SpectralNorm};
use super::precondition::{PsgdFit, STATISTICS_LIMIT, limited};
use super::probes::RowProbeFn;
use crate::config::{Check, ConfigError, StepPolicy};
use crate::matrix::modes::{gram, gram_diagonal};
use crate::matrix::{Field, MatrixRule, RefreshSchedule, Stack, Stepped, matrix_doors};

/// [`PsgdKron`] configuration.
#[derive(Config, Debug)]
pub struct PsgdKronConfig {
    /// What is fitted. Default `Whitening`, the gradient.
    #[config(default = "PsgdFit::Whitening")]
    pub fit: PsgdFit,
    /// In which coordinates. Default `Quad`: symmetric factors at half the storage, and the fewest
    /// matrix products. The authors' default is `Q05Eq15`.
    #[config(default = "PsgdGeometry::Quad")]
    pub geometry: PsgdGeometry,
    /// Decay of the gradient's average; 0 for none. Default 0.9, as in the authors' wrapper for
    /// language models.
    #[config(default = 0.9)]
    pub momentum: f64,
    /// Step size of the preconditioner's own descent. Default 0.4: a run of some hundred steps ends before
    /// the authors' 0.1 has whitened its gradients. Their wrapper for language models begins with 0.5, and
    /// anneals to 0.1 or less. On functions without noise 0.1 is the faster one.
    #[config(default = 0.4)]
    pub lr_preconditioner: f64,
    /// Decay of the Lipschitz bound of that descent. Default 0.9; the authors advise 0.999 for
    /// sparse gradients.
    #[config(default = 0.9)]
    pub lipschitz_decay: f64,
    /// Standard deviation of the noise on the fitted gradient, which bounds `P` by its inverse.
    /// Rounding noise of the same relative size as the type's is added too. 0 for none. Default
    /// 1e-9.
    #[config(default = 1e-9)]
    pub damping: f64,
    /// Scale `s` of the first `Q`, `s^(1/order) I` for each factor; measured on the first gradient
    /// that is not zero for `None`. Default `None`.
    pub init_scale: Option<f64>,
    /// Largest dimension with a dense factor. Default 8192.
    #[config(default = 8192)]
    pub max_size: usize,
    /// A dimension `d` of a block of `n` elements has a dense factor only where `d² <= max_skew n`.
    /// At the default of 1 the factors have at most as many elements as twice the parameter.
    #[config(default = 1.0)]
    pub max_skew: f64,
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
    /// Keeps the factors in `bf16`. Default `false`.
    #[config(default = false)]
    pub half_factors: bool,
    /// How the norm of a statistic is found. Default `Bound`.
    #[config(default = "SpectralNorm::Bound")]
    pub norm: SpectralNorm,
    /// Settings of the step that do not depend on the method.
    #[config(default = "StepPolicy::new()")]
    pub policy: StepPolicy,
}

/// PSGD with a Kronecker product for its preconditioner: one factor for each dimension.
///
/// For a block `G` of dimensions `d_1, .., d_r` and `n` elements, `P = Π_i Q_iᵀ Q_i` along the
/// dimensions. An update of the preconditioner, with the source `h` (the gradient, or `Hv`):
///
/// ```text
/// X = P h                                  (Q h for Eq; probes B = Q^-T v)
/// T1_i = gram_i(X),   T2_i = (n / d_i) I   (gram_i(v) for Newton)
/// L_i = max(β L_i + (1 - β) |T1_i + T2_i|, |T1_i + T2_i|)
/// Q_i moves by (lr_preconditioner / L_i) (T1_i - T2_i), in the geometry
/// ```
///
/// The step is `θ = (1 - lr λ) θ - lr clip(P m)` for the averaged gradient `m`. In the steady state
/// of whitening the root mean square of `P g` is about 1, so learning rates are about those of
/// Adam's, or a third.
///
/// - A dimension of a vector, a longer side of a matrix, and every dimension with `d² > n` has a
///   diagonal factor: see `max_skew`. Dimensions of 1 are dropped.
/// - A block whose gradient is zero leaves its preconditioner alone; the first gradient that is not
///   zero sets its scale. (The authors set one scale for all tensors.)
/// - Cost of a step with an update, for each dense factor of a square matrix: 5 matrix products
///   (form `P` twice, apply it twice, the gram) and those of the [geometry](PsgdGeometry).
/// - State: `d_i (d_i + 1) / 2` elements for a dense factor in `Quad`, `Quad4p` and `Eq`, `d_i²` in
///   the others; 1 for each parameter element with momentum. A square matrix keeps 2.0 times its
///   bytes at the defaults, 1.5 with `half_factors`.
/// - When not to use it: with gradients that are mostly zero (large embeddings), whose rows each
///   need their own statistics: give those AdamW by a hybrid.
///
/// Newton's trust region by the norm over all parameters is replaced by the limits of a block.
///
/// Papers: Li, *Preconditioned stochastic gradient descent*, <https://arxiv.org/abs/1512.04202>;
/// *Curvature-informed SGD via general purpose Lie-group preconditioners*,
/// <https://arxiv.org/abs/2402.04553>; *Stochastic Hessian fittings with Lie groups*,
/// <https://arxiv.org/abs/2402.11858>.
///
/// ```
/// use osculate_optim::PsgdKronConfig;
/// let for_learner = PsgdKronConfig::new().init()?;
/// let by_closure = PsgdKronConfig::new().with_weight_decay(0.01).stacked()?;
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PsgdKron {
    config: PsgdKronConfig,
    shared: Shared,
}

/// Names of the factors.
const FACTORS: [&str; 8] = ["q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7"];
/// The Lipschitz bounds of all factors.
const BOUNDS: &str = "lipschitz";
/// Updates between two balancings of the factors' magnitudes.
const BALANCING: u64 = 100;

matrix_doors!(PsgdKronConfig, PsgdKron);

impl PsgdKronConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, a negative or non-finite number, a size of 0,
    /// or an invalid schedule or policy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.rule().map(|_| ())
    }

    pub(crate) fn rule(&self) -> Result<PsgdKron, ConfigError> {
        let check = Check::of("PsgdKronConfig")
            .that(self.max_size > 0, "max_size", self.max_size, "at least 1")
            .non_negative("max_skew", self.max_skew);
        Ok(PsgdKron {
            shared: shared!(self, check)?,
            config: self.clone(),
        })
    }
}

/// The factors of a stack, with their Lipschitz bounds `[k, r]`.
pub(super) struct Factors {
    factors: Vec<Factor>,
    bounds: Tensor<2>,
}

impl PsgdKron {
    /// Draws the probes of damping and of the EQ geometry by the caller's own function instead of
    /// from the policy's seed.
    pub fn with_probes(mut self, probes: RowProbeFn) -> Self {
        self.shared.probes.set(probes);
        self
    }

    fn kinds(&self, dims: &[usize]) -> Vec<FactorKind> {
        let n: usize = dims.iter().product();
        dims.iter()
            .map(|&d| {
                let skewed = (d * d) as f64 > self.config.max_skew * n as f64;
                if d <= 1 || d > self.config.max_size || skewed {
                    FactorKind::Diagonal
                } else {
                    FactorKind::dense(self.config.geometry)
                }
            })
            .collect()
    }

    fn descent(&self) -> Descent {
        Descent {
            geometry: self.config.geometry,
            lr: self.config.lr_preconditioner,
            beta: self.config.lipschitz_decay,
            norm: self.config.norm,
        }
    }

    /// `P x`, or `Q x` where the factors are those of `P`.
    fn preconditioned(&self, factors: &[Factor], x: Tensor<2>, dims: &[usize]) -> Tensor<2> {
        if self.config.geometry.fits_p() {
            return Factor::apply_all(factors, x, dims);
        }
        let squares: Vec<Factor> = factors.iter().map(Factor::squared).collect();
        Factor::apply_all(&squares, x, dims)
    }

    /// What the probes are compared with the sources in: `v`, or `Q^-T v` in the EQ geometry.
    fn target(&self, factors: &[Factor], update: &Update<'_>) -> Option<Tensor<2>> {
        let probe = update.probe.clone()?;
        if self.config.geometry != PsgdGeometry::Eq {
            return Some(probe);
        }
        let solved = Factor::solve_all(factors, probe, update.dims);
        Some(limited(solved, STATISTICS_LIMIT))
    }
}

/// The statistics of one factor, and what follows from them.
struct Move<'a> {
    descent: Descent,
    dims: &'a [usize],
    mode: usize,
    /// `X` and the target, in the coordinates of the factor.
    x: Tensor<2>,
    target: Option<Tensor<2>>,
    bound: Tensor<2>,
    live: Tensor<2, Bool>,
}

impl Move<'_> {
    /// Elements of a block for each element of the dimension.
    fn per_row(&self) -> f64 {
        let n: usize = self.dims.iter().product();
        n as f64 / self.dims[self.mode] as f64
    }

    /// The new bound and the step size, 0 for blocks without a signal.
    fn step(&self, norm: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let bound = self.descent.bound(self.bound.clone(), norm);
        let mu = self.descent.step(bound.clone());
        let mu = mu.mask_fill(self.live.clone().bool_not(), 0.0);
        (self.bound.clone().mask_where(self.live.clone(), bound), mu)
    }

    fn diagonal(self, q: Tensor<2>) -> (Factor, Tensor<2>) {
        let t1 = gram_diagonal(self.x.clone(), self.dims, self.mode);
        let t2 = match (&self.target, self.descent.geometry) {
            (Some(target), _) => gram_diagonal(target.clone(), self.dims, self.mode),
            (None, PsgdGeometry::Qep) => q.clone().square().mul_scalar(self.per_row()),
            (None, _) => q.ones_like().mul_scalar(self.per_row()),
        };
        let (bound, mu) = self.step((t1.clone() + t2.clone()).max_dim(1));
        let q = self.descent.diagonal(q, t1 - t2, mu);
        (Factor::Diagonal(q), bound)
    }

    fn dense(self, q: Tensor<3>, kind: FactorKind) -> (Factor, Tensor<2>) {
        let t1 = gram(self.x.clone(), self.dims, self.mode);
        let t2 = match (&self.target, self.descent.geometry) {
            (Some(target), _) => gram(target.clone(), self.dims, self.mode),
            (None, PsgdGeometry::Qep) => {
                let transposed = q.clone().swap_dims(1, 2);
                q.clone().matmul(transposed).mul_scalar(self.per_row())
            }
            (None, _) => Factor::identity_like(&q).mul_scalar(self.per_row()),
        };
        let norm = self.descent.norm.of(t1.clone() + t2.clone());
        let (bound, mu) = self.step(norm);
        let q = self.descent.dense(q, &Direction::Matrix(t1 - t2), mu);
        (Factor::Dense(q, kind), bound)
    }
}

impl Preconditioner for PsgdKron {
    type State = Factors;

    fn unpack(&self, mut fields: Vec<Tensor<2>>, dims: &[usize]) -> Factors {
        let kinds = self.kinds(dims);
        let bounds = fields.remove(kinds.len());
        let packed = fields.into_iter().zip(kinds.into_iter().zip(dims));
        Factors {
            factors: packed
                .map(|(packed, (kind, &d))| Factor::unpack(packed, kind, d))
                .collect(),
            bounds,
        }
    }

    fn pack(&self, state: Factors) -> Vec<Tensor<2>> {
        let factors = state.factors.into_iter().map(Factor::pack);
        factors.chain([state.bounds]).collect()
    }

    fn start(&self, state: Factors, stack: &Stack<'_>, scale: Tensor<2>) -> Factors {
        let power = if self.config.geometry.fits_p() {
            2.0
        } else {
            1.0
        };
        let scale = scale.powf_scalar(power / stack.dims.len() as f64);
        let factors = state.factors.into_iter();
        Factors {
            factors: factors.map(|q| q.plus_identity(scale.clone())).collect(),
            ..state
        }
    }

    fn is_there(&self, state: &Factors) -> Tensor<2, Bool> {
        state.factors[0].is_there()
    }

    fn whitens_with_probe(&self) -> bool {
        self.config.geometry == PsgdGeometry::Eq
    }

    fn update(&self, state: Factors, update: Update<'_>) -> Factors {
        let geometry = self.config.geometry;
        let balance = update.index % BALANCING == BALANCING - 1;
        let factors = if balance || geometry == PsgdGeometry::Qep {
            Factor::balanced(state.factors)
        } else {
            state.factors
        };
        let source = update.source.clone();
        let x = if geometry == PsgdGeometry::Eq {
            Factor::apply_all(&factors, source, update.dims)
        } else {
            self.preconditioned(&factors, source, update.dims)
        };
        let x = limited(x, STATISTICS_LIMIT);
        let target = self.target(&factors, &update);
        let moved = factors.into_iter().enumerate().map(|(mode, q)| {
            let in_factor = |x: &Tensor<2>| match geometry {
                PsgdGeometry::Qep => q.apply(x.clone(), update.dims, mode),
                _ => x.clone(),
            };
            let parts = Move {
                descent: self.descent(),
                dims: update.dims,
                mode,
                x: in_factor(&x),
                target: target.as_ref().map(in_factor),
                bound: state.bounds.clone().narrow(1, mode, 1),
                live: update.live.clone(),
            };
            match q {
                Factor::Diagonal(q) => parts.diagonal(q),
                Factor::Dense(q, kind) => parts.dense(q, kind),
            }
        });
        let (factors, bounds): (Vec<_>, Vec<_>) = moved.unzip();
        Factors {
            factors,
            bounds: Tensor::cat(bounds, 1),
        }
    }

    fn apply(&self, state: &Factors, x: Tensor<2>, dims: &[usize]) -> Tensor<2> {
        self.preconditioned(&state.factors, x, dims)
    }
}

impl MatrixRule for PsgdKron {
    const FIELDS: &'static [&'static str] = &[
        "q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", BOUNDS, COUNT, MOMENTUM,
    ];

    fn name(&self) -> &'static str {
        match self.config.fit {
            PsgdFit::Newton => "psgd-kron-newton",
            _ => "psgd-kron",
        }
    }

    fn partition(&self, shape: &[usize]) -> BlockPartition {
        let mut dims: Vec<usize> = shape.iter().copied().filter(|&d| d != 1).collect();
        if dims.is_empty() {
            dims.push(1);
        }
        BlockPartition::new(&dims, usize::MAX)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let factor_type = if self.config.half_factors {
            DType::BF16
        } else {
            compute
        };
        let kinds = self.kinds(dims);
        let factors = kinds.iter().zip(dims).zip(FACTORS);
        let mut fields: Vec<Field> = factors
            .map(|((kind, &d), name)| Field::new(name, kind.len(d), factor_type))
            .collect();
        fields.push(Field::new(BOUNDS, dims.len(), compute));
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
