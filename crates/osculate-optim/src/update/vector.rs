//! Rules that see all parameters at once.

use std::fmt::Debug;
use std::sync::Arc;

use burn::tensor::Tensor;
use osculate_curvature::{FiniteFlags, ParamEntry, ParamVec};

use super::{Proposal, ProposalKind, Update, UpdateInput};
use crate::curvature::{CurvatureEstimate, CurvatureSource};
use crate::driver::{Expense, NonFinitePolicy, StepErrorCause, vector_bytes};
use crate::engine::RuleError;
use crate::parameter::{Parameter, ParameterTable};
use crate::record::{RecordError, StateRecord};
use crate::vector_state::{VectorField, VectorState, VectorStore, loss_for_state, scalar_dtype};
use crate::weight_decay::WeightDecay;

/// An update rule that sees all parameters, the loss, and a few scalars of its own on the device.
///
/// Like a [`BlockRule`](crate::BlockRule) it gives a direction `u` of the step `θ ← θ - lr u`; rate,
/// decay and policies are the driver's. Nothing has to be read back for it.
///
/// ```
/// use osculate_curvature::ParamVec;
/// use osculate_optim::{RuleError, VectorField, VectorRule, VectorStep};
///
/// /// Momentum whose direction has the length of 1 over the whole model.
/// #[derive(Debug, Clone)]
/// struct UnitMomentum;
///
/// impl VectorRule for UnitMomentum {
///     fn name(&self) -> &'static str {
///         "unit-momentum"
///     }
///     fn fields(&self) -> &'static [VectorField] {
///         const { &[VectorField::wide("m")] }
///     }
///     fn step(&self, step: &mut VectorStep<'_>) -> Result<ParamVec, RuleError> {
///         let m = step.state.vector("m")?.scale(0.9).add(step.gradient);
///         step.state.put("m", m.clone())?;
///         Ok(m.scale_by(&m.norm_on_device().add_scalar(1e-12).recip()))
///     }
/// }
/// # use osculate_optim::{ClosureOptimizer, Driver};
/// # use burn::{nn::{Linear, LinearConfig}, tensor::{Device, Tensor}};
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(2, 1).init(&device);
/// # let x = Tensor::<2>::ones([4, 2], &device);
/// # let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = Driver::of_vectors(UnitMomentum);
/// let step = optimizer.step(0.01, model, &loss)?;
/// # let before = step.report.loss();
/// # assert!(optimizer.step(0.01, step.model, &loss)?.report.loss() < before);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait VectorRule: Clone + Debug + Send + Sync + 'static {
    /// Name of the method, in lower case.
    fn name(&self) -> &'static str;

    /// The vectors that it keeps from step to step, zero at first and for parameters that are new.
    fn fields(&self) -> &'static [VectorField] {
        &[]
    }

    /// The scalars that it keeps on the device, zero at first.
    fn scalars(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether the rule looks at the loss. Of an objective that gives gradients alone it is evaluated by the
    /// supervised terms, one forward pass more; without any a step is an error.
    fn needs_loss(&self) -> bool {
        false
    }

    /// Whether the rule asks for curvature in this step.
    fn wants_curvature(&self, step: u64) -> bool {
        let _ = step;
        false
    }

    /// Where that curvature comes from, unless the driver is given another source.
    fn curvature_source(&self) -> Option<Box<dyn CurvatureSource>> {
        None
    }

    /// The decay of the weights, which the driver applies.
    fn weight_decay(&self) -> WeightDecay {
        WeightDecay::NONE
    }

    /// The direction of a step, in the type in which statistics are kept.
    ///
    /// # Errors
    /// [`RuleError`], for a state that was not declared, and curvature that is missing or of the wrong
    /// kind. The step is then not made.
    fn step(&self, step: &mut VectorStep<'_>) -> Result<ParamVec, RuleError>;
}

/// What a [`VectorRule`] makes a direction of.
pub struct VectorStep<'a> {
    /// The rule's state, by name.
    pub state: VectorState,
    /// The loss at the weights, one element, in the type of the state's scalars.
    pub loss: Tensor<1>,
    /// The weights, in the type in which statistics are kept.
    pub weights: &'a ParamVec,
    /// The gradient, in the same type; zero where it is skipped.
    pub gradient: &'a ParamVec,
    /// The curvature, where the rule asked and there is any; zero where it is not finite.
    pub curvature: Option<&'a CurvatureEstimate>,
    /// The learning rate of each parameter.
    pub lrs: &'a [f64],
    /// Steps made before this one.
    pub step: u64,
    /// Seed of the run.
    pub seed: u64,
}

