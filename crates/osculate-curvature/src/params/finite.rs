//! Which tensors of a vector are finite, decided on the device.

use std::sync::{Arc, OnceLock};

use burn::tensor::{Bool, DType, Tensor};

use super::layout::ParamLayout;
use super::reduce;
use super::vector::ParamVec;

impl ParamVec {
    /// For each tensor, whether all of its elements are finite, decided on the device.
    ///
    /// The test is one sum for each tensor. Finite values whose sum overflows (beyond about 1e38
    /// over the number of elements, in `f32`) count as not finite.
    pub fn finite_flags(&self) -> FiniteFlags {
        let flags = self
            .iter()
            .map(|(entry, x)| x.clone().cast(entry.compute_dtype()).sum().is_finite());
        FiniteFlags::new(self.layout().clone(), flags.collect())
    }

    /// Replaces the tensors that are flagged by zeros, on the device.
    pub fn zero_where_not(&self, flags: &FiniteFlags) -> Self {
        if flags.known_to_be_set() {
            return self.clone();
        }
        let zeroed = self
            .tensors()
            .iter()
            .zip(&flags.flags)
            .map(|(x, ok)| match spread(&ok.clone().bool_not(), x) {
                Some(bad) => x.clone().mask_fill(bad, 0.0),
                None => x.clone(),
            })
            .collect();
        Self::new(self.layout().clone(), zeroed)
    }

    /// This vector's tensors where their flag is set, those of `other` elsewhere, on the device.
    ///
    /// # Panics
    /// If the layouts differ.
    pub fn where_finite(&self, flags: &FiniteFlags, other: &Self) -> Self {
        self.assert_compatible(other);
        if flags.known_to_be_set() {
            return self.clone();
        }
        let tensors = self
            .tensors()
            .iter()
            .zip(other.tensors())
            .zip(&flags.flags)
            .map(|((x, other), ok)| match spread(ok, x) {
                Some(mask) => other.clone().mask_where(mask, x.clone()),
                None => x.clone(),
            })
            .collect();
        Self::new(self.layout().clone(), tensors)
    }
}

/// A flag of one element for every element of a tensor, or `None` where there is none: burn expands
/// nothing to a length of zero.
fn spread(flag: &Tensor<1, Bool>, tensor: &Tensor<1>) -> Option<Tensor<1, Bool>> {
    let n = tensor.dims()[0];
    (n > 0).then(|| flag.clone().expand([n]))
}

/// One flag for each parameter tensor, on the device: whether it holds only finite numbers.
#[derive(Debug, Clone)]
pub struct FiniteFlags {
    layout: Arc<ParamLayout>,
    flags: Vec<Tensor<1, Bool>>,
    /// Their values, once they were read back.
    read: Arc<OnceLock<Vec<bool>>>,
}

impl FiniteFlags {
    /// Flags for the parameters of a layout, each a tensor of one element.
    ///
    /// # Panics
    /// If their number differs from the layout's.
    pub fn new(layout: Arc<ParamLayout>, flags: Vec<Tensor<1, Bool>>) -> Self {
        assert_eq!(layout.len(), flags.len(), "one flag per parameter");
        Self {
            layout,
            flags,
            read: Arc::default(),
        }
    }

    /// Flags whose values are known already, where they are.
    fn with_values(self, values: Option<Vec<bool>>) -> Self {
        Self {
            read: Arc::new(values.map_or_else(OnceLock::new, OnceLock::from)),
            ..self
        }
    }

    /// Whether the flags were read back and all are set: then nothing needs to be masked.
    pub fn known_to_be_set(&self) -> bool {
        let read = self.read.get();
        read.is_some_and(|values| values.iter().all(|set| *set))
    }

    /// Flags that are all set.
    pub fn all(layout: &Arc<ParamLayout>) -> Self {
        let flags = layout.entries().iter().map(|entry| {
            let one = Tensor::<1>::ones([1], (&entry.device, DType::F32));
            one.equal_elem(1.0)
        });
        Self::new(layout.clone(), flags.collect())
    }

    /// The flags of the parameters at some positions.
    ///
    /// # Panics
    /// If a position is out of range.
    pub fn subset(&self, positions: &[usize]) -> Self {
        if self.layout.is_whole(positions) {
            return self.clone();
        }
        let flags = positions.iter().map(|&at| self.flags[at].clone());
        let read = self.read.get();
        let values = read.map(|values| positions.iter().map(|&at| values[at]).collect());
        Self::new(Arc::new(self.layout.subset(positions)), flags.collect()).with_values(values)
    }

    /// The layout that the flags belong to.
    pub fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    /// The flags, each a tensor of one element.
    pub fn tensors(&self) -> &[Tensor<1, Bool>] {
        &self.flags
    }

    /// Flags that are set where both are.
    ///
    /// # Panics
    /// If the number of parameters differs.
    pub fn and(&self, other: &FiniteFlags) -> FiniteFlags {
        self.combine(other, Tensor::bool_and, |a, b| a && b)
    }

    /// Flags that are set where either is.
    ///
    /// # Panics
    /// If the number of parameters differs.
    pub fn or(&self, other: &FiniteFlags) -> FiniteFlags {
        self.combine(other, Tensor::bool_or, |a, b| a || b)
    }

    fn combine(
        &self,
        other: &FiniteFlags,
        f: impl Fn(Tensor<1, Bool>, Tensor<1, Bool>) -> Tensor<1, Bool>,
        known: impl Fn(bool, bool) -> bool,
    ) -> FiniteFlags {
        assert_eq!(self.flags.len(), other.flags.len(), "number of parameters");
        let pairs = self.flags.iter().zip(&other.flags);
        let flags = pairs.map(|(a, b)| f(a.clone(), b.clone()));
        let values = self.read.get().zip(other.read.get());
        let values = values.map(|(a, b)| a.iter().zip(b).map(|(a, b)| known(*a, *b)).collect());
        Self::new(self.layout.clone(), flags.collect()).with_values(values)
    }

    /// Reads the flags back, in one transfer for each device, unless they were read before.
    pub fn to_vec(&self) -> Vec<bool> {
        let read = || {
            let flags = self.flags.iter();
            let flags = flags.map(|flag| flag.clone().float().cast(DType::F32));
            let values = reduce::read_together(flags.collect()).into_iter();
            values.map(|flag| flag > 0.5).collect()
        };
        self.read.get_or_init(read).clone()
    }

    /// Paths of the parameters that hold a NaN or an infinity. One read-back.
    pub fn flagged_paths(&self) -> Vec<String> {
        self.layout
            .entries()
            .iter()
            .zip(self.to_vec())
            .filter(|(_, finite)| !finite)
            .map(|(entry, _)| entry.path.clone())
            .collect()
    }
}
