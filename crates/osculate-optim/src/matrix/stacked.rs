use burn::module::Module;
use burn::optim::LearningRate;
use osculate_curvature::{
    CurvatureOperator, Hessian, HessianConfig, HvpFallback, Objective, ParamVec, ProbeDistribution,
    assign,
};

use super::engine::{Prepared, Request, prepare};
use super::rule::MatrixRule;
use super::state::StackState;
use crate::config::{NonFinitePolicy, StepPolicy};
use crate::diagonal::ProbeFn;
use crate::error::{StepError, StepErrorCause};
use crate::optimizer::{ClosureOptimizer, StatefulOptimizer, Step, guard};
use crate::record::{RecordError, StateRecord};
use crate::report::{SkipReason, StepReport};
use crate::session::Session;

/// A [`MatrixRule`] over all parameters of a model, behind the closure door.
///
/// Blocks of equal dimensions are stacked over the whole model, so that `k` of them cost one batched
/// matrix product. On CPU backends a stack is closed once it holds 65536 elements, and stacks are
/// stepped side by side on the cores. A parameter without a gradient is left out of the step with its
/// state, whatever else is stacked. Refreshes of preconditioners take turns over the blocks in the
/// order of the model.
///
/// Its configuration makes it, with `stacked()`.
#[derive(Debug, Clone)]
pub struct Stacked<R: MatrixRule> {
    rule: R,
    policy: StepPolicy,
    products: Products,
    state: StackState,
    steps: u64,
    age: Option<u64>,
}

/// How curvature products are made for rules that want them.
#[derive(Clone)]
struct Products {
    hessian: HessianConfig,
    probes: Option<ProbeFn>,
    /// The finite-difference step that worked last.
    last_step: Option<f64>,
    /// Why exact products are not possible, once that is known.
    fallback: HvpFallback,
    /// Whether that was known after the last step that was made.
    differences: bool,
}

impl std::fmt::Debug for Products {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Products")
            .field("hessian", &self.hessian)
            .finish_non_exhaustive()
    }
}

/// Keeps the stream of probes apart from the dropout mask's.
const PROBE_STREAM: u64 = 0x4E45_5754;

impl<R: MatrixRule> Stacked<R> {
    /// The rule over a whole model, with the policy of its steps. The policy is taken as valid.
    pub(crate) fn new(rule: R, policy: StepPolicy) -> Self {
        let hessian = HessianConfig {
            // The error's estimate would read two norms back in every product.
            estimate_error: false,
            ..HessianConfig::default()
        };
        Self {
            rule,
            policy,
            products: Products {
                hessian,
                probes: None,
                last_step: None,
                fallback: HvpFallback::default(),
                differences: false,
            },
            state: StackState::default(),
            steps: 0,
            age: None,
        }
    }

    /// Draws the probes of curvature products by the caller's own function instead of from the
    /// policy's seed.
    pub fn with_probes(mut self, probes: ProbeFn) -> Self {
        self.products.probes = Some(probes);
        self
    }

    /// Changes how Hessian-vector products are made.
    pub fn with_hessian(mut self, config: HessianConfig) -> Self {
        self.products.hessian = config;
        self.products.fallback = HvpFallback::default();
        self
    }

    /// Changes the rule, by one of its own setters for instance.
    pub fn map_rule(mut self, change: impl FnOnce(R) -> R) -> Self {
        self.rule = change(self.rule);
        self
    }

    /// The rule.
    pub fn rule(&self) -> &R {
        &self.rule
    }

