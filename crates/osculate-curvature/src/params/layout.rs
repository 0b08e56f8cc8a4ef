use std::sync::Arc;

use burn::module::{ParamGroup, ParamId};
use burn::tensor::{DType, Device, Shape};
use osculate_jvp::is_cpu;

use crate::error::CurvatureError;

/// One parameter tensor of a [`ParamLayout`].
#[derive(Debug, Clone, PartialEq)]
pub struct ParamEntry {
    /// Dotted path inside the module, such as `encoder.0.weight`: the key of all saved state.
    pub path: String,
    /// Identity inside the running program. Not stable across programs.
    pub id: ParamId,
    /// Shape of the tensor.
    pub shape: Shape,
    /// Element type of the tensor.
    pub dtype: DType,
    /// Where the tensor lives, without autodiff.
    pub device: Device,
}

impl ParamEntry {
    /// Number of elements.
    pub fn num_elements(&self) -> usize {
        self.shape.num_elements()
    }

    /// The element type in which norms and statistics of this parameter are computed: `F64` for
    /// `F64` parameters, `F32` for all others.
    pub fn compute_dtype(&self) -> DType {
        compute_dtype(self.dtype)
    }
}

/// The element type in which numbers of type `dtype` are added up.
pub(crate) fn compute_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

/// The ordered parameters that a [`ParamVec`](crate::ParamVec) has entries for.
///
/// It follows gradients: a parameter is in the layout when the loss gave it one. Running
/// statistics, frozen and unused parameters are not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ParamLayout {
    entries: Vec<ParamEntry>,
}

impl ParamLayout {
    /// A layout of the given entries.
    pub fn new(entries: Vec<ParamEntry>) -> Self {
        Self { entries }
    }

    /// The entries, in the order in which the module is visited.
    pub fn entries(&self) -> &[ParamEntry] {
        &self.entries
    }

    /// Number of parameter tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of elements over all parameters: the dimension of the space.
    pub fn num_elements(&self) -> usize {
        self.entries.iter().map(ParamEntry::num_elements).sum()
    }

    /// Bytes that one vector of this layout occupies.
    pub fn num_bytes(&self) -> usize {
        self.entries
            .iter()
            .map(|entry| entry.num_elements() * entry.dtype.size())
            .sum()
    }

    /// Whether all parameters are on CPUs, where reading a number back waits for nothing.
    pub fn on_cpu(&self) -> bool {
        let mut known: Option<&Device> = None;
        self.entries.iter().all(|entry| {
            // Neighbours are mostly on one device.
            let same = known == Some(&entry.device);
            known = Some(&entry.device);
            same || is_cpu(&entry.device)
        })
    }

    /// The position of the entry with this path.
    pub fn position(&self, path: &str) -> Option<usize> {
        self.entries.iter().position(|entry| entry.path == path)
    }

    /// Positions of the entries that belong to `group`, which may select by path, regular
    /// expression or identity.
    ///
    /// # Errors
    /// [`CurvatureError::EmptySelection`] where nothing matches.
    pub fn select(&self, group: &ParamGroup) -> Result<Vec<usize>, CurvatureError> {
        let selected: Vec<usize> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| group.matches(&entry.id, Some(entry.path.as_str())))
            .map(|(index, _)| index)
            .collect();
        if selected.is_empty() {
            return Err(CurvatureError::EmptySelection {
                available: self.len(),
                paths: self
                    .entries
                    .iter()
                    .map(|entry| entry.path.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            });
        }
        Ok(selected)
    }

    /// The layout of the entries at `positions`.
    ///
    /// # Panics
    /// If a position is out of range.
    pub fn subset(&self, positions: &[usize]) -> ParamLayout {
        ParamLayout {
            entries: positions
                .iter()
                .map(|&position| self.entries[position].clone())
                .collect(),
        }
    }

    /// Whether these positions are all, in order.
    pub(super) fn is_whole(&self, positions: &[usize]) -> bool {
        positions.iter().copied().eq(0..self.len())
    }

    /// Whether vectors of the two layouts can be combined: same paths, shapes and element types.
    pub fn is_compatible(&self, other: &ParamLayout) -> bool {
        self.first_difference(other).is_none()
    }

    /// Checks that `other` can be combined with this layout.
    ///
    /// # Errors
    /// [`CurvatureError::LayoutMismatch`] names the first difference.
    pub fn check(self: &Arc<ParamLayout>, other: &Arc<ParamLayout>) -> Result<(), CurvatureError> {
        if Arc::ptr_eq(self, other) {
            return Ok(());
        }
        match self.first_difference(other) {
            None => Ok(()),
            Some((expected, got)) => Err(CurvatureError::LayoutMismatch { expected, got }),
        }
    }

    fn first_difference(&self, other: &ParamLayout) -> Option<(String, String)> {
        if self.len() != other.len() {
            return Some((
                format!("{} parameters", self.len()),
                format!("{} parameters", other.len()),
            ));
        }
        self.entries
            .iter()
            .zip(&other.entries)
            .find(|(a, b)| (&a.path, &a.shape, a.dtype) != (&b.path, &b.shape, b.dtype))
            .map(|(a, b)| (describe(a), describe(b)))
    }
}

fn describe(entry: &ParamEntry) -> String {
    format!(
        "{} of shape {:?} and type {:?}",
        entry.path,
        entry.shape.as_slice(),
        entry.dtype
    )
}
