//! Which tensors of a vector are finite, decided on the device.

use std::sync::Arc;

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
        FiniteFlags {
            layout: self.layout().clone(),
            flags: self
                .iter()
                .map(|(entry, x)| x.clone().cast(entry.compute_dtype()).sum().is_finite())
                .collect(),
        }
    }

    /// Replaces the tensors that are flagged by zeros, on the device.
    pub fn zero_where_not(&self, flags: &FiniteFlags) -> Self {
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
}

impl FiniteFlags {
    /// Flags for the parameters of a layout, each a tensor of one element.
    ///
    /// # Panics
    /// If their number differs from the layout's.
    pub fn new(layout: Arc<ParamLayout>, flags: Vec<Tensor<1, Bool>>) -> Self {
        assert_eq!(layout.len(), flags.len(), "one flag per parameter");
        Self { layout, flags }
    }

    /// Flags that are all set.
    pub fn all(layout: &Arc<ParamLayout>) -> Self {
        let flags = layout.entries().iter().map(|entry| {
            let one = Tensor::<1>::ones([1], (&entry.device, DType::F32));
            one.equal_elem(1.0)
        });
        Self {
            flags: flags.collect(),
            layout: layout.clone(),
        }
    }

    /// The flags of the parameters at some positions.
    ///
    /// # Panics
    /// If a position is out of range.
    pub fn subset(&self, positions: &[usize]) -> Self {
        Self {
            layout: Arc::new(self.layout.subset(positions)),
            flags: positions.iter().map(|&at| self.flags[at].clone()).collect(),
        }
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
        self.combine(other, Tensor::bool_and)
    }

    /// Flags that are set where either is.
    ///
    /// # Panics
    /// If the number of parameters differs.
    pub fn or(&self, other: &FiniteFlags) -> FiniteFlags {
        self.combine(other, Tensor::bool_or)
    }

    fn combine(
        &self,
        other: &FiniteFlags,
        f: impl Fn(Tensor<1, Bool>, Tensor<1, Bool>) -> Tensor<1, Bool>,
    ) -> FiniteFlags {
        assert_eq!(self.flags.len(), other.flags.len(), "number of parameters");
        FiniteFlags {
            layout: self.layout.clone(),
            flags: self
                .flags
                .iter()
                .zip(&other.flags)
                .map(|(a, b)| f(a.clone(), b.clone()))
                .collect(),
        }
    }

    /// Reads the flags back, in one transfer for each device.
    pub fn to_vec(&self) -> Vec<bool> {
        let flags = self
            .flags
            .iter()
            .map(|flag| flag.clone().float().cast(DType::F32))
            .collect();
        reduce::read_together(flags)
            .into_iter()
            .map(|flag| flag > 0.5)
            .collect()
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
