mod config;

pub use config::{AdaHessianConfig, MatrixAveraging};

use burn::module::Module;
use burn::optim::LearningRate;
use burn::tensor::{Bool, Tensor};
use osculate_curvature::{FiniteFlags, HessianConfig, Objective, ParamEntry, ParamVec, assign};

use super::curvature::{CurvatureSource, DiagonalFn, ProbeFn, SourceKind};
use super::{ema, finite, flag, load_all, select};
use crate::error::{StepError, StepErrorCause};
use crate::optimizer::{ClosureOptimizer, StatefulOptimizer, Step, guard};
use crate::record::{RecordError, StateRecord, StateStore};
use crate::report::SkipReason;
use crate::session::Session;

/// Adam with curvature in the place of the squared gradient.
///
/// At step `t`, with one Rademacher probe `z` and `D` the average of `|H z|`:
///
/// ```text
/// m = β1 m + (1 - β1) g
/// v = β2 v + (1 - β2) D²
/// θ = θ - lr ( m̂ / ((√v̂)^k + ε) + λ θ ),   m̂ = m / (1 - β1^t),  v̂ = v / (1 - β2^t)
/// ```
///
/// As in the authors' code, and unlike their paper, absolute values are averaged, not signed ones:
/// for a full Hessian `|Hz|_i` is of the size of the norm of row `i`.
///
/// Learning rates are those of SGD rather than of Adam: the authors take 0.15 for image
/// classification.
///
/// - Cost: 3 gradient evaluations a step, `1 + 2 / period` on average with a longer period.
/// - State: 2 elements for each parameter element, 3 with a period above 1; two or three numbers for
///   each parameter besides.
/// - When not to use it: with ReLU networks trained through a finite-difference Hessian, whose
///   kinks inflate `|Hz|`, unless the period is long; where gradients are the bottleneck.
///
/// A parameter whose gradient or curvature is not finite keeps its weights and state, under the
/// default policy. Zero-element and scalar parameters are fine.
///
/// Paper: Yao et al., *ADAHESSIAN*, <https://arxiv.org/abs/2006.00719>.
///
/// ```
/// use osculate_optim::AdaHessianConfig;
/// let optimizer = AdaHessianConfig::new().with_period(5).init()?;
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct AdaHessian {
    config: AdaHessianConfig,
    source: CurvatureSource,
    state: StateStore,
    steps: u64,
    age: u64,
}

const NAME: &str = "adahessian";
const FIRST_MOMENT: &str = "m";
const SECOND_MOMENT: &str = "v";
/// The moving averages of the constant 1, by which the moments are divided: `1 - β^t`, where `t`
/// counts the steps that this parameter took part in.
const FIRST_WEIGHT: &str = "m_weight";
const SECOND_WEIGHT: &str = "v_weight";
/// The last curvature, kept only where it is reused.
const CURVATURE: &str = "curvature";
/// One where there is a last curvature, zero where every estimate so far was not finite.
const CURVATURE_KNOWN: &str = "curvature_known";
const FIELDS: [&str; 6] = [
    FIRST_MOMENT,
    SECOND_MOMENT,
    FIRST_WEIGHT,
    SECOND_WEIGHT,
    CURVATURE,
    CURVATURE_KNOWN,
];

impl AdaHessian {
    /// Draws probes by the caller's own function instead of from the policy's seed.
    pub fn with_probes(mut self, probes: ProbeFn) -> Self {
        self.source.set_probes(probes);
        self
    }

    /// Takes `|Hz|`, before averaging, from the caller's own function.
    pub fn with_curvature(mut self, curvature: DiagonalFn) -> Self {
        self.source.set_kind(SourceKind::Custom(curvature));
        self
    }

    /// Changes how Hessian-vector products are made.
    pub fn with_hessian(mut self, config: HessianConfig) -> Self {
        self.source.set_hessian(config);
        self
    }