    pub(super) fn policy(&self) -> &StepPolicy {
        &self.policy
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// Checks, at the first step after loading, that the model has the parameters of the state.
    pub(super) fn check_loaded<M: Module>(&mut self, model: &M) -> Result<(), RecordError> {
        self.state.check_loaded(model)
    }

    /// Makes the update for the parameters of `gradient`, which has been clipped.
    pub(super) fn prepare<M: Module>(
        &self,
        lr: LearningRate,
        session: &mut Session<'_, M>,
        weights: &ParamVec,
        gradient: &ParamVec,
    ) -> Result<StackedUpdate, StepErrorCause> {
        let product = if self.rule.wants_product(self.steps) {
            Some(self.products.make(session, self.steps, gradient)?)
        } else {
            None
        };
        let flags = session.gradient_flags().map(|all| {
            let entries = gradient.layout().entries().iter();
            let flags = entries.filter_map(|entry| {
                let at = all.layout().position(&entry.path)?;
                Some(all.tensors()[at].clone())
            });
            osculate_curvature::FiniteFlags::new(gradient.layout().clone(), flags.collect())
        });
        let request = Request {
            lr,
            weights,
            gradient,
            product: product.as_ref().map(|made| (&made.probe, &made.product)),
            flags: flags.as_ref(),
            non_finite: self.policy.non_finite,
            alias: None,
            strict: true,
        };
        let mut prepared = prepare(&self.rule, &self.state, &request)?;
        if let Some(flags) = &prepared.flags
            && self.policy.non_finite == NonFinitePolicy::Skip
        {
            session.check(SkipReason::Update, flags.clone())?;
        }
        let moved = std::mem::take(&mut prepared.weights);
        Ok(StackedUpdate {
            weights: ParamVec::new(weights.layout().clone(), moved),
            prepared,
            last_step: product.map_or(self.products.last_step, |made| made.last_step),
        })
    }

    /// Takes an update over. Cannot fail.
    pub(super) fn commit(&mut self, update: StackedUpdate, report: &mut StepReport) {
        self.age = if update.prepared.refreshed {
            Some(0)
        } else {
            self.age.map(|age| age + 1)
        };
        report.curvature_age = self.age.map(|age| age as usize);
        report.solver_failures = update.prepared.solver_failures;
        self.products.last_step = update.last_step;
        self.products.differences = self.products.fallback.reason().is_some();
        update.prepared.commit(&mut self.state);
        self.steps += 1;
        report.state_bytes += self.state.num_bytes();
    }

    pub(super) fn write(&self, record: &mut StateRecord) {
        record.set_count("steps", self.steps);
        if let Some(age) = self.age {
            record.set_count("age", age);
        }
        record.set_products(self.products.last_step, self.products.differences);
        self.state.write(record);
    }

    /// The optimizer with the state of a record.
    pub(super) fn read(&self, record: &StateRecord) -> Result<Self, RecordError> {
        let mut read = self.clone();
        read.state = StackState::read(record, R::FIELDS)?;
        read.steps = record.count("steps")?;
        read.age = record.count("age").ok();
        (read.products.last_step, read.products.fallback) = record.products();
        read.products.differences = read.products.fallback.reason().is_some();
        Ok(read)
    }
}

/// An update that is made and not yet taken over.
pub(super) struct StackedUpdate {
    /// New weights of the parameters that were asked for.
    pub weights: ParamVec,
    prepared: Prepared,
    last_step: Option<f64>,
}

struct MadeProduct {
    probe: ParamVec,
    product: ParamVec,
    last_step: Option<f64>,
}

impl Products {
    /// `H v` for a standard normal `v`, both restricted to the parameters of `like`.
    fn make<M: Module>(
        &self,
        session: &Session<'_, M>,
        steps: u64,
        like: &ParamVec,
    ) -> Result<MadeProduct, StepErrorCause> {
        let oracle = session.oracle();
        let hessian = Hessian::with_config(oracle, self.hessian)?
            .with_first_step(self.last_step)
            .with_fallback(self.fallback.clone());
        let layout = hessian.layout();
        let probe = match &self.probes {
            Some(draw) => draw(&layout, steps),
            None => ProbeDistribution::Gaussian.draw(&layout, oracle.seed() ^ PROBE_STREAM, 0),
        };
        let product = hessian.apply_probe(&probe)?.value;
        let restricted = |vector: &ParamVec| {
            let entries = like.layout().entries().iter();
            let tensors = entries.filter_map(|entry| vector.get(&entry.path).cloned());
            ParamVec::new(like.layout().clone(), tensors.collect())
        };
        Ok(MadeProduct {
            probe: restricted(&probe),
            product: restricted(&product),
            last_step: hessian.last_step(),
        })
    }
}

impl<R: MatrixRule, M: Module> ClosureOptimizer<M> for Stacked<R> {
    fn step(
        &mut self,
        lr: LearningRate,
        model: M,
        objective: &dyn Objective<M>,
    ) -> Result<Step<M>, StepError<M>> {
        guard(lr, model, |model| {
            let _span = tracing::debug_span!("step", optimizer = self.rule.name()).entered();
            self.check_loaded(model)?;
            let mut session = Session::begin(model, objective, &self.policy, self.steps)?;
            let weights = session.oracle().parameters()?.clone();
            let gradient = session.clip(session.gradient().clone());
            let update = self.prepare(lr, &mut session, &weights, &gradient)?;

            // Nothing can fail from here on.
            let mut report = session.report(0);
            let model = assign(session.into_model()?, &update.weights);
            self.commit(update, &mut report);
            Ok(Step { model, report })
        })
    }
}

impl<R: MatrixRule> StatefulOptimizer for Stacked<R> {
    fn name(&self) -> &'static str {
        self.rule.name()
    }

    fn to_record(&self) -> StateRecord {
        let mut record = StateRecord::new(self.rule.name());
        self.write(&mut record);
        record
    }

    fn load_record(&mut self, record: StateRecord) -> Result<(), RecordError> {
        record.expect(self.rule.name())?;
        *self = self.read(&record)?;
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.state.num_bytes()
    }
}
