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
    ///
    /// On CPUs, where reading a number back waits for nothing, the flags are read at once: then nothing is masked
    /// where all of them are set.
    pub fn finite_flags(&self) -> FiniteFlags {
        let sums = self
            .iter()
            .map(|(entry, x)| x.clone().cast(entry.compute_dtype()).sum());
        if self.layout().on_cpu() {
            let finite = |sum: Tensor<1>| sum.into_data().iter::<f64>().all(f64::is_finite);
            return FiniteFlags::of_values(self.layout().clone(), sums.map(finite).collect());
        }
        FiniteFlags::new(self.layout().clone(), sums.map(Tensor::is_finite).collect())
    }

    /// Replaces the tensors that are flagged by zeros, on the device.
    pub fn zero_where_not(&self, flags: &FiniteFlags) -> Self {
        if flags.known_to_be_set() {
            return self.clone();
        }
        let zeroed = self
            .tensors()
            .iter()
            .zip(flags.tensors())
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
            .zip(flags.tensors())
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
///
/// Flags whose values are known are put on the device when they are first asked for as tensors.
#[derive(Debug, Clone)]
pub struct FiniteFlags {
    layout: Arc<ParamLayout>,
    /// On the device; there where the values are not.
    flags: Arc<OnceLock<Vec<Tensor<1, Bool>>>>,
    /// Their values, once they are known.
    values: Arc<OnceLock<Vec<bool>>>,
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
            flags: Arc::new(OnceLock::from(flags)),
            values: Arc::default(),
        }
    }

    /// Flags of known values.
    fn of_values(layout: Arc<ParamLayout>, values: Vec<bool>) -> Self {
        Self {
            layout,
            flags: Arc::default(),
            values: Arc::new(OnceLock::from(values)),
        }
    }

    /// Reads the flags back where all of them are on CPUs, where that waits for nothing; leaves them unread
    /// elsewhere. Then nothing is masked where all are set.
    pub fn read_on_cpu(&self) {
        if self.layout.on_cpu() {
            self.values();
        }
    }

    /// Whether the flags were read back and all are set: then nothing needs to be masked.
    pub fn known_to_be_set(&self) -> bool {
        let values = self.values.get();
        values.is_some_and(|values| values.iter().all(|set| *set))
    }

    /// Flags that are all set.
    pub fn all(layout: &Arc<ParamLayout>) -> Self {
        Self::of_values(layout.clone(), vec![true; layout.len()])
    }

    /// The flags of the parameters at some positions.
    ///
    /// # Panics
    /// If a position is out of range.
    pub fn subset(&self, positions: &[usize]) -> Self {
        if self.layout.is_whole(positions) {
            return self.clone();
        }
        let layout = Arc::new(self.layout.subset(positions));
        match self.values.get() {
            Some(values) => {
                Self::of_values(layout, positions.iter().map(|&at| values[at]).collect())
            }
            None => {
                let flags = positions.iter().map(|&at| self.tensors()[at].clone());
                Self::new(layout, flags.collect())
            }
        }
    }

    /// The layout that the flags belong to.
    pub fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    /// The flags, each a tensor of one element.
    pub fn tensors(&self) -> &[Tensor<1, Bool>] {
        self.flags.get_or_init(|| {
            let entries = self.layout.entries().iter().zip(self.values());
            entries
                .map(|(entry, &set)| Tensor::from_data([set], &entry.device))
                .collect()
        })
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
        assert_eq!(
            self.layout.len(),
            other.layout.len(),
            "number of parameters"
        );
        let layout = self.layout.clone();
        if let Some((a, b)) = self.values.get().zip(other.values.get()) {
            let values = a.iter().zip(b).map(|(a, b)| known(*a, *b));
            return Self::of_values(layout, values.collect());
        }
        let pairs = self.tensors().iter().zip(other.tensors());
        Self::new(
            layout,
            pairs.map(|(a, b)| f(a.clone(), b.clone())).collect(),
        )
    }

    /// Reads the flags back, in one transfer for each device, unless they were read before.
    pub fn to_vec(&self) -> Vec<bool> {
        self.values().to_vec()
    }

    fn values(&self) -> &[bool] {
        self.values.get_or_init(|| {
            // One of the two is there, and it is not the values.
            let flags = self.flags.get().into_iter().flatten();
            let flags = flags.map(|flag| flag.clone().float().cast(DType::F32));
            let values = reduce::read_together(flags.collect()).into_iter();
            values.map(|flag| flag > 0.5).collect()
        })
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