    /// The curvature of this step: a new estimate where one is due, the kept one otherwise.
    fn curvature<M: Module>(
        &self,
        session: &mut Session<'_, M>,
    ) -> Result<Curvature, StepErrorCause> {
        let kept = self.kept_curvature(session.gradient())?;
        let due = self.steps.is_multiple_of(self.config.period as u64);
        if let (false, Some((value, known))) = (due, &kept) {
            return Ok(Curvature {
                value: value.clone(),
                known: Some(known.clone()),
                finite_difference: self.source.last_step(),
                fresh: false,
            });
        }
        let (estimate, finite_difference) =
            self.source
                .estimate(session.oracle(), self.steps, |_, product| product.abs())?;
        let value = estimate.map(|(entry, d)| self.config.average(entry, d.clone().abs()));
        let flags = if session.looks() {
            session.check(SkipReason::Curvature, value.finite_flags())?
        } else {
            None
        };
        // An older curvature stands in for one that is not finite; without it the parameter waits.
        let (value, known) = match (flags, kept) {
            (None, _) => (value, None),
            (Some(flags), None) => (value.zero_where_not(&flags), Some(flags)),
            (Some(flags), Some((old, known))) => {
                (value.where_finite(&flags, &old), Some(flags.or(&known)))
            }
        };
        Ok(Curvature {
            value,
            known,
            finite_difference,
            fresh: true,
        })
    }

    /// The kept curvature with flags of the parameters that have one, or `None` where a parameter
    /// has no entry yet.
    fn kept_curvature(
        &self,
        like: &ParamVec,
    ) -> Result<Option<(ParamVec, FiniteFlags)>, RecordError> {
        let Some(value) = load_all(&self.state, CURVATURE, like)? else {
            return Ok(None);
        };
        let known = like
            .layout()
            .entries()
            .iter()
            .map(|entry| {
                let known = self
                    .state
                    .get(entry, CURVATURE_KNOWN, 1, entry.compute_dtype())?;
                Ok(known.map(|known| known.greater_elem(0.5)))
            })
            .collect::<Result<Option<Vec<_>>, RecordError>>()?;
        Ok(known.map(|known| (value, FiniteFlags::new(like.layout().clone(), known))))
    }

    /// New weights and state of one parameter, beside the old ones.
    fn update(
        &self,
        lr: f64,
        entry: &ParamEntry,
        weights: &Tensor<1>,
        gradient: &Tensor<1>,
        curvature: &Tensor<1>,
    ) -> Result<Update, RecordError> {
        let AdaHessianConfig { beta_1, beta_2, .. } = self.config;
        let (n, dtype) = (entry.num_elements(), entry.compute_dtype());
        let load = |field, len| -> Result<Tensor<1>, RecordError> {
            Ok(match self.state.get(entry, field, len, dtype)? {
                Some(tensor) => tensor,
                None => Tensor::zeros([len], (&entry.device, dtype)),
            })
        };
        let (m_old, v_old) = (load(FIRST_MOMENT, n)?, load(SECOND_MOMENT, n)?);
        let (m_weight_old, v_weight_old) = (load(FIRST_WEIGHT, 1)?, load(SECOND_WEIGHT, 1)?);

        let one = Tensor::ones([1], (&entry.device, dtype));
        let m = ema(m_old.clone(), gradient.clone().cast(dtype), beta_1);
        let v = ema(v_old.clone(), curvature.clone().square(), beta_2);
        let m_weight = ema(m_weight_old.clone(), one.clone(), beta_1);
        let v_weight = ema(v_weight_old.clone(), one, beta_2);

        let root = (v.clone() / v_weight.clone()).sqrt();
        let root = match self.config.hessian_power {
            1.0 => root,
            // Backends do not agree on 0^0.
            0.0 => root.ones_like(),
            power => root.powf_scalar(power),
        };
        let mut update = m.clone() / m_weight.clone() / root.add_scalar(self.config.epsilon);
        if let Some(limit) = self.config.max_update_rms {
            let rms = update.clone().square().mean().sqrt();
            update = update * rms.recip().mul_scalar(limit).clamp_max(1.0);
        }
        let wide = weights.clone().cast(dtype);
        if self.config.weight_decay > 0.0 {
            update = update + wide.clone().mul_scalar(self.config.weight_decay);
        }
        Ok(Update {
            weights: (
                (wide - update.mul_scalar(lr)).cast(entry.dtype),
                weights.clone(),
            ),
            fields: [
                (FIRST_MOMENT, m, m_old),
                (SECOND_MOMENT, v, v_old),
                (FIRST_WEIGHT, m_weight, m_weight_old),
                (SECOND_WEIGHT, v_weight, v_weight_old),
            ],
        })
    }
}

/// The curvature of one step.
struct Curvature {
    value: ParamVec,
    /// Flags of the parameters that have a curvature, where not all may.
    known: Option<FiniteFlags>,
    finite_difference: Option<f64>,
    fresh: bool,
}

