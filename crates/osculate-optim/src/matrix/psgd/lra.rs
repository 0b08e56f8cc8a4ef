use burn::config::Config;
use burn::tensor::{Bool, DType, Tensor};
use osculate_linalg::BlockPartition;

use super::descent::{COUNT, MOMENTUM, Preconditioner, Shared, Update, shared, step};
use super::geometry::floored;
use super::low_rank::{
    Images, balanced, column, flat, images, norm, plus_low_rank, sum, transpose,
};
use super::precondition::{PsgdFit, STATISTICS_LIMIT, rms};
use super::probes::RowProbeFn;
use crate::config::{Check, ConfigError, StepPolicy};
use crate::matrix::{Field, MatrixRule, RefreshSchedule, Stack, Stepped, matrix_doors};

/// [`PsgdLra`] configuration.
#[derive(Config, Debug)]
pub struct PsgdLraConfig {
    /// What is fitted. Default `Whitening`, the gradient.
    #[config(default = "PsgdFit::Whitening")]
    pub fit: PsgdFit,
    /// Rank `r` of the approximation; 0 gives a diagonal. Default 10.
    #[config(default = 10)]
    pub rank: usize,
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
    /// Settings of the step that do not depend on the method.
    #[config(default = "StepPolicy::new()")]
    pub policy: StepPolicy,
}

/// PSGD with a low-rank preconditioner: `P = QᵀQ` for `Q = (I + U Vᵀ) diag(d)`.
///
/// Each parameter is one vector of `n` elements with an `U` and a `V` of its own, `n` by `r`. An
/// update with the pair `(v, h)`, `v` random signs for whitening:
///
/// ```text
/// balance U and V
/// a = Q h,  b = Q^-T v                             by an r x r solve
/// d moves by (lr_preconditioner / L_d) (P h ⊙ h - v ⊙ P⁻¹ v) ⊙ d
/// U or V, in turns, moves along a (aᵀ V) M - b (bᵀ V) M, with M = I + Vᵀ U
/// ```
///
/// The authors treat the whole model as one vector, so that their `U` and `V` couple parameters.
///
/// - Cost of a step with an update: about `20 n r` multiplications. Newton adds 2 gradient
///   evaluations where an update is due.
/// - State: `2 r + 2` elements for each parameter element: 22 at the default rank.
/// - When not to use it: where that is too much; [`PsgdKron`](crate::PsgdKron) keeps 2.
///
/// Paper: Li, *Black box Lie group preconditioners for SGD*, <https://arxiv.org/abs/2211.04422>.
///
/// ```
/// use osculate_optim::PsgdLraConfig;
/// let optimizer = PsgdLraConfig::new().with_rank(4).stacked()?;
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PsgdLra {
    config: PsgdLraConfig,
    shared: Shared,
}

const DIAGONAL: &str = "d";
const LEFT: &str = "u";
const RIGHT: &str = "v";
/// Lipschitz bounds of `U`, `V` and `d`.
const BOUNDS: &str = "lipschitz";
/// Squared norm of the first `U` and `V`.
const FIRST_NORM: f64 = 0.1;
/// Keeps the streams of the first `U` and `V` apart.
const LEFT_STREAM: u64 = 0x4C52_4155;
const RIGHT_STREAM: u64 = 0x4C52_4156;

matrix_doors!(PsgdLraConfig, PsgdLra);

impl PsgdLraConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, a negative or non-finite number, or an invalid
    /// schedule or policy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.rule().map(|_| ())
    }

    pub(crate) fn rule(&self) -> Result<PsgdLra, ConfigError> {
        let check = Check::of("PsgdLraConfig");
        Ok(PsgdLra {
            shared: shared!(self, check)?,
            config: self.clone(),
        })
    }
}

impl PsgdLra {
    /// Draws the probes by the caller's own function instead of from the policy's seed.
    pub fn with_probes(mut self, probes: RowProbeFn) -> Self {
        self.shared.probes.set(probes);
        self
    }

