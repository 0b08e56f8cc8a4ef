//! A block rule as a burn optimizer.

use std::marker::PhantomData;
use std::sync::Arc;

use burn::module::{Module, ParamGroup};
use burn::optim::{LearningRate, ModuleOptimizer, Optimizer, RecordState, StateSink, StateSource};
use burn::tensor::{Bytes, DType, Device, Tensor, TensorData};
use burn_pack::Scalar;
use osculate_curvature::{FiniteFlags, ParamEntry, ParamLayout, ParamVec};

use super::rule::BlockRule;
use super::run::{BlockInput, prepare};
use super::store::{BlockStore, ParameterCounters, failure_name, field_name};
use super::units::{Units, num_blocks};
use crate::config::{Check, ConfigError};
use crate::driver::{Move, NonFinitePolicy, finite, select};
use crate::parameter::{Parameter, ParameterTable};

/// A [`BlockRule`] as a burn [`Optimizer`]: for `ModuleOptimizer`, its groups, and `Learner`.
///
/// burn does not tell an optimizer which parameter it is given. [`for_module`](Self::for_module) makes
/// one for each parameter of a module, told its path, its layer and its phase in the refreshes; these
/// make the steps of the closure optimizer bit for bit. Blocks that span parameters are not for burn's
/// loop: each parameter is its own there.
///
/// The state keeps its element types in burn's records.
///
/// # Panics
/// A step panics where a state was loaded that was saved under other settings, such as another
/// block size: burn's `Optimizer` has no way to return an error.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::{AdamWConfig, ModuleOptimizer};
/// use burn::tensor::Device;
/// use osculate_optim::{MuonConfig, PerParameter, matrices_of};
///
/// let model: Linear = LinearConfig::new(4, 3).init(&Device::flex().autodiff());
/// // Muon for the matrices of a model in burn's own loop, AdamW for the rest.
/// let muon = PerParameter::new(MuonConfig::new().rule()?)?;
/// let optimizer = ModuleOptimizer::from(AdamWConfig::new().build())
///     .with_group(matrices_of(&model), muon, None);
/// assert!(!optimizer.has_gradient_clipping());
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PerParameter<R: BlockRule> {
    rule: R,
    non_finite: NonFinitePolicy,
    seed: u64,
    parameter: Option<Parameter>,
    phase: u64,
}

impl<R: BlockRule> PerParameter<R> {
    /// The rule for one parameter at a time.
    ///
    /// # Errors
    /// [`ConfigError`] for a rule that wants curvature: burn's optimizers see no Hessian.
    pub fn new(rule: R) -> Result<Self, ConfigError> {
        Check::of(rule.name())
            .that(
                rule.curvature_source().is_none(),
                "curvature",
                "Hessian products or samples",
                "a rule that needs gradients only: burn's optimizers see no more; use the closure \
                 optimizer",
            )
            .finish()?;
        Ok(Self {
            rule,
            non_finite: NonFinitePolicy::Skip,
            seed: 0,
            parameter: None,
            phase: 0,
        })
    }

    /// Changes what is done about gradients that are not finite. Default `Skip`.
    ///
    /// # Errors
    /// [`ConfigError`] for `Error`: burn's optimizers return no errors.
    pub fn with_non_finite(mut self, policy: NonFinitePolicy) -> Result<Self, ConfigError> {
        Check::of(self.rule.name())
            .that(
                policy != NonFinitePolicy::Error,
                "non_finite",
                "Error",
                "`Skip` or `Propagate`: burn's optimizers return no errors; use the closure optimizer",
            )
            .finish()?;
        self.non_finite = policy;
        Ok(self)
    }

    /// Seed of the rule's random numbers. Default 0.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The optimizer of this parameter, whose first block has this phase in the order in which
    /// refreshes take turns.
    pub fn at(mut self, parameter: Parameter, phase: u64) -> Self {
        self.parameter = Some(parameter);
        self.phase = phase;
        self
    }

    /// The rule.
    pub fn rule(&self) -> &R {
        &self.rule
    }

