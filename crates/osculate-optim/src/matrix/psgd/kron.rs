use burn::config::Config;
use burn::tensor::{DType, Tensor};
use osculate_linalg::BlockPartition;

use super::factor::{Factor, FactorKind};
use super::geometry::{Descent, Direction, PsgdGeometry, SpectralNorm};
use super::precondition::{
    Clip, PsgdFit, STATISTICS_LIMIT, averaged, fourth_moment, limited,
};
use super::probes::{Probes, RowProbeFn};
use crate::config::{Check, ConfigError, StepPolicy};
use crate::matrix::modes::{gram, gram_diagonal};
use crate::matrix::{
    Field, MatrixRule, Refresh, RefreshSchedule, Stack, Stepped, matrix_doors, put_rows, take_rows,
};

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
    /// Step size of the preconditioner's own descent. Default 0.1.
    #[config(default = 0.1)]
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
    refresh: Refresh,
    probes: Probes,
}

/// Names of the factors.
const FACTORS: [&str; 8] = ["q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7"];
/// The Lipschitz bounds of all factors.
const BOUNDS: &str = "lipschitz";
/// Steps since the first gradient that was not zero.
const COUNT: &str = "count";
const MOMENTUM: &str = "m";
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
        let check = Check::of("PsgdKronConfig")
            .decay("momentum", self.momentum)
            .positive("lr_preconditioner", self.lr_preconditioner)
            .that(
                self.lr_preconditioner <= 1.0,
                "lr_preconditioner",
                self.lr_preconditioner,
                "at most 1",
            )
            .decay("lipschitz_decay", self.lipschitz_decay)
            .non_negative("damping", self.damping)
            .positive("init_scale", self.init_scale.unwrap_or(1.0))
            .that(self.max_size > 0, "max_size", self.max_size, "at least 1")
            .non_negative("max_skew", self.max_skew)
            .positive("clip_rms", self.clip_rms.unwrap_or(1.0))
            .positive("clip_element", self.clip_element.unwrap_or(1.0))
            .non_negative("weight_decay", self.weight_decay)
            .policy(&self.policy);
        self.schedule.check(check).finish()
    }

    pub(crate) fn rule(&self) -> Result<PsgdKron, ConfigError> {
        self.validate()?;
        Ok(PsgdKron {
            refresh: Refresh::new(self.schedule),
            probes: Probes::new(self.policy.seed),
            config: self.clone(),
        })
    }

    fn descent(&self) -> Descent {
        Descent {
            geometry: self.geometry,
            lr: self.lr_preconditioner,
            beta: self.lipschitz_decay,
            norm: self.norm,
        }
    }
}

/// The state of a stack, unpacked.
struct State {
    factors: Vec<Factor>,
    /// `[k, r]`.
    bounds: Tensor<2>,
    /// `[k, 1]`.
    count: Tensor<2>,
}

impl PsgdKron {
    /// Draws the probes of damping and of the EQ geometry by the caller's own function instead of
    /// from the policy's seed.
    pub fn with_probes(mut self, probes: RowProbeFn) -> Self {
        self.probes.set(probes);
        self
    }

    fn kinds(&self, dims: &[usize]) -> Vec<FactorKind> {
        let n: usize = dims.iter().product();
        dims.iter()
            .map(|&d| {
                let skewed = (d * d) as f64 > self.config.max_skew * n as f64;
                if d <= 1 || d > self.config.max_size || skewed {
                    FactorKind::Diagonal
                } else if self.config.geometry == PsgdGeometry::Eq {
                    FactorKind::Triangular
                } else if self.config.geometry.symmetric() {
                    FactorKind::Symmetric
                } else {
                    FactorKind::Full
                }
            })
            .collect()
    }

    /// Gives blocks that have none yet a first preconditioner, on their first source that is not
    /// zero.
    fn started(&self, state: State, source: &Tensor<2>, probe: Option<&Tensor<2>>) -> State {
        let order = state.factors.len() as f64;
        let scale = match self.config.init_scale {
            Some(scale) => source.clone().narrow(1, 0, 1).zeros_like().add_scalar(scale),
            None => {
                let damping = self.config.damping.max(f64::from(f32::MIN_POSITIVE));
                let of_source = fourth_moment(source, damping).sqrt().recip();
                match probe {
                    Some(probe) => of_source * fourth_moment(probe, 0.0).sqrt(),
                    None => of_source,
                }
            }
        };
        let power = if self.config.geometry.fits_p() { 2.0 } else { 1.0 };
        let scale = scale.powf_scalar(power / order);
        // Zero where a preconditioner is there already, or still nothing to make one of.
        let fresh = state.count.clone().equal_elem(0.0);
        let live = source.clone().abs().max_dim(1).greater_elem(0.0);
        let scale = scale.mask_fill(fresh.bool_and(live).bool_not(), 0.0);
        let factors = state.factors.into_iter();
        State {
            factors: factors.map(|q| q.plus_identity(scale.clone())).collect(),
            ..state
        }
    }

