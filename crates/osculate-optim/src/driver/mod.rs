//! One driver for every optimizer: the roles put together.

mod apart;
mod apply;
mod compose;
mod context;
mod error;
mod estimate;
mod filters;
mod forecast;
mod groups;
mod ownership;
mod policy;
mod proposed;
mod recognise;
mod records;
mod report;
mod settle;
mod step;
mod together;

pub(crate) use apply::{Move, finite, select};
pub use error::{StepError, StepErrorCause};
pub use forecast::Forecast;
pub(crate) use forecast::{Expense, vector_bytes};
pub use groups::{ParameterGroup, Select};
pub(crate) use policy::step_seed;
pub use policy::{NonFinitePolicy, StepPolicy};
pub use report::{FreshState, GroupReport, SkipReason, Skipped, StepReport};

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::optim::ModuleOptimizer;

use crate::averaging::Averaging;
use crate::config::{Check, ConfigError};
use crate::curvature::{CurvatureSource, ProductMemory};
use crate::engine::BlockRule;
use crate::filter::GradientFilter;
use crate::gradient::{Clean, GradientSource};
use crate::parameter::{ModuleSignature, ParameterTable};
use crate::step_size::StepSize;
use crate::update::{BlockUpdate, BurnUpdate, Update, VectorRule, VectorUpdate};
use crate::vector_state::VectorStore;
use crate::weight_decay::WeightDecay;

use groups::Assignment;
use ownership::Ownership;

/// An optimizer put together from roles, behind [`ClosureOptimizer`](crate::ClosureOptimizer).
///
/// A step takes a gradient somewhere ([`GradientSource`]), filters it ([`GradientFilter`]), asks for curvature at
/// the same point
/// ([`CurvatureSource`]), makes a direction of both ([`BlockRule`], [`VectorRule`], or a burn optimizer),
/// goes along it as far as a policy says ([`StepSize`]), with weight decay, and averages the weights
/// ([`Averaging`]). Every choice of one role goes with every choice of the others.
///
/// Configurations make drivers with `init()`; sources, policies and averages go over them with `over`:
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, Momo, Sam, ScheduleFree, SoapConfig};
///
/// let soap = SoapConfig::new().init()?;
/// let sam_soap = Sam::new(0.05).over(soap)?;
/// let mut optimizer = ScheduleFree::new().over(Momo::new().over(sam_soap)?)?.with_seed(7);
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.1, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// State belongs to a parameter: to its path, with its identity in the program, its shape and its element
/// type. One that is another than in the step before (a layer that was replaced, made anew, or loaded from
/// another record) starts with fresh state, whatever the method: a warning says so once, and the report.
/// The state of a parameter that the model has no more is dropped.
#[derive(Debug, Clone)]
pub struct Driver {
    gradient: Arc<dyn GradientSource>,
    gradient_state: VectorStore,
    /// The innermost first.
    filters: Vec<Arc<dyn GradientFilter>>,
    /// In the place of the updates' own sources.
    curvature: Option<Arc<dyn CurvatureSource>>,
    /// What is known of the products of curvature sources, and of those of the gradient source.
    products: ProductMemory,
    gradient_products: ProductMemory,
    update: Box<dyn Update>,
    groups: Vec<ParameterGroup>,
    weight_decay: Option<WeightDecay>,
    cautious_decay: bool,
    cautious_mask: bool,
    step_size: Option<Arc<dyn StepSize>>,
    step_size_state: VectorStore,
    averaging: Option<Arc<dyn Averaging>>,
    averaging_state: VectorStore,
    /// What the average keeps on the host.
    numbers: BTreeMap<String, f64>,
    policy: StepPolicy,
    /// What the noise of the run starts from beside the policy's seed: drawn from the devices in the first
    /// step, or 0 where the seed was chosen or that step had no noise.
    noise: Option<u64>,
    name: String,
    steps: u64,
    /// Steps since curvature was estimated, or a preconditioner refreshed.
    age: Option<u64>,
    /// Steps since the gradient source made an evaluation that it reuses.
    gradient_age: Option<u64>,
    ownership: Ownership,
    signature: ModuleSignature,
    table: ParameterTable,
    assignment: Assignment,
    /// Parameters that start with fresh state, until a step is made that reports them.
    fresh: Vec<FreshState>,
}