    /// An optimizer of a whole module with one group for each parameter, which is told its path, its
    /// layer and its phase. Its steps are those of the closure optimizer.
    pub fn for_module<M: Module>(&self, module: &M) -> ModuleOptimizer {
        let mut optimizer = ModuleOptimizer::from(self.clone());
        let (mut phase, mut seen) = (0, Vec::new());
        for (id, parameter) in ParameterTable::of(module).trainable {
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
            let blocks = num_blocks(&self.rule.partition(&parameter)) as u64;
            let group = ParamGroup::from_path(&*parameter.path);
            let own = self.clone().at(parameter, phase);
            optimizer = optimizer.with_group(group, own, None);
            phase += blocks;
        }
        optimizer
    }
}

/// The state that [`PerParameter`] keeps of one parameter.
pub struct PerParameterState<R: BlockRule, const D: usize> {
    store: BlockStore,
    /// The parameter's shape; empty where a record does not say it.
    shape: Vec<usize>,
    rule: PhantomData<R>,
}

impl<R: BlockRule, const D: usize> Clone for PerParameterState<R, D> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            shape: self.shape.clone(),
            rule: PhantomData,
        }
    }
}

/// The key of the one parameter whose state is kept.
const OWN: &str = "";
/// The names of the state's fields in burn's records, separated by spaces, as bytes.
const FIELDS: &str = "fields";
/// Number of blocks in the record of a parameter: what tells the state of a rule from that of burn's optimizers.
pub(crate) const BLOCKS: &str = "blocks";
/// The name of the parameter's extent along a dimension in its record.
pub(crate) fn extent_name(dim: usize) -> String {
    format!("extent{dim}")
}

/// Most factors that a block can have, one for each dimension of a tensor.
const MAX_FACTORS: usize = 8;
/// The fields of records from before `fields` was written.
const FIRST_FIELDS: &str = "m v bias graft update grafted_update q d u lipschitz count";
/// The same, for fields with a number for each dimension.
const FIRST_FACTORS: &str = "factor basis root eigenvalues q";

fn first_fields() -> Vec<String> {
    let numbered = |name: &str| {
        (0..MAX_FACTORS)
            .map(move |mode| format!("{name}{mode}"))
            .collect()
    };
    let factors = FIRST_FACTORS.split(' ').flat_map(|name| {
        let names: Vec<String> = numbered(name);
        names
    });
    FIRST_FIELDS
        .split(' ')
        .map(str::to_string)
        .chain(factors)
        .collect()
}

impl<R: BlockRule, const D: usize> RecordState for PerParameterState<R, D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        let counters = self.store.counters.get(OWN).cloned().unwrap_or_default();
        for (name, value) in counters.counts() {
            out.push_scalar(prefix, &name, Scalar::UInt(value));
        }
        let (mut blocks, mut fields) = (0, Vec::new());
        for (name, data) in self.store.unstacked().to_data() {
            let own = name.rsplit_once('#').map_or(name, |(_, name)| name);
            if let Some((block, field)) = own.split_once('.') {
                blocks = blocks.max(block.parse().map_or(0, |block: u64| block + 1));
                if !fields.contains(&field.to_string()) {
                    fields.push(field.to_string());
                }
                out.push_tensor(prefix, own, data);
            }
        }
        let names = fields.join(" ").into_bytes();
        let shape = [names.len()];
        let names = TensorData::from_bytes(Bytes::from_bytes_vec(names), shape, DType::U8);
        out.push_tensor(prefix, FIELDS, names);
        out.push_scalar(prefix, BLOCKS, Scalar::UInt(blocks));
        for (dim, &extent) in self.shape.iter().enumerate() {
            out.push_scalar(prefix, &extent_name(dim), Scalar::UInt(extent as u64));
        }
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, _device: &Device) -> Option<Self> {
        let count = |source: &mut StateSource, name: &str| match source.take_scalar(prefix, name)? {
            Scalar::UInt(value) => Some(value),
            _ => None,
        };
        let mut counters = ParameterCounters {
            steps: count(src, "steps")?,
            phase: count(src, "slot")?,
            ..ParameterCounters::default()
        };
        let blocks = count(src, BLOCKS)?;
        let shape = (0..D).map_while(|dim| {
            let extent = count(src, &extent_name(dim))?;
            usize::try_from(extent).ok()
        });
        let shape = shape.collect();
        let fields = match src.take_tensor(prefix, FIELDS) {
            Some(names) => {
                let names = String::from_utf8(names.as_bytes().to_vec()).ok()?;
                names.split(' ').map(str::to_string).collect()
            }
            None => first_fields(),
        };
        let mut tensors = Vec::new();
        for block in 0..usize::try_from(blocks).ok()? {
            for factor in 0..MAX_FACTORS {
                if let Some(failures) = count(src, &failure_name(block, factor)) {
                    counters.failures.insert((block, factor), failures);
                }
            }
            for field in &fields {
                let name = field_name(block, field);
                if let Some(data) = src.take_tensor(prefix, &name) {
                    tensors.push((name, data));
                }
            }
        }
        Some(Self {
            store: BlockStore::with_parameter(OWN, counters, tensors, blocks),
            shape,
            rule: PhantomData,
        })
    }
}

