use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::optim::{LearningRate, ModuleOptimizer, Optimizer};
use burn::tensor::{Device, Tensor};
use osculate_curvature::{FiniteFlags, Objective, ParamEntry, ParamVec, assign};

use super::rule::MatrixRule;
use super::stacked::Stacked;
use crate::config::{Check, ConfigError};
use crate::error::StepError;
use crate::optimizer::{ClosureOptimizer, StatefulOptimizer, Step, guard};
use crate::record::{BaseOptimizer, RecordError, StateRecord};
use crate::session::Session;

/// Two optimizers for one model: a matrix method for some parameters, any burn optimizer for the
/// rest, at one gradient evaluation.
///
/// The policy is that of the matrix method: its clipping is by the norm over all parameters.
///
/// State: that of each over its own parameters.
///
/// ```
/// use burn::module::ParamGroup;
/// use burn::optim::AdamWConfig;
/// use osculate_optim::{Hybrid, MuonConfig, PsgdKronConfig};
///
/// // Matrices to Muon, vectors and scalars to AdamW at a twentieth of the learning rate.
/// let optimizer = Hybrid::by_rank(MuonConfig::new().stacked()?, AdamWConfig::new().init())
///     .except(ParamGroup::from_any_predicates(vec!["embedding", "head"]))
///     .with_rest_lr(0.05)?;
///
/// // One layer's parameters to PSGD.
/// let layer = ParamGroup::from_predicate("up.");
/// let psgd = PsgdKronConfig::new().stacked()?;
/// let optimizer = Hybrid::by_path(layer, psgd, AdamWConfig::new().init());
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
///
/// In burn's own loop and `Learner` the same is a group: see [`matrices_of`] and [`ScaledLr`].
#[derive(Clone)]
pub struct Hybrid<R: MatrixRule> {
    matrix: Stacked<R>,
    rest: BaseOptimizer,
    rest_lr: f64,
    choice: Choice,
    except: Option<ParamGroup>,
}

#[derive(Clone)]
enum Choice {
    Rank,
    Path(ParamGroup),
}

impl<R: MatrixRule> Hybrid<R> {
    /// Gives parameters of rank 2 and more to the matrix method, and the rest to `rest`.
    pub fn by_rank(matrix: Stacked<R>, rest: ModuleOptimizer) -> Self {
        Self::new(Choice::Rank, matrix, rest)
    }

    /// Gives the parameters of a group to the matrix method, and the rest to `rest`.
    pub fn by_path(group: ParamGroup, matrix: Stacked<R>, rest: ModuleOptimizer) -> Self {
        Self::new(Choice::Path(group), matrix, rest)
    }

    fn new(choice: Choice, matrix: Stacked<R>, rest: ModuleOptimizer) -> Self {
        Self {
            matrix,
            rest: BaseOptimizer::new(rest),
            rest_lr: 1.0,
            choice,
            except: None,
        }
    }

    /// Gives the parameters of a group to `rest` whatever their rank or path: embeddings and output
    /// layers, usually.
    pub fn except(mut self, group: ParamGroup) -> Self {
        self.except = Some(group);
        self
    }

    /// Multiplies the learning rate of `rest`. Default 1.
    ///
    /// # Errors
    /// [`ConfigError`] for a factor that is negative or not finite.
    pub fn with_rest_lr(mut self, factor: f64) -> Result<Self, ConfigError> {
        Check::of("Hybrid")
            .non_negative("rest_lr", factor)
            .finish()?;
        self.rest_lr = factor;
        Ok(self)
    }

    fn is_matrix(&self, entry: &ParamEntry) -> bool {
        let within = |group: &ParamGroup| group.matches(&entry.id, Some(&entry.path));
        let chosen = match &self.choice {
            Choice::Rank => entry.shape.len() >= 2,
            Choice::Path(group) => within(group),
        };
        chosen && !self.except.as_ref().is_some_and(within)
    }

    /// Marks the record with the method of the matrices.
    fn rule_key(&self) -> String {
        format!("rule.{}", self.matrix.name())
    }
}

/// The entries at some positions.
fn subset(vector: &ParamVec, positions: &[usize]) -> ParamVec {
    let layout = Arc::new(vector.layout().subset(positions));
    let tensors = positions.iter().map(|&at| vector.tensors()[at].clone());
    ParamVec::new(layout, tensors.collect())
}

