mod config;

pub use config::{SophiaConfig, SophiaEstimator, SophiaSchedule};

use burn::module::Module;
use burn::optim::LearningRate;
use burn::tensor::{Bool, DType, Tensor};
use osculate_curvature::{HessianConfig, Objective, ParamEntry, ParamVec, assign};

use super::curvature::{CurvatureSource, DiagonalFn, ProbeFn, SourceKind};
use super::{ema, flag, select};
use crate::error::{StepError, StepErrorCause};
use crate::optimizer::{ClosureOptimizer, StatefulOptimizer, Step, guard};
use crate::record::{RecordError, StateRecord, StateStore};
use crate::report::SkipReason;
use crate::session::Session;

/// Momentum preconditioned by a clipped estimate of the Hessian's diagonal.
///
/// At step `t`, with an estimate `ĥ` every `period` steps:
///
/// ```text
/// m = β1 m + (1 - β1) g
/// h = β2 h + (1 - β2) ĥ
/// θ = θ - lr λ θ
/// θ = θ - lr clip(m / max(γ h, ε), -1, 1)
/// ```
///
/// No bias is corrected by default: the curvature starts at zero, so early steps are sign steps, by intent. An
/// element whose curvature is not positive takes a sign step too. Learning rates are about those of
/// Lion, half to a fifth of AdamW's.
///
/// For Sophia-G the estimate is `B ĝ ⊙ ĝ` with the number `B` of samples (tokens) in the batch, so
/// `γ` does not depend on the batch; the authors' code keeps `B` apart and calls `γ` `rho`.
///
/// - Cost with a period of 10: 1.2 gradient evaluations a step for Sophia-H, 1.1 for Sophia-G.
/// - State: 2 elements for each parameter element.
/// - When not to use it: with very small batches, where `ĥ` is mostly noise.
///
/// A parameter whose gradient is not finite keeps its weights and state under the default policy; a
/// curvature that is not finite is left out of the average.
///
/// Paper: Liu et al., *Sophia*, <https://arxiv.org/abs/2305.14342>.
///
/// ```
/// use osculate_optim::SophiaConfig;
/// let optimizer = SophiaConfig::g().with_weight_decay(0.1).init()?;
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Sophia {
    config: SophiaConfig,
    source: CurvatureSource,
    state: StateStore,
    steps: u64,
    age: u64,
}

const MOMENTUM: &str = "m";
const CURVATURE: &str = "h";
/// The moving average of the constant 1 that corrects the momentum's bias, where it is corrected.
const MOMENTUM_WEIGHT: &str = "m_weight";
const FIELDS: [&str; 3] = [MOMENTUM, CURVATURE, MOMENTUM_WEIGHT];

impl Sophia {
    /// Draws probes by the caller's own function instead of from the policy's seed.
    pub fn with_probes(mut self, probes: ProbeFn) -> Self {
        self.source.set_probes(probes);
        self
    }

    /// Takes the estimate of the diagonal from the caller's own function.
    pub fn with_diagonal(mut self, diagonal: DiagonalFn) -> Self {
        self.source.set_kind(SourceKind::Custom(diagonal));
        self
    }

    /// Changes how Hessian-vector products are made.
    pub fn with_hessian(mut self, config: HessianConfig) -> Self {
        self.source.set_hessian(config);
        self
    }

    fn method(&self) -> &'static str {
        match self.config.estimator {
            SophiaEstimator::Hutchinson => "sophia-h",
            SophiaEstimator::GaussNewtonBartlett => "sophia-g",
        }
    }

    fn slot(&self, entry: &ParamEntry, field: &'static str) -> Result<Tensor<1>, RecordError> {
        let (n, dtype) = (entry.num_elements(), entry.compute_dtype());
        Ok(match self.state.get(entry, field, n, dtype)? {
            Some(tensor) => tensor,
            None => Tensor::zeros([n], (&entry.device, dtype)),
        })
    }

    /// What the momentum is divided by after this step: `1 - β1^t` over the steps that the
    /// parameter took part in. `None` where the bias is not corrected.
    fn weight(
        &self,
        entry: &ParamEntry,
        takes_part: Option<&Tensor<1, Bool>>,
    ) -> Result<Option<Tensor<1>>, RecordError> {
        if !self.config.bias_correction {
            return Ok(None);
        }
        let dtype = entry.compute_dtype();
        let one = Tensor::ones([1], (&entry.device, dtype));
        let old = match self.state.get(entry, MOMENTUM_WEIGHT, 1, dtype)? {
            Some(tensor) => tensor,
            None => one.zeros_like(),
        };
        let new = ema(old.clone(), one, self.config.beta_1);
        Ok(Some(match takes_part {
            Some(flag) => select(flag, new, old),
            None => new,
        }))
    }

    /// The curvature's average after this step's estimate.
    fn refreshed<M: Module>(
        &self,
        session: &mut Session<'_, M>,
        curvature: ParamVec,
    ) -> Result<(ParamVec, Option<f64>), StepErrorCause> {
        let (estimate, finite_difference) =
            self.source
                .estimate(session.oracle(), self.steps, |probe, product| {
                    probe.hadamard(product)
                })?;
        let beta = self.config.beta_2;
        let averaged = curvature.zip_map(&estimate, |h, new| ema(h, new, beta));
        if !session.looks() {
            return Ok((averaged, finite_difference));
        }
        let flags = session.check(SkipReason::Curvature, averaged.finite_flags())?;
        // A parameter that sits this step out keeps its curvature too.
        let flags = match (flags, session.gradient_flags()) {
            (Some(a), Some(b)) => Some(a.and(&b)),
            (one, other) => one.or(other),
        };
        let kept = match flags {
            Some(flags) => averaged.where_finite(&flags, &curvature),
            None => averaged,
        };
        Ok((kept, finite_difference))
    }
}