impl<R: BlockRule> Optimizer for PerParameter<R> {
    type State<const D: usize> = PerParameterState<R, D>;

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
        let parameter = match &self.parameter {
            Some(parameter) => Parameter {
                shape: shape.to_vec(),
                dtype: entry.dtype,
                ..parameter.clone()
            },
            None => Parameter::new(OWN, &shape.to_vec(), entry.dtype),
        };
        let layout = Arc::new(ParamLayout::new(vec![entry.clone()]));
        let weights = ParamVec::new(layout.clone(), vec![tensor.reshape([n])]);
        let mut gradient = ParamVec::new(layout.clone(), vec![grad.reshape([n])]);
        let skips = self.non_finite == NonFinitePolicy::Skip;
        let mut flags: Option<FiniteFlags> = None;
        if skips {
            let finite = gradient.finite_flags();
            gradient = gradient.zero_where_not(&finite);
            flags = Some(finite);
        }
        let mut store = match state {
            Some(state) => state.store,
            None => {
                let mut store = BlockStore::default();
                let counters = ParameterCounters::new(self.phase);
                store.counters.insert(OWN.to_string(), counters);
                store
            }
        };
        let input = BlockInput {
            parameters: &[parameter],
            weights: &weights,
            gradient: &gradient,
            curvature: None,
            curvature_flags: None,
            flags: flags.as_ref(),
            seed: self.seed,
            non_finite: self.non_finite,
            strict: false,
        };
        let mut prepared = match prepare(&self.rule, &store, &mut Units::default(), &input) {
            Ok(prepared) => prepared,
            Err(error) => {
                let path = self.parameter.as_ref().map_or(OWN, |own| &own.path);
                panic!("{} cannot step {path:?}: {error}", self.rule.name())
            }
        };
        let old = &weights.tensors()[0];
        let step = Move {
            lr,
            decay: self.rule.weight_decay(),
            ..Move::default()
        };
        let hold = prepared.hold.take().and_then(|mut hold| hold.remove(0));
        let mut moved = step.apply(&entry, old, prepared.directions.remove(0), hold.as_ref());
        let mut keep = None;
        if let (true, Some(flags)) = (skips, prepared.flags.take()) {
            let sound = flags.tensors()[0].clone().bool_and(finite(&moved));
            let sound = FiniteFlags::new(layout, vec![sound]);
            sound.read_on_cpu();
            if !sound.known_to_be_set() {
                moved = select(&sound.tensors()[0], moved, old.clone());
                keep = Some(sound);
            }
        }
        prepared.commit(&mut store, keep.as_ref());
        let state = PerParameterState {
            store,
            shape: shape.to_vec(),
            rule: PhantomData,
        };
        (moved.reshape::<D, _>(shape), Some(state))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        PerParameterState {
            store: state.store.on_device(device),
            shape: state.shape,
            rule: PhantomData,
        }
    }
}
