//! Parameter groups: rates, decays and whole updates for parts of a model.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use burn::module::{ParamGroup, ParamId};
use osculate_curvature::ParamEntry;

use super::Driver;
use super::error::StepErrorCause;
use crate::config::{Check, ConfigError};
use crate::parameter::{Parameter, ParameterTable};
use crate::record::RecordError;
use crate::update::Update;

/// Of a parameter's identity and all places that it has: several where it is tied.
type Predicate = dyn Fn(ParamId, &[&Parameter]) -> bool + Send + Sync;

/// Which parameters belong to a group. A tied parameter has a path, a name or a layer where any of its places
/// has.
///
/// ```
/// use burn::tensor::DType;
/// use osculate_optim::{Parameter, Select};
///
/// let weight = Parameter::new("encoder.0.weight", &[4, 3], DType::F32);
/// assert!(Select::path("encoder").matches(&weight));
/// assert!(!Select::rank(..2).matches(&weight));
/// assert!(Select::by(|parameter| parameter.name() == "weight").matches(&weight));
/// assert!(Select::path("encoder").and(Select::rank(2..)).matches(&weight));
/// assert!(!Select::path("encoder").except(Select::path("0.*")).matches(&weight));
/// ```
#[derive(Clone)]
pub struct Select {
    matches: Arc<Predicate>,
}

impl Debug for Select {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Select").finish_non_exhaustive()
    }
}

impl Select {
    /// Parameters whose path has these parts in a row: `head` and `layers.1` match `head.weight` and
    /// `layers.1.bias`, neither `multi_head.weight` nor `layers.10.bias`. A `*` stands for any characters of
    /// one part: `layers.*.weight`, `*norm*`.
    pub fn path(pattern: &str) -> Self {
        let pattern = pattern.to_string();
        Self::by(move |parameter| path_matches(&pattern, &parameter.path))
    }

    /// Parameters whose path has the parts of one of several patterns, as in [`path`](Self::path).
    pub fn paths<S: Into<String>>(patterns: impl IntoIterator<Item = S>) -> Self {
        let patterns: Vec<String> = patterns.into_iter().map(Into::into).collect();
        Self::by(move |parameter| {
            let mut patterns = patterns.iter();
            patterns.any(|pattern| path_matches(pattern, &parameter.path))
        })
    }

    /// Parameters of these ranks: `Select::rank(..2)` are vectors and scalars.
    pub fn rank(ranks: impl std::ops::RangeBounds<usize> + Send + Sync + 'static) -> Self {
        Self::by(move |parameter| ranks.contains(&parameter.rank()))
    }

    /// Parameters of layers of a type, such as `Embedding`.
    pub fn layer(name: &str) -> Self {
        let name = name.to_string();
        Self::by(move |parameter| *parameter.layer == *name)
    }

    /// Parameters for which a predicate on layer, path, name and shape holds.
    pub fn by(predicate: impl Fn(&Parameter) -> bool + Send + Sync + 'static) -> Self {
        Self {
            matches: Arc::new(move |_, places| places.iter().any(|place| predicate(place))),
        }
    }

    /// The parameters of one of burn's groups: by regular expression or identity, for instance.
    pub fn group(group: ParamGroup) -> Self {
        Self {
            matches: Arc::new(move |id, places| {
                let mut places = places.iter();
                places.any(|place| group.matches(&id, Some(&place.path)))
            }),
        }
    }

    /// Parameters that both select.
    pub fn and(self, other: Self) -> Self {
        Self {
            matches: Arc::new(move |id, places| {
                (self.matches)(id, places) && (other.matches)(id, places)
            }),
        }
    }

    /// Parameters that this selects and the other does not.
    pub fn except(self, other: Self) -> Self {
        Self {
            matches: Arc::new(move |id, places| {
                (self.matches)(id, places) && !(other.matches)(id, places)
            }),
        }
    }

    /// Whether a parameter of unknown identity is selected.
    pub fn matches(&self, parameter: &Parameter) -> bool {
        (self.matches)(0.into(), &[parameter])
    }
}

/// Whether a path has the parts of a pattern in a row.
fn path_matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let path: Vec<&str> = path.split('.').collect();
    let mut runs = path.windows(pattern.len());
    runs.any(|run| {
        let mut parts = pattern.iter().zip(run);
        parts.all(|(pattern, part)| part_matches(pattern, part))
    })
}