    /// One update of the preconditioner.
    fn updated(
        &self,
        state: State,
        dims: &[usize],
        source: Tensor<2>,
        probe: Option<Tensor<2>>,
        balance: bool,
    ) -> State {
        let descent = self.config.descent();
        let geometry = self.config.geometry;
        let balance = balance || geometry == PsgdGeometry::Qep;
        let factors = if balance {
            Factor::balanced(state.factors)
        } else {
            state.factors
        };
        let live = source.clone().abs().max_dim(1).greater_elem(0.0);
        let n: usize = dims.iter().product();
        let applied = if geometry == PsgdGeometry::Eq {
            Factor::apply_all(&factors, source, dims)
        } else {
            self.preconditioned(&factors, source, dims)
        };
        let applied = limited(applied, STATISTICS_LIMIT);
        let target = match (geometry, probe) {
            (PsgdGeometry::Eq, Some(probe)) => {
                let solved = Factor::solve_all(&factors, probe, dims);
                Some(limited(solved, STATISTICS_LIMIT))
            }
            (_, probe) => probe,
        };
        let mut bounds = Vec::new();
        let mut moved = Vec::new();
        for (mode, q) in factors.into_iter().enumerate() {
            let per_row = n as f64 / dims[mode] as f64;
            let old = state.bounds.clone().narrow(1, mode, 1);
            let in_mode = |x: &Tensor<2>| match geometry {
                PsgdGeometry::Qep => q.apply(x.clone(), dims, mode),
                _ => x.clone(),
            };
            let x = in_mode(&applied);
            let target = target.as_ref().map(in_mode);
            let (new, present) = match &q {
                Factor::Diagonal(diagonal) => {
                    let t1 = gram_diagonal(x, dims, mode);
                    let t2 = match (target, geometry) {
                        (Some(target), _) => gram_diagonal(target, dims, mode),
                        (None, PsgdGeometry::Qep) => {
                            diagonal.clone().square().mul_scalar(per_row)
                        }
                        (None, _) => diagonal.ones_like().mul_scalar(per_row),
                    };
                    let present = (t1.clone() + t2.clone()).max_dim(1);
                    let bound = descent.bound(old.clone(), present);
                    let mu = descent.step(bound.clone());
                    let mu = mu.mask_fill(live.clone().bool_not(), 0.0);
                    let new = descent.diagonal(diagonal.clone(), t1 - t2, mu);
                    (Factor::Diagonal(new), bound)
                }
                Factor::Dense(dense, kind) => {
                    let t1 = gram(x, dims, mode);
                    let t2 = match (target, geometry) {
                        (Some(target), _) => gram(target, dims, mode),
                        (None, PsgdGeometry::Qep) => {
                            let transposed = dense.clone().swap_dims(1, 2);
                            dense.clone().matmul(transposed).mul_scalar(per_row)
                        }
                        (None, _) => Factor::identity_like(dense).mul_scalar(per_row),
                    };
                    let present = self.config.norm.of(t1.clone() + t2.clone());
                    let bound = descent.bound(old.clone(), present);
                    let mu = descent.step(bound.clone());
                    let mu = mu.mask_fill(live.clone().bool_not(), 0.0);
                    let new = descent.dense(dense.clone(), &Direction::Matrix(t1 - t2), mu);
                    (Factor::Dense(new, *kind), bound)
                }
            };
            bounds.push(old.mask_where(live.clone(), present));
            moved.push(new);
        }
        State {
            factors: moved,
            bounds: Tensor::cat(bounds, 1),
            count: state.count,
        }
    }

    fn preconditioned(&self, factors: &[Factor], x: Tensor<2>, dims: &[usize]) -> Tensor<2> {
        if self.config.geometry.fits_p() {
            return Factor::apply_all(factors, x, dims);
        }
        let squares: Vec<Factor> = factors.iter().map(Factor::squared).collect();
        Factor::apply_all(&squares, x, dims)
    }

    /// The source with damping, and the probe that the geometry wants with it.
    fn pair(
        &self,
        stack: &Stack<'_>,
        source: &Tensor<2>,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        if let (PsgdFit::Newton, Some(pair)) = (self.config.fit, &stack.product) {
            let noise = self.config.damping > 0.0;
            let source = pair.product.clone();
            let source = if noise {
                let noise = self.probes.draw(stack, stack.block_len());
                self.damped(source, noise)
            } else {
                source
            };
            return (source, Some(pair.probe.clone()));
        }
        let wants_probe = self.config.geometry == PsgdGeometry::Eq;
        if self.config.damping == 0.0 && !wants_probe {
            return (source.clone(), None);
        }
        let probe = self.probes.draw(stack, stack.block_len());
        let source = if self.config.damping > 0.0 {
            self.damped(source.clone(), probe.clone())
        } else {
            source.clone()
        };
        (source, wants_probe.then_some(probe))
    }