/// A vector rule with its state.
#[derive(Debug)]
pub(crate) struct VectorUpdate<R: VectorRule> {
    rule: R,
    store: VectorStore,
    pending: Option<VectorState>,
}

impl<R: VectorRule> VectorUpdate<R> {
    pub(crate) fn new(rule: R) -> Self {
        Self {
            rule,
            store: VectorStore::default(),
            pending: None,
        }
    }
}

/// The role's name in records.
const ROLE: &str = "vector";

impl<R: VectorRule> Update for VectorUpdate<R> {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn clone_box(&self) -> Box<dyn Update> {
        Box::new(Self {
            rule: self.rule.clone(),
            store: self.store.clone(),
            pending: None,
        })
    }

    fn needs_loss(&self) -> bool {
        self.rule.needs_loss()
    }

    fn wants_curvature(&self, step: u64) -> bool {
        self.rule.wants_curvature(step)
    }

    fn curvature_source(&self) -> Option<Arc<dyn CurvatureSource>> {
        self.rule.curvature_source().map(Arc::from)
    }

    fn weight_decay(&self) -> WeightDecay {
        self.rule.weight_decay()
    }

    fn prepare(&mut self, input: UpdateInput<'_>) -> Result<Proposal, StepErrorCause> {
        let layout = input.weights.layout();
        let (name, fields, scalars) = (self.rule.name(), self.rule.fields(), self.rule.scalars());
        let state = self.store.open(name, fields, scalars, layout)?;
        let loss = loss_for_state(input.loss, layout);
        let mut step = VectorStep {
            state,
            loss,
            weights: &input.weights.to_compute_dtype(),
            gradient: &input.gradient.to_compute_dtype(),
            curvature: input.curvature.as_ref(),
            lrs: input.lrs,
            step: input.step,
            seed: input.seed,
        };
        let direction = self.rule.step(&mut step)?;
        layout.check(direction.layout())?;
        let direction = direction.to_compute_dtype();
        let flags = (input.non_finite != NonFinitePolicy::Propagate).then(|| {
            let mut flags = direction.finite_flags();
            if let Some(own) = &input.flags {
                flags = flags.and(own);
            }
            for field in fields {
                if let Ok(vector) = step.state.vector(field.name) {
                    flags = flags.and(&vector.finite_flags());
                }
            }
            flags
        });
        self.pending = Some(step.state);
        Ok(Proposal {
            kind: ProposalKind::Direction(direction.into_tensors()),
            hold: None,
            flags,
            unclipped: Vec::new(),
            solver_failures: 0,
            refreshed: input.curvature.is_some(),
        })
    }

    fn discard(&mut self) {
        self.pending = None;
    }

    fn commit(&mut self, keep: Option<&FiniteFlags>) {
        if let Some(state) = self.pending.take() {
            self.store.commit(state, keep);
        }
    }

    fn forget(&mut self, path: &str, _: &ParameterTable) -> Result<(), RecordError> {
        self.store.forget(path);
        Ok(())
    }

    fn paths(&self) -> Vec<String> {
        self.store.paths().collect()
    }

    fn num_bytes(&self) -> usize {
        self.store.num_bytes()
    }

    fn expenses(&self, entries: &[ParamEntry], _: &[Parameter]) -> Vec<Expense> {
        let scalars = self.rule.scalars().len();
        let each = entries.iter().enumerate().map(|(index, entry)| Expense {
            path: entry.path.clone(),
            bytes: vector_bytes(self.rule.fields(), entry)
                + match index {
                    0 => scalars * scalar_dtype(&entry.device).size(),
                    _ => 0,
                },
            refresh: 0.0,
        });
        each.collect()
    }

    fn write(&self, record: &mut StateRecord, prefix: &str) {
        self.store.write(record, &format!("{prefix}{ROLE}"));
    }

    fn read(
        &self,
        record: &StateRecord,
        prefix: &str,
        _: &dyn Fn(&str) -> bool,
    ) -> Result<Box<dyn Update>, RecordError> {
        Ok(Box::new(Self {
            rule: self.rule.clone(),
            store: VectorStore::read(record, &format!("{prefix}{ROLE}"), &[]),
            pending: None,
        }))
    }
}