impl<M: Module> ClosureOptimizer<M> for Sophia {
    fn step(
        &mut self,
        lr: LearningRate,
        model: M,
        objective: &dyn Objective<M>,
    ) -> Result<Step<M>, StepError<M>> {
        guard(lr, model, |model| {
            let _span = tracing::debug_span!("step", optimizer = self.method()).entered();
            let config = self.config.clone();
            self.state.check_loaded(model)?;
            let mut session = Session::begin(model, objective, &config.policy, self.steps)?;
            let weights = session.oracle().parameters()?.clone();
            let layout = weights.layout().clone();
            let loaded = layout
                .entries()
                .iter()
                .map(|entry| self.slot(entry, CURVATURE))
                .collect::<Result<_, _>>()?;
            let mut curvature = ParamVec::new(layout.clone(), loaded);
            let mut finite_difference = self.source.last_step();
            if config.due(self.steps, true) {
                (curvature, finite_difference) = self.refreshed(&mut session, curvature)?;
            }

            let flags = session.gradient_flags();
            let gradient = session.clip(session.gradient().clone());
            let (mut moved, mut momenta, mut wins) = (Vec::new(), Vec::new(), Vec::new());
            let mut weights_of_momenta = Vec::new();
            for (index, (entry, w)) in weights.iter().enumerate() {
                let dtype = entry.compute_dtype();
                let old = self.slot(entry, MOMENTUM)?;
                let g = gradient.tensors()[index].clone().cast(dtype);
                let mut m = ema(old.clone(), g, config.beta_1);
                let h = curvature.tensors()[index].clone();
                let scale = h.mul_scalar(config.gamma);
                let mut direction = m.clone();
                if let Some(weight) = self.weight(entry, flag(flags.as_ref(), index))? {
                    direction = direction / weight.clone();
                    weights_of_momenta.push((entry.clone(), weight));
                }
                wins.push(Wins::of(&direction, &scale, flag(flags.as_ref(), index)));
                let ratio = direction / scale.clamp_min(config.epsilon);
                let wide = w
                    .clone()
                    .cast(dtype)
                    .mul_scalar(1.0 - lr * config.weight_decay);
                let mut new = (wide - ratio.clamp(-1.0, 1.0).mul_scalar(lr)).cast(entry.dtype);
                if let Some(flag) = flag(flags.as_ref(), index) {
                    m = select(flag, m, old);
                    new = select(flag, new, w.clone());
                }
                momenta.push(m);
                moved.push(new);
            }
            if config.due(self.steps, false) {
                (curvature, finite_difference) = self.refreshed(&mut session, curvature)?;
            }

            // Nothing can fail from here on.
            let mut report = session.report(0);
            let model = session.into_model()?;
            let model = assign(model, &ParamVec::new(layout.clone(), moved));
            for ((entry, m), h) in layout
                .entries()
                .iter()
                .zip(momenta)
                .zip(curvature.tensors())
            {
                self.state.set(entry, MOMENTUM, m);
                self.state.set(entry, CURVATURE, h.clone());
            }
            for (entry, weight) in weights_of_momenta {
                self.state.set(&entry, MOMENTUM_WEIGHT, weight);
            }
            let fresh = config.due(self.steps, true) || config.due(self.steps, false);
            self.age = if fresh { 0 } else { self.age + 1 };
            self.source.set_last_step(finite_difference);
            self.steps += 1;
            report.win_rate = Wins::rate(wins);
            report.curvature_age = Some(self.age as usize);
            report.state_bytes = self.state.num_bytes();
            Ok(Step { model, report })
        })
    }
}

impl StatefulOptimizer for Sophia {
    fn name(&self) -> &'static str {
        self.method()
    }

    fn to_record(&self) -> StateRecord {
        let mut record = StateRecord::new(self.method());
        record.set_count("steps", self.steps);
        record.set_count("age", self.age);
        self.source.write(&mut record);
        self.state.write(&mut record);
        record
    }

    fn load_record(&mut self, record: StateRecord) -> Result<(), RecordError> {
        record.expect(self.method())?;
        let (steps, age) = (record.count("steps")?, record.count("age")?);
        self.source.read(&record);
        self.state = StateStore::read(&record, &FIELDS);
        (self.steps, self.age) = (steps, age);
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.state.num_bytes()
    }
}

/// How many elements of a parameter were not clipped, out of how many that took part.
struct Wins {
    won: Tensor<1>,
    out_of: Tensor<1>,
}

impl Wins {
    /// An element wins where `|m| < γ h`: one without curvature does not, even at rest.
    fn of(direction: &Tensor<1>, scale: &Tensor<1>, takes_part: Option<&Tensor<1, Bool>>) -> Self {
        let inside = direction.clone().abs().lower(scale.clone());
        let won = inside.float().sum().cast(DType::F32);
        let out_of = won.full_like(direction.dims()[0] as f64);
        match takes_part {
            None => Self { won, out_of },
            Some(flag) => {
                let part = flag.clone().float().cast(DType::F32);
                Self {
                    won: won * part.clone(),
                    out_of: out_of * part,
                }
            }
        }
    }

    /// The fraction over all parameters, 0 where none took part.
    fn rate(wins: Vec<Wins>) -> Option<Tensor<1>> {
        let device = wins.first()?.won.device();
        let total = |part: fn(&Wins) -> &Tensor<1>| {
            let parts = wins.iter().map(|w| part(w).clone().to_device(&device));
            Tensor::cat(parts.collect(), 0).sum()
        };
        Some(total(|w| &w.won) / total(|w| &w.out_of).clamp_min(1.0))
    }
}