/// Whether a part is what a pattern says, with `*` for any characters.
fn part_matches(pattern: &str, part: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == part,
        Some((start, rest)) => part.strip_prefix(start).is_some_and(|part| {
            let mut ends = part.char_indices().map(|(at, _)| at).chain([part.len()]);
            ends.any(|at| part_matches(rest, &part[at..]))
        }),
    }
}

/// Parameters with settings of their own, behind any optimizer.
///
/// A parameter in several groups has the rate factor and the decay of the last that sets one, and the
/// update of the last that has one, as burn's groups do.
///
/// ```
/// use osculate_optim::{ParameterGroup, Select, SoapConfig};
///
/// let optimizer = SoapConfig::new()
///     .init()?
///     .with_group(ParameterGroup::without_decay())?
///     .with_group(
///         ParameterGroup::new("head", Select::path("head"))
///             .with_lr_factor(0.1)
///             .with_update(SoapConfig::new().with_beta_2(0.99).init()?),
///     )?;
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ParameterGroup {
    pub(crate) name: String,
    pub(crate) select: Select,
    pub(crate) lr_factor: Option<f64>,
    pub(crate) weight_decay: Option<f64>,
    pub(crate) update: Option<Box<dyn Update>>,
    /// What is wrong with the update that was given.
    invalid: Option<ConfigError>,
    /// Whether it may match nothing.
    pub(crate) optional: bool,
}

impl std::ops::Not for Select {
    type Output = Self;

    /// Parameters that this does not select.
    fn not(self) -> Self {
        Self {
            matches: Arc::new(move |id, places| !(self.matches)(id, places)),
        }
    }
}

impl ParameterGroup {
    /// The selected parameters, under a name for reports and errors.
    pub fn new(name: &str, select: Select) -> Self {
        Self {
            name: name.to_string(),
            select,
            lr_factor: None,
            weight_decay: None,
            update: None,
            invalid: None,
            optional: false,
        }
    }

    /// Lets the group match nothing; otherwise that is an error, which lists the model's parameters.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// No weight decay on vectors and scalars: biases, and the gains of normalisations.
    pub fn without_decay() -> Self {
        Self::new("without-decay", Select::rank(..2)).with_weight_decay(0.0)
    }

    /// Embeddings, and the layers whose path matches `head`, which many methods treat apart.
    pub fn embeddings_and_head(head: &str) -> Self {
        let head = head.to_string();
        let select = Select::by(move |parameter| {
            &*parameter.layer == "Embedding" || path_matches(&head, &parameter.path)
        });
        Self::new("embeddings-and-head", select)
    }

    /// Layer-wise rate decay: the learning rate of the `i`-th layer from the end is multiplied by
    /// `decay^i`. A layer is what the paths begin with, `depth` parts of them, in the order of the module.
    ///
    /// ```
    /// use burn::module::Module;
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::Device;
    /// use osculate_optim::ParameterGroup;
    ///
    /// let device = Device::flex();
    /// let layers: Vec<Linear> = (0..3).map(|_| LinearConfig::new(2, 2).init(&device)).collect();
    /// assert_eq!(ParameterGroup::layerwise_decay(&layers, 1, 0.5).len(), 3);
    /// ```
    pub fn layerwise_decay<M: burn::module::Module>(
        model: &M,
        depth: usize,
        decay: f64,
    ) -> Vec<Self> {
        let mut layers: Vec<String> = Vec::new();
        for (_, parameter) in ParameterTable::of(model).entries {
            let parts: Vec<&str> = parameter.path.split('.').take(depth).collect();
            let layer = parts.join(".");
            if !layers.contains(&layer) {
                layers.push(layer);
            }
        }
        let count = layers.len();
        let groups = layers.into_iter().enumerate().map(|(index, layer)| {
            let own = layer.clone();
            let select = Select::by(move |parameter| {
                let rest = parameter.path.strip_prefix(&own);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            });
            let factor = decay.powi((count - 1 - index) as i32);
            Self::new(&layer, select).with_lr_factor(factor)
        });
        groups.collect()
    }

    /// Multiplies the learning rate.
    pub fn with_lr_factor(mut self, factor: f64) -> Self {
        self.lr_factor = Some(factor);
        self
    }

    /// Replaces the rate of the decoupled weight decay. It does not reach decays that are part of a
    /// method's own direction: burn's optimizers', and `L2` penalties.
    pub fn with_weight_decay(mut self, rate: f64) -> Self {
        self.weight_decay = Some(rate);
        self
    }