/// New and old tensors of one parameter.
struct Update {
    weights: (Tensor<1>, Tensor<1>),
    fields: [(&'static str, Tensor<1>, Tensor<1>); 4],
}

impl Update {
    /// Keeps the old tensors where `allowed` is not set, or where a new one is not finite. Returns
    /// the flag by which it decided on the latter.
    fn settle(self, allowed: Option<Tensor<1, Bool>>) -> (Self, Tensor<1, Bool>) {
        let Update {
            weights: (weights, weights_old),
            fields,
        } = self;
        // A second moment that overflowed gives a finite update of zero, for ever.
        let sound = finite(&weights).bool_and(finite(&fields[1].1));
        let ok = match allowed {
            Some(allowed) => sound.clone().bool_and(allowed),
            None => sound.clone(),
        };
        let fields = fields.map(|(name, new, old)| (name, select(&ok, new, old.clone()), old));
        let weights = (select(&ok, weights, weights_old.clone()), weights_old);
        (Self { weights, fields }, sound)
    }
}

impl<M: Module> ClosureOptimizer<M> for AdaHessian {
    fn step(
        &mut self,
        lr: LearningRate,
        model: M,
        objective: &dyn Objective<M>,
    ) -> Result<Step<M>, StepError<M>> {
        guard(lr, model, |model| {
            let _span = tracing::debug_span!("step", optimizer = NAME).entered();
            let policy = self.config.policy.clone();
            self.state.check_loaded(model)?;
            let mut session = Session::begin(model, objective, &policy, self.steps)?;
            let curvature = self.curvature(&mut session)?;
            let allowed = match (session.gradient_flags(), &curvature.known) {
                (Some(a), Some(b)) => Some(a.and(b)),
                (one, other) => one.or_else(|| other.clone()),
            };
            let gradient = session.clip(session.gradient().clone());
            let weights = session.oracle().parameters()?.clone();

            let mut updates = Vec::with_capacity(weights.layout().len());
            let mut sound = Vec::new();
            for (index, (entry, w)) in weights.iter().enumerate() {
                let (g, d) = (
                    &gradient.tensors()[index],
                    &curvature.value.tensors()[index],
                );
                let mut update = self.update(lr, entry, w, g, d)?;
                if session.looks() {
                    let flag = flag(allowed.as_ref(), index).cloned();
                    let settled = update.settle(flag);
                    update = settled.0;
                    sound.push(settled.1);
                }
                updates.push(update);
            }
            let layout = weights.layout().clone();
            if session.looks() {
                session.check(SkipReason::Update, FiniteFlags::new(layout.clone(), sound))?;
            }

            // Nothing can fail from here on.
            let mut report = session.report(0);
            let model = session.into_model()?;
            let mut moved = Vec::with_capacity(updates.len());
            for (index, (entry, update)) in layout.entries().iter().zip(updates).enumerate() {
                for (field, new, _) in update.fields {
                    self.state.set(entry, field, new);
                }
                if self.config.period > 1 && curvature.fresh {
                    let value = curvature.value.tensors()[index].clone();
                    let known = match &curvature.known {
                        Some(known) => known.tensors()[index].clone().float(),
                        None => Tensor::ones([1], &entry.device),
                    };
                    self.state.set(entry, CURVATURE, value);
                    let known = known.cast(entry.compute_dtype());
                    self.state.set(entry, CURVATURE_KNOWN, known);
                }
                moved.push(update.weights.0);
            }
            let model = assign(model, &ParamVec::new(layout, moved));
            self.source.set_last_step(curvature.finite_difference);
            self.age = if curvature.fresh { 0 } else { self.age + 1 };
            self.steps += 1;
            report.curvature_age = Some(self.age as usize);
            report.state_bytes = self.state.num_bytes();
            Ok(Step { model, report })
        })
    }
}

impl StatefulOptimizer for AdaHessian {
    fn name(&self) -> &'static str {
        NAME
    }

    fn to_record(&self) -> StateRecord {
        let mut record = StateRecord::new(NAME);
        record.set_count("steps", self.steps);
        record.set_count("age", self.age);
        self.source.write(&mut record);
        self.state.write(&mut record);
        record
    }

    fn load_record(&mut self, record: StateRecord) -> Result<(), RecordError> {
        record.expect(NAME)?;
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