    fn step_size(
        &self,
        old: Tensor<2>,
        present: Tensor<2>,
        live: &Tensor<2, Bool>,
    ) -> (Tensor<2>, Tensor<2>) {
        let beta = self.config.lipschitz_decay;
        let average = old.clone().mul_scalar(beta) + present.clone().mul_scalar(1.0 - beta);
        let bound = average.max_pair(present);
        let mu = floored(bound.clone())
            .recip()
            .mul_scalar(self.config.lr_preconditioner);
        let mu = mu.mask_fill(live.clone().bool_not(), 0.0);
        (old.mask_where(live.clone(), bound), mu)
    }
}

/// The preconditioner of a stack.
pub(super) struct LowRank {
    /// `[k, n]`.
    d: Tensor<2>,
    /// `U` and `V`, `[k, n, r]`; none at rank 0.
    uv: Option<(Tensor<3>, Tensor<3>)>,
    /// `[k, 3]`.
    bounds: Tensor<2>,
}

impl PsgdLra {
    /// `U` or `V` after its step, with its Lipschitz bound.
    fn moved(
        &self,
        (u, v): (Tensor<3>, Tensor<3>),
        m: &Tensor<3>,
        images: &Images,
        left: bool,
        old_bound: Tensor<2>,
        live: &Tensor<2, Bool>,
    ) -> ((Tensor<3>, Tensor<3>), Tensor<2>) {
        let other = if left { &v } else { &u };
        let project = |x: &Tensor<2>| transpose(other).matmul(column(x.clone()));
        let (a, b) = (images.qh.clone(), images.qv.clone());
        let (pa, pb) = (project(&a), project(&b));
        let back = |p: &Tensor<3>| flat(other.clone().matmul(p.clone()));
        let present = norm(&a) * norm(&back(&pa)) + norm(&b) * norm(&back(&pb));
        let (bound, mu) = self.step_size(old_bound, present, live);
        let mu = mu.unsqueeze_dim::<3>(2);
        let outer = |x: Tensor<2>, row: Tensor<3>| column(x).matmul(row);
        let (ta, tb) = (transpose(&pa), transpose(&pb));
        let moved = if left {
            let change = outer(a, ta.matmul(m.clone())) - outer(b, tb.matmul(m.clone()));
            (u - change * mu, v)
        } else {
            let a = a + flat(v.clone().matmul(pa));
            let b = b + flat(v.clone().matmul(pb));
            let change = outer(a, ta) - outer(b, tb);
            (u, v - change * mu)
        };
        (moved, bound)
    }
}

impl Preconditioner for PsgdLra {
    type State = LowRank;

    fn unpack(&self, fields: Vec<Tensor<2>>, dims: &[usize]) -> LowRank {
        let r = self.config.rank;
        let mut fields = fields.into_iter();
        let (Some(d), Some(bounds)) = (fields.next(), fields.next()) else {
            unreachable!("the rule has these fields");
        };
        let k = d.dims()[0];
        let tall = |x: Tensor<2>| x.reshape([k, dims[0], r]);
        let uv = fields.next().zip(fields.next());
        LowRank {
            d,
            uv: uv.map(|(u, v)| (tall(u), tall(v))),
            bounds,
        }
    }

    fn pack(&self, state: LowRank) -> Vec<Tensor<2>> {
        let mut fields = vec![state.d, state.bounds];
        if let Some((u, v)) = state.uv {
            fields.extend([u.flatten(1, 2), v.flatten(1, 2)]);
        }
        fields
    }

    fn start(&self, state: LowRank, stack: &Stack<'_>, scale: Tensor<2>) -> LowRank {
        let d = state.d + scale;
        // Blocks that begin later than the others get their U and V at the next power of two, so
        // that numbers for them are drawn in few steps.
        let draws = stack.step == 0 || stack.step.is_power_of_two();
        let uv = state.uv.map(|(u, v)| {
            if !draws {
                return (u, v);
            }
            let there = d.clone().abs().max_dim(1).greater_elem(0.0);
            let begin = |x: Tensor<3>, stream: u64| {
                let [k, n, r] = x.dims();
                let absent = sum(x.clone().square()).reshape([k, 1]).equal_elem(0.0);
                let wanted = absent.bool_and(there.clone()).float().cast(x.dtype());
                let drawn = stack.gaussian(self.config.policy.seed ^ stream, n * r);
                let unit = drawn.clone() / floored(norm(&drawn));
                let first = (unit * wanted).mul_scalar(FIRST_NORM.sqrt());
                x + first.reshape([k, n, r])
            };
            (begin(u, LEFT_STREAM), begin(v, RIGHT_STREAM))
        });
        LowRank { d, uv, ..state }
    }