impl Driver {
    /// A block rule over all parameters of a model.
    pub fn of_blocks(rule: impl BlockRule) -> Self {
        Self::of_update(Box::new(BlockUpdate::new(rule)))
    }

    /// A vector rule over all parameters of a model.
    pub fn of_vectors(rule: impl VectorRule) -> Self {
        Self::of_update(Box::new(VectorUpdate::new(rule)))
    }

    fn of_update(update: Box<dyn Update>) -> Self {
        let mut driver = Self {
            gradient: Arc::new(Clean),
            gradient_state: VectorStore::default(),
            filters: Vec::new(),
            curvature: None,
            products: ProductMemory::default(),
            gradient_products: ProductMemory::default(),
            update,
            groups: Vec::new(),
            weight_decay: None,
            cautious_decay: false,
            cautious_mask: false,
            step_size: None,
            step_size_state: VectorStore::default(),
            averaging: None,
            averaging_state: VectorStore::default(),
            numbers: BTreeMap::new(),
            policy: StepPolicy::new(),
            noise: None,
            name: String::new(),
            steps: 0,
            age: None,
            gradient_age: None,
            ownership: Ownership::default(),
            signature: ModuleSignature::default(),
            table: ParameterTable::default(),
            assignment: Assignment::default(),
            fresh: Vec::new(),
        };
        driver.rename();
        driver
    }

    /// Replaces the policy of the steps.
    ///
    /// # Errors
    /// [`ConfigError`] for a clipping norm that is not positive.
    pub fn with_policy(mut self, policy: StepPolicy) -> Result<Self, ConfigError> {
        policy.validate()?;
        if policy.seed != 0 {
            self.noise = Some(0);
        }
        self.policy = policy;
        Ok(self)
    }

