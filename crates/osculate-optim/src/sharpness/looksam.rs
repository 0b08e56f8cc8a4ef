use burn::config::Config;
use burn::module::Module;
use burn::optim::{LearningRate, ModuleOptimizer};
use burn::tensor::Tensor;
use osculate_curvature::{Objective, ParamVec};

use crate::config::{Check, ConfigError, StepPolicy};
use crate::error::{StepError, StepErrorCause};
use crate::optimizer::{ClosureOptimizer, StatefulOptimizer, Step};
use crate::record::{RecordError, StateRecord, StateStore};
use crate::wrapper::Wrapper;

use super::{NORM_EPSILON, perturbation};

/// [`LookSam`] configuration.
#[derive(Config, Debug)]
pub struct LookSamConfig {
    /// Radius of the perturbation. Default 0.05.
    #[config(default = 0.05)]
    pub rho: f64,
    /// Weight of the reused component. Default 0.7.
    #[config(default = 0.7)]
    pub alpha: f64,
    /// Steps between two gradients at perturbed weights. Default 5, the paper's main setting.
    #[config(default = 5)]
    pub period: usize,
    /// Takes components and norms of each tensor apart, as other implementations do, instead of
    /// over all parameters together, as the paper does. Tensors of one element have next to no
    /// orthogonal component. Default `false`.
    #[config(default = false)]
    pub per_tensor: bool,
    /// Settings of the step that do not depend on the method.
    #[config(default = "StepPolicy::new()")]
    pub policy: StepPolicy,
}

/// SAM whose second gradient is taken once in `period` steps and reused between.
///
/// ```text
/// every period-th step, the first included:
///     ε  = rho g0 / |g0|,  g1 = ∇L(θ + ε)
///     gv = g1 - (g1.g0 / |g0|²) g0          kept
///     θ  = base step at θ with g1
/// other steps:
///     θ  = base step at θ with g0 + alpha (|g0| / |gv|) gv
/// ```
///
/// A parameter that has no kept component yet (it had no gradient at the last refresh, or a state
/// was loaded without it) makes the step a refresh.
///
/// - Cost: `1 + 1 / period` gradient evaluations a step.
/// - State: 1 element for each parameter element, beside the base optimizer's.
/// - When not to use it: with a period so long that the component is stale; more than 10 is rare.
///
/// Paper: Liu et al., *Towards Efficient and Scalable Sharpness-Aware Minimization*,
/// <https://arxiv.org/abs/2203.02714>.
#[derive(Clone)]
pub struct LookSam {
    wrapper: Wrapper,
    config: LookSamConfig,
    state: StateStore,
    age: u64,
}

/// The kept component `gv`.
const KEPT: &str = "orthogonal";
/// Added to the norm of the kept component.
const KEPT_EPSILON: f64 = 1e-8;

impl LookSamConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative or non-finite number, a period of 0, or an invalid policy.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Check::of("LookSamConfig")
            .non_negative("rho", self.rho)
            .non_negative("alpha", self.alpha)
            .that(self.period > 0, "period", self.period, "at least 1")
            .policy(&self.policy)
            .finish()
    }

    /// Makes the optimizer over a base optimizer.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn init(&self, base: ModuleOptimizer) -> Result<LookSam, ConfigError> {
        self.validate()?;
        Ok(LookSam {
            wrapper: Wrapper::new("looksam", base, self.policy.clone()),
            config: self.clone(),
            state: StateStore::default(),
            age: 0,
        })
    }

    /// Norms of `vector`: that of all tensors together, for each, or one for each.
    fn norms(&self, vector: &ParamVec) -> Vec<Tensor<1>> {
        if self.per_tensor {
            vector.norms_on_device()
        } else {
            vec![vector.norm_on_device(); vector.layout().len()]
        }
    }

    /// The part of `perturbed` that is orthogonal to `clean`.
    fn component(&self, perturbed: &ParamVec, clean: &ParamVec) -> ParamVec {
        let norms = self.norms(clean);
        let over: Vec<Tensor<1>> = norms
            .iter()
            .map(|norm| norm.clone().add_scalar(NORM_EPSILON).recip())
            .collect();
        let unit = clean.scale_each_by(&over);
        let overlaps: Vec<Tensor<1>> = if self.per_tensor {
            let products = perturbed.hadamard(&unit);
            products.iter().map(|(_, x)| x.clone().sum()).collect()
        } else {
            vec![perturbed.dot_on_device(&unit); norms.len()]
        };
        let orthogonal = perturbed.sub(&unit.scale_each_by(&overlaps));
        if !self.per_tensor {
            return orthogonal;
        }
        // One number minus its own projection is rounding noise, which the ratio of norms would blow
        // up. Its exact value is g1 (1 - r^2) with r = |g0| / (|g0| + ε), free of cancellation here.
        let rest: Vec<Tensor<1>> = norms
            .iter()
            .zip(over)
            .map(|(norm, over)| {
                let numerator = norm.clone().mul_scalar(2.0).add_scalar(NORM_EPSILON);
                (numerator * over.clone()).mul_scalar(NORM_EPSILON) * over
            })
            .collect();
        let lone = perturbed.scale_each_by(&rest);
        let mut lone = lone.into_tensors().into_iter();
        orthogonal.map(|(entry, x)| match lone.next() {
            Some(lone) if entry.num_elements() == 1 => lone,
            _ => x.clone(),
        })
    }

    /// `g + alpha (|g| / |gv|) gv`.
    fn reuse(&self, gradient: &ParamVec, kept: &ParamVec) -> ParamVec {
        let factors: Vec<Tensor<1>> = self
            .norms(gradient)
            .into_iter()
            .zip(self.norms(kept))
            .map(|(g, v)| (g / v.add_scalar(KEPT_EPSILON)).mul_scalar(self.alpha))
            .collect();
        gradient.add(&kept.scale_each_by(&factors))
    }
}

