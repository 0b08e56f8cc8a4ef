//! PSGD with a diagonal and a low-rank matrix for its preconditioner.

use burn::tensor::{Bool, DType, Tensor};
use osculate_linalg::BlockPartition;

use super::descent::{Preconditioner, Rows, Update, step};
use super::geometry::{floored, identity};
use super::low_rank::{
    Images, balanced, column, flat, images, norm, plus_low_rank, sum, transpose,
};
use super::precondition::{PsgdFit, STATISTICS_LIMIT, rms};
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
    /// The step is `θ = (1 - lr λ) θ - lr clip(P m)` for the averaged gradient `m`. The authors treat
    /// the whole model as one vector, so that their `U` and `V` couple parameters.
    ///
    /// - Cost of a step with an update: about `20 n r` multiplications. Newton adds 2 gradient
    ///   evaluations where an update is due.
    /// - State: `2 r + 2` elements for each parameter element: 22 at the default rank.
    /// - Learning rate: begin at 5e-3, where AdamW has 3e-3: that of [`PsgdKronConfig`](crate::PsgdKronConfig), since
    ///   the study has no figure for it and whitening makes steps of the same length.
    /// - When not to use it: where that is too much; [`PsgdKronConfig`](crate::PsgdKronConfig) keeps 2.
    ///
    /// Paper: Li, *Black box Lie group preconditioners for SGD*, <https://arxiv.org/abs/2211.04422>.
    ///
    /// ```
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::{Device, Distribution, Tensor};
    /// use osculate_optim::{ClosureOptimizer, PsgdLraConfig};
    ///
    /// let device = Device::flex().autodiff();
    /// device.seed(1);
    /// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
    /// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
    /// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
    /// let mut optimizer = PsgdLraConfig::new().with_rank(4).init()?;
    /// let mut losses = Vec::new();
    /// for _ in 0..10 {
    ///     let step = optimizer.step(0.03, model, &loss)?;
    ///     losses.push(step.report.loss());
    ///     model = step.model;
    /// }
    /// assert!(losses[9] < losses[0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub struct PsgdLraConfig {
        /// What is fitted. Default `Whitening`, the gradient.
        fit: "PsgdFit::Whitening",
        /// Step size of the preconditioner's own descent. Default 0.1, the authors'.
        lr_preconditioner: 0.1,
        /// Rank `r` of the approximation; 0 gives a diagonal. Default 10.
        #[config(default = 10)]
        pub rank: usize,
    }
}

impl PsgdLraConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, a negative or non-finite number, or an invalid
    /// schedule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.rule().map(|_| ())
    }

    /// The rule, for [`Driver::of_blocks`](crate::Driver::of_blocks) or
    /// [`PerParameter`](crate::PerParameter).
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn rule(&self) -> Result<PsgdLra, ConfigError> {
        let name = match self.fit {
            PsgdFit::Newton => "psgd-lra-newton",
            _ => "psgd-lra",
        };
        Ok(PsgdLra {
            settings: self.settings(name, Check::of("PsgdLraConfig"))?,
            rank: self.rank,
        })
    }
}

constructors!(PsgdLraConfig);

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "psgd-lra",
    text: "low-rank preconditioner that whitens gradients",
    learning_rate: 5e-3,
    gradients: 1.0,
    state: "2 rank + 2",
    defaults: || to_value(&PsgdLraConfig::new()),
    build: |settings| Ok(read::<PsgdLraConfig>(settings, "settings")?.init()?),
};

/// The rule of [`PsgdLraConfig`].
#[derive(Debug, Clone)]
pub struct PsgdLra {
    settings: Settings,
    rank: usize,
}

const DIAGONAL: &str = "d";
const LEFT: &str = "u";
const RIGHT: &str = "v";
/// Lipschitz bounds of `U`, `V` and `d`.
const BOUNDS: &str = "lipschitz";
/// Squared norm of the first `U` and `V`.
const FIRST_NORM: f64 = 0.1;
/// Keep the numbers of the first `U` and `V` apart.
const LEFT_STREAM: u64 = 0x4C52_4155;
const RIGHT_STREAM: u64 = 0x4C52_4156;

impl BlockRule for PsgdLra {
    fn name(&self) -> &'static str {
        self.settings.name
    }

    fn partition(&self, parameter: &Parameter) -> BlockPartition {
        BlockPartition::new(&[parameter.num_elements()], usize::MAX)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let n: usize = dims.iter().product();
        let mut fields = vec![
            Field::new(DIAGONAL, n, compute),
            Field::new(BOUNDS, 3, compute),
        ];
        if self.rank > 0 {
            fields.push(Field::new(LEFT, n * self.rank, compute));
            fields.push(Field::new(RIGHT, n * self.rank, compute));
        }
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

impl PsgdLra {
    /// Draws the probes by the caller's own function instead of from the run's seed.
    pub fn with_probes(mut self, probes: RowProbeFn) -> Self {
        self.settings.probes.set(probes);
        self
    }

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
        let (bound, mu) = self.settings.step_size(old_bound, present, live);
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

/// The preconditioner of a stack.
pub(super) struct LowRank {
    /// `[k, n]`.
    d: Tensor<2>,
    /// `U` and `V`, `[k, n, r]`; none at rank 0.
    uv: Option<(Tensor<3>, Tensor<3>)>,
    /// `[k, 3]`.
    bounds: Tensor<2>,
}

impl Rows for LowRank {
    fn rows(&self, rows: &[usize]) -> Self {
        let uv = self.uv.as_ref();
        Self {
            d: take_rows(&self.d, rows),
            uv: uv.map(|(u, v)| (take_rows(u, rows), take_rows(v, rows))),
            bounds: take_rows(&self.bounds, rows),
        }
    }

    fn with_rows(self, rows: &[usize], part: Self) -> Self {
        let uv = self.uv.zip(part.uv);
        Self {
            d: put_rows(self.d, rows, part.d),
            uv: uv.map(|((u, v), (new_u, new_v))| {
                (put_rows(u, rows, new_u), put_rows(v, rows, new_v))
            }),
            bounds: put_rows(self.bounds, rows, part.bounds),
        }
    }
}

impl Preconditioner for PsgdLra {
    type State = LowRank;

    fn take(&self, state: &mut BlockState, dims: &[usize]) -> Result<LowRank, RuleError> {
        let n = dims.iter().product();
        let mut tall = |name| -> Result<Tensor<3>, RuleError> {
            let x = state.take(name)?;
            let k = x.dims()[0];
            Ok(x.reshape([k, n, self.rank]))
        };
        let uv = match self.rank {
            0 => None,
            _ => Some((tall(LEFT)?, tall(RIGHT)?)),
        };
        Ok(LowRank {
            d: state.take(DIAGONAL)?,
            uv,
            bounds: state.take(BOUNDS)?,
        })
    }

    fn put(&self, state: &mut BlockState, own: LowRank) -> Result<(), RuleError> {
        if let Some((u, v)) = own.uv {
            state.put(LEFT, u.flatten(1, 2))?;
            state.put(RIGHT, v.flatten(1, 2))?;
        }
        state.put(DIAGONAL, own.d)?;
        state.put(BOUNDS, own.bounds)
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
                let drawn = stack.gaussian(stream, n * r);
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
            let eye = identity(u.dims()[2], u);
            transpose(v).matmul(u.clone()) + eye
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
        let (bound_d, mu) = self.settings.step_size(bound(2), present, &update.live);
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