    /// Gives the parameters an update of their own: another method, or the same with other settings.
    ///
    /// [`Driver::with_group`] refuses an optimizer that is more than a method: what goes over methods goes
    /// over the whole optimizer.
    pub fn with_update(mut self, optimizer: impl Into<Driver>) -> Self {
        match optimizer.into().into_update("ParameterGroup", "update") {
            Ok(update) => self.update = Some(update),
            Err(error) => self.invalid = Some(error),
        }
        self
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if let Some(error) = &self.invalid {
            return Err(error.clone());
        }
        Check::of("ParameterGroup")
            .that(
                !self.name.is_empty() && !self.name.contains(['#', '\n']),
                "name",
                &self.name,
                "a name of at least one character, without '#'",
            )
            .non_negative("lr_factor", self.lr_factor.unwrap_or(1.0))
            .non_negative("weight_decay", self.weight_decay.unwrap_or(0.0))
            .finish()
    }
}

/// What the groups say of one parameter.
#[derive(Debug, Clone)]
pub(crate) struct Assigned {
    pub parameter: Parameter,
    /// The part whose update it has: 0 is the optimizer's own.
    pub part: usize,
    pub lr_factor: f64,
    pub weight_decay: Option<f64>,
    /// The groups that it is in.
    pub groups: Vec<usize>,
}

/// What the groups say of the parameters of a model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Assignment {
    entries: Vec<(ParamId, Assigned)>,
    /// Parameters of each group.
    pub counts: Vec<usize>,
}

impl Assignment {
    pub(crate) fn of(
        groups: &[ParameterGroup],
        table: &ParameterTable,
    ) -> Result<Self, StepErrorCause> {
        let mut counts = vec![0; groups.len()];
        // Tied parameters are one, with several places.
        let mut tied: BTreeMap<ParamId, Vec<&Parameter>> = BTreeMap::new();
        for (id, parameter) in &table.entries {
            tied.entry(*id).or_default().push(parameter);
        }
        let mut counted = BTreeSet::new();
        let entries = table.entries.iter().map(|(id, parameter)| {
            let mut assigned = Assigned {
                parameter: parameter.clone(),
                part: 0,
                lr_factor: 1.0,
                weight_decay: None,
                groups: Vec::new(),
            };
            let mut parts = 0;
            let new = counted.insert(*id);
            for (index, group) in groups.iter().enumerate() {
                parts += usize::from(group.update.is_some());
                let places = tied.get(id).map_or(&[][..], Vec::as_slice);
                if !(group.select.matches)(*id, places) {
                    continue;
                }
                counts[index] += usize::from(new);
                assigned.groups.push(index);
                if group.update.is_some() {
                    assigned.part = parts;
                }
                assigned.lr_factor = group.lr_factor.unwrap_or(assigned.lr_factor);
                assigned.weight_decay = group.weight_decay.or(assigned.weight_decay);
            }
            (*id, assigned)
        });
        let entries = entries.collect();
        let empty = |(count, group): (&usize, &ParameterGroup)| *count == 0 && !group.optional;
        if let Some(index) = counts.iter().zip(groups).position(empty) {
            return Err(StepErrorCause::EmptyGroup {
                group: groups[index].name.clone(),
                paths: table
                    .entries
                    .iter()
                    .map(|(_, parameter)| parameter.path.to_string())
                    .collect(),
            });
        }
        Ok(Self { entries, counts })
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Assigned> {
        self.entries.iter().map(|(_, assigned)| assigned)
    }

    pub(crate) fn at(&self, position: usize) -> &Assigned {
        &self.entries[position].1
    }

    /// The part that steps a parameter.
    pub(crate) fn part_of(&self, path: &str) -> Option<usize> {
        let mut all = self.all();
        let own = all.find(|assigned| *assigned.parameter.path == *path);
        own.map(|assigned| assigned.part)
    }

    /// Positions of the parameters of a layout, in its order.
    ///
    /// # Errors
    /// [`RecordError::Mismatch`] for a parameter that was not there when the groups were asked.
    pub(crate) fn positions(&self, entries: &[ParamEntry]) -> Result<Vec<usize>, RecordError> {
        let mut rest = self.entries.iter().enumerate();
        let positions = entries.iter().map(|entry| {
            // Both are in the order of the module.
            let own = rest.find(|(_, (_, assigned))| *assigned.parameter.path == *entry.path);
            let position = own.map(|(position, _)| position);
            position.ok_or_else(|| RecordError::no_parameter(&entry.path, "group"))
        });
        positions.collect()
    }
}