impl StateStore {
    /// The kept component of every parameter of a vector, or `None` where one is missing.
    fn kept(&self, like: &ParamVec) -> Result<Option<ParamVec>, RecordError> {
        let tensors = like
            .layout()
            .entries()
            .iter()
            .map(|entry| self.get(entry, KEPT, entry.num_elements(), entry.dtype))
            .collect::<Result<Option<Vec<_>>, _>>()?;
        Ok(tensors.map(|tensors| ParamVec::new(like.layout().clone(), tensors)))
    }
}

impl<M: Module> ClosureOptimizer<M> for LookSam {
    fn step(
        &mut self,
        lr: LearningRate,
        model: M,
        objective: &dyn Objective<M>,
    ) -> Result<Step<M>, StepError<M>> {
        if let Err(error) = self.state.check_loaded(&model) {
            let cause = StepErrorCause::State(error);
            return Err(StepError { model, cause });
        }
        let config = &self.config;
        let state = &self.state;
        let mut refreshed: Option<ParamVec> = None;
        let step = self.wrapper.step(lr, model, objective, |session, steps| {
            let clean = session.gradient().clone();
            let due = steps.is_multiple_of(config.period as u64);
            let kept = if due { None } else { state.kept(&clean)? };
            if let Some(kept) = kept {
                return session.accept_combined(config.reuse(&clean, &kept));
            }
            let perturbed = session.gradient_at(&perturbation(config.rho, &clean))?;
            let component = config.component(&perturbed, &clean);
            let sound = component.finite_flags();
            let sound = match session.gradient_flags() {
                Some(flags) => sound.and(&flags),
                None => sound,
            };
            let old = match state.kept(&clean)? {
                Some(kept) => kept,
                None => ParamVec::zeros(clean.layout()),
            };
            refreshed = Some(component.where_finite(&sound, &old));
            Ok(perturbed)
        })?;
        // Written only now, so that a failed step leaves the state as it was.
        if let Some(component) = refreshed {
            for (entry, tensor) in component.iter() {
                self.state.set(entry, KEPT, tensor.clone());
            }
            self.age = 0;
        } else {
            self.age += 1;
        }
        let Step { model, mut report } = step;
        report.curvature_age = Some(self.age as usize);
        report.state_bytes = self.wrapper.state_bytes() + self.state.num_bytes();
        Ok(Step { model, report })
    }
}

impl StatefulOptimizer for LookSam {
    fn name(&self) -> &'static str {
        self.wrapper.name()
    }

    fn to_record(&self) -> StateRecord {
        let mut record = self.wrapper.to_record();
        record.set_count("age", self.age);
        self.state.write(&mut record);
        record
    }

    fn load_record(&mut self, record: StateRecord) -> Result<(), RecordError> {
        let age = record.count("age")?;
        self.wrapper.load_record(&record)?;
        self.state = StateStore::read(&record, &[KEPT]);
        self.age = age;
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.wrapper.state_bytes() + self.state.num_bytes()
    }
}
