use std::marker::PhantomData;
use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::{LearningRate, ModuleOptimizer, Optimizer, RecordState, StateSink, StateSource};
use burn::tensor::{Device, Tensor};
use osculate_curvature::{FiniteFlags, ParamEntry, ParamLayout, ParamVec};

use super::engine::{Request, prepare};
use super::groups::num_blocks;
use super::rule::MatrixRule;
use super::state::{Member, StackState};
use crate::config::NonFinitePolicy;

/// A [`MatrixRule`] as a burn [`Optimizer`]: for `ModuleOptimizer`, its groups, and `Learner`.
///
/// Its configuration makes it, with `build()`. burn does not tell an optimizer which parameter it is
/// given. One that must know, because it draws probes by path or because refreshes of preconditioners
/// shall take turns over the model, is made for its parameter by [`at`](Self::at); `init_for(&model)`
/// of the configuration does so for every parameter, and gives the steps of the closure door.
///
/// The state keeps its element types in burn's records.
///
/// # Panics
/// A step panics where a state was loaded that was saved under other settings, such as another
/// block size: burn's `Optimizer` has no way to return an error.
#[derive(Debug, Clone)]
pub struct PerParam<R: MatrixRule> {
    rule: R,
    non_finite: NonFinitePolicy,
    path: Arc<str>,
    slot: u64,
}

impl<R: MatrixRule> PerParam<R> {
    pub(crate) fn new(rule: R, non_finite: NonFinitePolicy) -> Self {
        Self {
            rule,
            non_finite,
            path: Arc::from(""),
            slot: 0,
        }
    }

    /// The optimizer of the parameter at `path`, whose first block has this slot in the order in
    /// which refreshes take turns.
    pub fn at(mut self, path: &str, slot: u64) -> Self {
        self.path = Arc::from(path);
        self.slot = slot;
        self
    }

    /// The rule.
    pub fn rule(&self) -> &R {
        &self.rule
    }

    /// An optimizer of a whole module with one group for each trainable parameter, which knows its
    /// path and its turn. Its steps are those of the closure door.
    pub(crate) fn for_module<M: Module>(&self, module: &M) -> ModuleOptimizer {
        let mut places = Places {
            rule: &self.rule,
            path: Vec::new(),
            slot: 0,
            seen: Vec::new(),
            places: Vec::new(),
        };
        module.visit(&mut places);
        let optimizer = ModuleOptimizer::from(self.clone());
        places
            .places
            .into_iter()
            .fold(optimizer, |optimizer, (path, slot)| {
                let group = ParamGroup::from_path(path.as_str());
                optimizer.with_group(group, self.clone().at(&path, slot), None)
            })
    }
}

/// Paths and slots of a module's trainable parameters.
struct Places<'a, R> {
    rule: &'a R,
    path: Vec<String>,
    slot: u64,
    seen: Vec<ParamId>,
    places: Vec<(String, u64)>,
}

impl<R: MatrixRule> ModuleVisitor for Places<'_, R> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() || self.seen.contains(&param.id) {
            return;
        }
        self.seen.push(param.id);
        self.places.push((self.path.join("."), self.slot));
        let blocks = num_blocks(&self.rule.partition(&param.val().shape()));
        self.slot += blocks as u64;
    }
}

/// The state that [`PerParam`] keeps of one parameter.
pub struct PerParamState<R: MatrixRule, const D: usize> {
    state: StackState,
    rule: PhantomData<R>,
}

impl<R: MatrixRule, const D: usize> Clone for PerParamState<R, D> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            rule: PhantomData,
        }
    }
}

/// The key of the one parameter whose state is kept.
const OWN: &str = "";

impl<R: MatrixRule, const D: usize> RecordState for PerParamState<R, D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        self.state.flatten(OWN, prefix, out);
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, _device: &Device) -> Option<Self> {
        Some(Self {
            state: StackState::unflatten(OWN, R::FIELDS, prefix, src)?,
            rule: PhantomData,
        })
    }
}

impl<R: MatrixRule> Optimizer for PerParam<R> {
    type State<const D: usize> = PerParamState<R, D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let shape = tensor.shape();
        let entry = ParamEntry {
            path: OWN.to_string(),
            id: 0.into(),
            shape: shape.clone(),
            dtype: tensor.dtype(),
            device: tensor.device(),
        };
        let n = entry.num_elements();
        let layout = Arc::new(ParamLayout::new(vec![entry]));
        let weights = ParamVec::new(layout.clone(), vec![tensor.reshape([n])]);
        let mut gradient = ParamVec::new(layout, vec![grad.reshape([n])]);
        let mut flags: Option<FiniteFlags> = None;
        if self.non_finite == NonFinitePolicy::Skip {
            let finite = gradient.finite_flags();
            gradient = gradient.zero_where_not(&finite);
            flags = Some(finite);
        }
        let mut state = match state {
            Some(state) => state.state,
            None => {
                let mut state = StackState::default();
                state
                    .members
                    .insert(OWN.to_string(), Member::new(self.slot));
                state
            }
        };
        let request = Request {
            lr,
            weights: &weights,
            gradient: &gradient,
            product: None,
            flags: flags.as_ref(),
            non_finite: self.non_finite,
            alias: Some(&self.path),
            strict: false,
        };
        let mut prepared = match prepare(&self.rule, &state, &request) {
            Ok(prepared) => prepared,
            Err(error) => panic!("{} cannot step {}: {error}", self.rule.name(), self.path),
        };
        let moved = prepared.weights.remove(0).reshape::<D, _>(shape);
        prepared.commit(&mut state);
        let state = PerParamState {
            state,
            rule: PhantomData,
        };
        (moved, Some(state))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        PerParamState {
            state: state.state.on_device(device),
            rule: PhantomData,
        }
    }
}