    /// Replaces the seed of the run: all random numbers of a step come from it and from the step's number
    /// alone, also with seed 0.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.policy.seed = seed;
        self.noise = Some(0);
        self
    }

    /// The policy of the steps.
    pub fn policy(&self) -> &StepPolicy {
        &self.policy
    }

    /// Replaces the rate and the form of the weight decay of all parameters, also where the method has
    /// none. burn's optimizers have their own inside besides: set that to 0.
    ///
    /// ```
    /// use burn::optim::SgdConfig;
    /// use osculate_optim::{DecayForm, Driver, WeightDecay};
    /// let decay = WeightDecay::new(0.1, DecayForm::Before);
    /// let optimizer = Driver::from(SgdConfig::new().init()).with_weight_decay(decay)?;
    /// assert!(optimizer.with_weight_decay(WeightDecay::new(-1.0, DecayForm::Before)).is_err());
    /// # Ok::<(), osculate_optim::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] for a rate that is negative or not finite.
    pub fn with_weight_decay(mut self, decay: WeightDecay) -> Result<Self, ConfigError> {
        Check::of("Driver")
            .non_negative("weight_decay", decay.rate)
            .finish()?;
        self.weight_decay = Some(decay);
        Ok(self)
    }

    /// Decays only elements that the step does not move away from zero: those whose direction has their
    /// own sign (cautious weight decay). It does not reach the decay inside burn's optimizers.
    pub fn with_cautious_decay(mut self) -> Self {
        self.cautious_decay = true;
        self
    }

    /// Drops the elements of a direction that go against the gradient, and scales the others up by
    /// `n / max(kept, n / 1000)` for each parameter (cautious optimizers).
    ///
    /// Paper: Liang et al., *Cautious Optimizers*, <https://arxiv.org/abs/2411.16085>.
    ///
    /// ```
    /// use osculate_optim::{MuonConfig, SoapConfig};
    /// let soap = SoapConfig::new().init()?.with_cautious_mask();
    /// let muon = MuonConfig::new().init()?.with_cautious_mask().with_cautious_decay();
    /// # Ok::<(), osculate_optim::ConfigError>(())
    /// ```
    pub fn with_cautious_mask(mut self) -> Self {
        self.cautious_mask = true;
        self
    }

    /// Adds a parameter group.
    ///
    /// # Errors
    /// [`ConfigError`] for a negative or non-finite setting, and a name that is taken. A group that matches
    /// nothing is found out in the first step.
    pub fn with_group(mut self, group: ParameterGroup) -> Result<Self, ConfigError> {
        group.validate()?;
        let taken = self.groups.iter().any(|own| own.name == group.name);
        Check::of("ParameterGroup")
            .that(
                !taken,
                "name",
                &group.name,
                "a name that no other group has",
            )
            .finish()?;
        self.groups.push(group);
        self.changed();
        Ok(self)
    }

    /// Adds several parameter groups.
    ///
    /// # Errors
    /// As [`with_group`](Self::with_group).
    pub fn with_groups(
        self,
        groups: impl IntoIterator<Item = ParameterGroup>,
    ) -> Result<Self, ConfigError> {
        groups.into_iter().try_fold(self, Self::with_group)
    }

    /// The update of a driver that is a method and nothing more; `config` and `field` are where it is
    /// given.
    fn into_update(
        self,
        config: &'static str,
        field: &'static str,
    ) -> Result<Box<dyn Update>, ConfigError> {
        let alone = self.gradient.name() == "clean"
            && self.filters.is_empty()
            && self.groups.is_empty()
            && self.curvature.is_none()
            && self.step_size.is_none()
            && self.averaging.is_none()
            && self.weight_decay.is_none()
            && !self.cautious_decay
            && !self.cautious_mask
            && StepPolicy {
                seed: 0,
                ..self.policy.clone()
            } == StepPolicy {
                seed: 0,
                ..StepPolicy::new()
            };
        Check::of(config)
            .that(
                alone,
                field,
                &self.name,
                "a method alone: policies, sources of gradients and curvature, filters, step sizes, averages, \
                 groups, masks and decays go over the whole optimizer",
            )
            .finish()?;
        Ok(self.update)
    }

    /// Something was put over: the next step looks at the model anew.
    fn changed(&mut self) {
        self.signature = ModuleSignature::default();
        self.rename();
    }

    /// The updates: the optimizer's own, then those of groups.
    fn updates(&self) -> impl Iterator<Item = &dyn Update> {
        let groups = self.groups.iter();
        let own = std::iter::once(self.update.as_ref());
        own.chain(groups.filter_map(|group| group.update.as_deref()))
    }

    fn updates_mut(&mut self) -> Vec<&mut Box<dyn Update>> {
        let groups = self.groups.iter_mut();
        let own = std::iter::once(&mut self.update);
        own.chain(groups.filter_map(|group| group.update.as_mut()))
            .collect()
    }

    /// The name, from the outermost role to the update.
    fn rename(&mut self) {
        let several = self.groups.iter().any(|group| group.update.is_some());
        let (update, burn) = match several {
            true => ("hybrid".to_string(), false),
            false => (self.update.name().to_string(), self.update.is_burn()),
        };
        // burn's optimizers have no name of their own under another.
        let over = |role: &str, name: Option<String>| match name {
            Some(name) => format!("{role}({name})"),
            None => role.to_string(),
        };
        let mut under = (!burn).then(|| update.clone());
        for filter in &self.filters {
            under = Some(over(filter.name(), under));
        }
        let mut name = match self.gradient.name() {
            "clean" => under.unwrap_or(update),
            source => over(source, under),
        };
        if let Some(policy) = &self.step_size {
            name = format!("{}({name})", policy.name());
        }
        if let Some(average) = &self.averaging {
            name = format!("{}({name})", average.name());
        }
        self.name = name;
    }
}

impl From<ModuleOptimizer> for Driver {
    /// Any burn optimizer as a closure optimizer: one gradient evaluation and its own step. What it gains
    /// is what every driver has: the model back on failure, the policy for gradients that are not finite,
    /// clipping by the global norm, a report, and records keyed by path.
    fn from(optimizer: ModuleOptimizer) -> Self {
        Self::of_update(Box::new(BurnUpdate::new(optimizer)))
    }
}