impl<R: MatrixRule, M: Module> ClosureOptimizer<M> for Hybrid<R> {
    fn step(
        &mut self,
        lr: LearningRate,
        model: M,
        objective: &dyn Objective<M>,
    ) -> Result<Step<M>, StepError<M>> {
        guard(lr, model, |model| {
            let _span = tracing::debug_span!("step", optimizer = "hybrid").entered();
            self.matrix.check_loaded(model)?;
            let policy = self.matrix.policy().clone();
            let mut session = Session::begin(model, objective, &policy, self.matrix.steps())?;
            let weights = session.oracle().parameters()?.clone();
            let gradient = session.clip(session.gradient().clone());
            let entries = gradient.layout().entries();
            let (own, others): (Vec<usize>, Vec<usize>) =
                (0..entries.len()).partition(|&index| self.is_matrix(&entries[index]));
            let update = self.matrix.prepare(
                lr,
                &mut session,
                &subset(&weights, &own),
                &subset(&gradient, &own),
            )?;
            let rest = subset(&gradient, &others);
            let finite = session.gradient_flags().map(|flags| {
                let flags = others.iter().map(|&at| flags.tensors()[at].clone());
                FiniteFlags::new(rest.layout().clone(), flags.collect())
            });
            let mut report = session.report(0);
            let moved = assign(session.into_model()?, &update.weights);
            let lr = lr * self.rest_lr;
            let model = self.rest.step(lr, moved, &rest, finite.as_ref())?;

            // Nothing can fail from here on.
            report.state_bytes = self.rest.num_bytes();
            self.matrix.commit(update, &mut report);
            Ok(Step { model, report })
        })
    }
}

impl<R: MatrixRule> StatefulOptimizer for Hybrid<R> {
    fn name(&self) -> &'static str {
        "hybrid"
    }

    fn to_record(&self) -> StateRecord {
        let mut record = StateRecord::new("hybrid");
        record.set_count(&self.rule_key(), 1);
        self.matrix.write(&mut record);
        self.rest.write(&mut record);
        record
    }

    fn load_record(&mut self, record: StateRecord) -> Result<(), RecordError> {
        record.expect("hybrid")?;
        record.count(&self.rule_key())?;
        let matrix = self.matrix.read(&record)?;
        self.rest = self.rest.read(&record)?;
        self.matrix = matrix;
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.matrix.state_bytes() + self.rest.num_bytes()
    }
}

/// The parameters of rank 2 and more of a module, as a group for `ModuleOptimizer::with_group`.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::{AdamWConfig, ModuleOptimizer};
/// use burn::tensor::Device;
/// use osculate_optim::{MuonConfig, ScaledLr, matrices_of};
///
/// let model: Linear = LinearConfig::new(4, 3).init(&Device::flex().autodiff());
/// let optimizer = ModuleOptimizer::from(ScaledLr::new(AdamWConfig::new().build(), 0.05))
///     .with_group(matrices_of(&model), MuonConfig::new().build()?, None);
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
pub fn matrices_of<M: Module>(module: &M) -> ParamGroup {
    let mut matrices = Matrices::default();
    module.visit(&mut matrices);
    ParamGroup::from_paths(matrices.paths)
}

#[derive(Default)]
struct Matrices {
    path: Vec<String>,
    paths: Vec<String>,
}

impl ModuleVisitor for Matrices {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
        if D >= 2 {
            self.paths.push(self.path.join("."));
        }
    }
}

/// A burn optimizer that is given a multiple of the learning rate: for groups whose optimizers need
/// rates of different sizes under one schedule.
#[derive(Debug, Clone)]
pub struct ScaledLr<O> {
    optimizer: O,
    factor: f64,
}

impl<O> ScaledLr<O> {
    /// Multiplies the learning rate of `optimizer` by `factor`.
    pub fn new(optimizer: O, factor: f64) -> Self {
        Self { optimizer, factor }
    }
}

impl<O: Optimizer> Optimizer for ScaledLr<O> {
    type State<const D: usize> = O::State<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        self.optimizer.step(lr * self.factor, tensor, grad, state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        O::to_device(state, device)
    }
}