    fn is_there(&self, state: &LowRank) -> Tensor<2, Bool> {
        state.d.clone().abs().max_dim(1).greater_elem(0.0)
    }

    fn whitens_with_probe(&self) -> bool {
        true
    }

    fn update(&self, state: LowRank, update: Update<'_>) -> LowRank {
        let Some(probe) = update.probe else {
            return state;
        };
        let there = self.is_there(&state);
        // Blocks that have none yet are computed with ones, and left alone by their step sizes.
        let whole = state.d.clone() + there.bool_not().float().cast(state.d.dtype());
        let uv = state.uv.map(|(u, v)| balanced(u, v));
        let m = uv.as_ref().map(|(u, v)| {
            let [_, _, r] = u.dims();
            let eye = Tensor::<2>::eye(r, &u.device()).cast(u.dtype());
            transpose(v).matmul(u.clone()) + eye.unsqueeze::<3>()
        });
        let mut images = images(
            &whole,
            uv.as_ref(),
            m.as_ref(),
            update.source.clone(),
            probe.clone(),
        );
        let factor = floored(rms(&images.ph)).recip();
        let factor = factor.mul_scalar(STATISTICS_LIMIT).clamp_max(1.0);
        images.qh = images.qh * factor.clone();
        images.ph = images.ph * factor.clone();
        let x = images.ph.clone() * update.source * factor;
        let y = probe * images.pv.clone();
        let bound = |index: usize| state.bounds.clone().narrow(1, index, 1);
        let present = x.clone().abs().max_dim(1) + y.clone().abs().max_dim(1);
        let (bound_d, mu) = self.step_size(bound(2), present, &update.live);
        let d = state.d.clone() - (x - y) * mu * state.d;
        let left = update.index.is_multiple_of(2);
        let turn = usize::from(!left);
        let (uv, moved_bound) = match (uv, m) {
            (Some(uv), Some(m)) => {
                let (uv, bound) = self.moved(uv, &m, &images, left, bound(turn), &update.live);
                (Some(uv), bound)
            }
            (uv, _) => (uv, bound(turn)),
        };
        let other = bound(1 - turn);
        let bounds = if left {
            vec![moved_bound, other, bound_d]
        } else {
            vec![other, moved_bound, bound_d]
        };
        LowRank {
            d,
            uv,
            bounds: Tensor::cat(bounds, 1),
        }
    }

    fn apply(&self, state: &LowRank, x: Tensor<2>, _: &[usize]) -> Tensor<2> {
        let x = state.d.clone() * x;
        let x = match &state.uv {
            Some((u, v)) => plus_low_rank(v, u, plus_low_rank(u, v, x)),
            None => x,
        };
        state.d.clone() * x
    }
}

impl MatrixRule for PsgdLra {
    const FIELDS: &'static [&'static str] = &[DIAGONAL, BOUNDS, LEFT, RIGHT, COUNT, MOMENTUM];

    fn name(&self) -> &'static str {
        match self.config.fit {
            PsgdFit::Newton => "psgd-lra-newton",
            _ => "psgd-lra",
        }
    }

    fn partition(&self, shape: &[usize]) -> BlockPartition {
        let n = shape.iter().product();
        BlockPartition::new(&[n], usize::MAX)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let (n, r) = (dims[0], self.config.rank);
        let mut fields = vec![
            Field::new(DIAGONAL, n, compute),
            Field::new(BOUNDS, 3, compute),
        ];
        if r > 0 {
            fields.push(Field::new(LEFT, n * r, compute));
            fields.push(Field::new(RIGHT, n * r, compute));
        }
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