    /// Adds noise; leaves rows of zeros as they are, or they would seem to carry a signal.
    fn damped(&self, source: Tensor<2>, noise: Tensor<2>) -> Tensor<2> {
        let dead = source.clone().abs().max_dim(1).equal_elem(0.0);
        let epsilon = if source.dtype() == DType::F64 {
            f64::EPSILON
        } else {
            f64::from(f32::EPSILON)
        };
        let size = source.clone().abs().mul_scalar(epsilon);
        let size = size.add_scalar(self.config.damping);
        let dead = dead.expand(source.dims());
        source + (noise * size).mask_fill(dead, 0.0)
    }

    /// The update of the rows that are due, or of none.
    fn refreshed(&self, state: State, stack: &Stack<'_>, source: &Tensor<2>) -> (State, bool) {
        let due = match (self.config.fit, &stack.product) {
            (PsgdFit::Newton, None) => Vec::new(),
            // The product is made for all blocks at once, so all use it.
            (PsgdFit::Newton, Some(_)) => (0..stack.len()).collect(),
            _ => stack.due(&self.refresh, 0, 1),
        };
        if due.is_empty() {
            return (state, false);
        }
        let (source, probe) = self.pair(stack, source);
        let balance = stack.step % BALANCING == BALANCING - 1;
        let part = State {
            factors: state.factors.iter().map(|q| q.take(&due)).collect(),
            bounds: take_rows(&state.bounds, &due),
            count: take_rows(&state.count, &due),
        };
        let new = self.updated(
            part,
            stack.dims,
            take_rows(&source, &due),
            probe.map(|probe| take_rows(&probe, &due)),
            balance,
        );
        let old = state.factors.into_iter().zip(new.factors);
        let state = State {
            factors: old.map(|(q, new)| q.put(&due, new)).collect(),
            bounds: put_rows(state.bounds, &due, new.bounds),
            count: state.count,
        };
        (state, true)
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
        fields.push(Field::new(COUNT, 1, compute));
        if self.config.momentum > 0.0 {
            fields.push(Field::new(MOMENTUM, dims.iter().product(), compute));
        }
        fields
    }

    fn wants_product(&self, step: u64) -> bool {
        self.config.fit == PsgdFit::Newton && self.refresh.due(step, 0)
    }

    fn step(&self, mut stack: Stack<'_>) -> Stepped {
        let config = &self.config;
        let kinds = self.kinds(stack.dims);
        let r = kinds.len();
        let mut fields = std::mem::take(&mut stack.state).into_iter();
        let packed = fields.by_ref().take(r).zip(kinds.iter().zip(stack.dims));
        let factors = packed
            .map(|(packed, (&kind, &d))| Factor::unpack(packed, kind, d))
            .collect();
        let zeros = || stack.zeros(1);
        let bounds = fields.next().unwrap_or_else(zeros);
        let count = fields.next().unwrap_or_else(zeros);
        let m = fields.next();
        let gradient = stack.gradient.clone();
        let momentum = match m {
            Some(m) => averaged(m, gradient.clone(), &count, config.momentum),
            None => gradient.clone(),
        };

        let source = match config.fit {
            PsgdFit::WhiteningMomentum => momentum.clone(),
            _ => gradient,
        };
        let state = State {
            factors,
            bounds,
            count,
        };
        let state = match (config.fit, &stack.product) {
            (PsgdFit::Newton, Some(pair)) => {
                self.started(state, &pair.product, Some(&pair.probe))
            }
            (PsgdFit::Newton, None) => state,
            _ => self.started(state, &source, None),
        };
        let (direction, state, refreshed) = if config.update_first {
            let (state, refreshed) = self.refreshed(state, &stack, &source);
            let direction = self.preconditioned(&state.factors, momentum.clone(), stack.dims);
            (direction, state, refreshed)
        } else {
            let direction = self.preconditioned(&state.factors, momentum.clone(), stack.dims);
            let (state, refreshed) = self.refreshed(state, &stack, &source);
            (direction, state, refreshed)
        };
        let clip = Clip {
            rms: config.clip_rms,
            element: config.clip_element,
        };
        let direction = clip.apply(direction);

        // The count starts with the first preconditioner.
        let begun = state.factors[0].is_there();
        let count = state.count + begun.float().cast(stack.weights.dtype());
        let decay = 1.0 - stack.lr * config.weight_decay;
        let weights = stack.weights.clone().mul_scalar(decay) - direction.mul_scalar(stack.lr);
        let mut fields: Vec<Tensor<2>> = state.factors.into_iter().map(Factor::pack).collect();
        fields.extend([state.bounds, count]);
        if config.momentum > 0.0 {
            fields.push(momentum);
        }
        Stepped {
            weights,
            state: fields,
            solves: Vec::new(),
            refreshed,
        }
    }
}
