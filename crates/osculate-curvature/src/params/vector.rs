use std::sync::Arc;

use burn::module::ParamGroup;
use burn::tensor::{DType, Tensor};

use super::layout::{ParamEntry, ParamLayout};
use super::{random, reduce};
use crate::error::CurvatureError;

/// A vector in parameter space: one flattened tensor for each entry of a [`ParamLayout`].
///
/// It stays on the device; only methods that return `f64` read back, and they read the whole
/// vector's partial sums in one transfer. Tensors are without autodiff, of the parameter's element
/// type unless a method says otherwise.
///
/// # Panics
/// Methods that combine two vectors panic where their layouts differ; use
/// [`ParamLayout::check`] first for vectors that come from outside.
#[derive(Debug, Clone)]
pub struct ParamVec {
    layout: Arc<ParamLayout>,
    tensors: Vec<Tensor<1>>,
}

impl ParamVec {
    /// A vector from flattened tensors, in the order of the layout.
    ///
    /// # Panics
    /// If the number of tensors or of their elements differs from the layout.
    pub fn new(layout: Arc<ParamLayout>, tensors: Vec<Tensor<1>>) -> Self {
        assert_eq!(layout.len(), tensors.len(), "one tensor per layout entry");
        for (entry, tensor) in layout.entries().iter().zip(&tensors) {
            assert_eq!(
                entry.num_elements(),
                tensor.dims()[0],
                "number of elements of {}",
                entry.path
            );
        }
        Self { layout, tensors }
    }

    /// The zero vector.
    pub fn zeros(layout: &Arc<ParamLayout>) -> Self {
        Self::generate(layout, |entry| {
            Tensor::zeros([entry.num_elements()], (&entry.device, entry.dtype))
        })
    }

    /// Independent signs +1 and -1, the same for one seed on every device and backend.
    pub fn rademacher(layout: &Arc<ParamLayout>, seed: u64) -> Self {
        Self::generate(layout, |entry| {
            let seed = random::stream(seed, &entry.path);
            random::rademacher(entry.num_elements(), seed, entry.dtype, &entry.device)
        })
    }

    /// Independent standard normal numbers, the same for one seed on every device and backend.
    pub fn gaussian(layout: &Arc<ParamLayout>, seed: u64) -> Self {
        Self::generate(layout, |entry| {
            let seed = random::stream(seed, &entry.path);
            random::normal(entry.num_elements(), seed, entry.dtype, &entry.device)
        })
    }

    /// The unit vector along element `index` of the flattened space.
    ///
    /// # Panics
    /// If `index` is not below the dimension.
    pub fn basis(layout: &Arc<ParamLayout>, index: usize) -> Self {
        assert!(
            index < layout.num_elements(),
            "element {index} of a space of dimension {}",
            layout.num_elements()
        );
        let mut start = 0;
        Self::generate(layout, |entry| {
            let n = entry.num_elements();
            let zeros = Tensor::zeros([n], (&entry.device, entry.dtype));
            let range = start..start + n;
            start += n;
            if range.contains(&index) {
                let at = index - range.start;
                zeros.slice_fill(at..at + 1, 1.0)
            } else {
                zeros
            }
        })
    }

    /// A vector from host values in the flattened order.
    ///
    /// # Panics
    /// If the number of values is not the dimension.
    pub fn from_values(layout: &Arc<ParamLayout>, values: &[f64]) -> Self {
        assert_eq!(values.len(), layout.num_elements(), "dimension");
        let mut rest = values;
        Self::generate(layout, |entry| {
            let (head, tail) = rest.split_at(entry.num_elements());
            rest = tail;
            Tensor::from_data(
                burn::tensor::TensorData::new(head.to_vec(), [head.len()]),
                (&entry.device, entry.dtype),
            )
        })
    }

    fn generate(layout: &Arc<ParamLayout>, tensor: impl FnMut(&ParamEntry) -> Tensor<1>) -> Self {
        Self {
            layout: layout.clone(),
            tensors: layout.entries().iter().map(tensor).collect(),
        }
    }

    /// The layout.
    pub fn layout(&self) -> &Arc<ParamLayout> {
        &self.layout
    }

    /// The flattened tensors, in the order of the layout.
    pub fn tensors(&self) -> &[Tensor<1>] {
        &self.tensors
    }

    /// The flattened tensors, by value.
    pub fn into_tensors(self) -> Vec<Tensor<1>> {
        self.tensors
    }

    /// Entries with their tensors.
    pub fn iter(&self) -> impl Iterator<Item = (&ParamEntry, &Tensor<1>)> {
        self.layout.entries().iter().zip(&self.tensors)
    }

    /// The flattened tensor of the parameter at `path`.
    pub fn get(&self, path: &str) -> Option<&Tensor<1>> {
        self.layout
            .position(path)
            .map(|position| &self.tensors[position])
    }

    /// All elements, read back in the flattened order.
    pub fn to_values(&self) -> Vec<f64> {
        self.tensors
            .iter()
            .flat_map(|tensor| tensor.to_data().iter::<f64>().collect::<Vec<_>>())
            .collect()
    }

    /// Applies `f` to each tensor with its entry. The result must keep the number of elements.
    pub fn map(&self, f: impl FnMut((&ParamEntry, &Tensor<1>)) -> Tensor<1>) -> Self {
        Self::new(self.layout.clone(), self.iter().map(f).collect())
    }

    /// Combines two vectors tensor by tensor.
    pub fn zip_map(&self, other: &Self, f: impl Fn(Tensor<1>, Tensor<1>) -> Tensor<1>) -> Self {
        self.assert_compatible(other);
        Self {
            layout: self.layout.clone(),
            tensors: self
                .tensors
                .iter()
                .zip(&other.tensors)
                .map(|(a, b)| f(a.clone(), b.clone()))
                .collect(),
        }
    }

    pub(super) fn assert_compatible(&self, other: &Self) {
        if let Err(error) = self.layout.check(&other.layout) {
            panic!("{error}");
        }
    }

    /// `self + other`.
    pub fn add(&self, other: &Self) -> Self {
        self.zip_map(other, |a, b| a + b)
    }

    /// `self - other`.
    pub fn sub(&self, other: &Self) -> Self {
        self.zip_map(other, |a, b| a - b)
    }

    /// `self * other`, element by element.
    pub fn hadamard(&self, other: &Self) -> Self {
        self.zip_map(other, |a, b| a * b)
    }

    /// `alpha x + self`.
    pub fn axpy(&self, alpha: f64, x: &Self) -> Self {
        self.zip_map(x, |y, x| y + x.mul_scalar(alpha))
    }

    /// `alpha self`.
    pub fn scale(&self, alpha: f64) -> Self {
        self.map(|(_, x)| x.clone().mul_scalar(alpha))
    }

    /// `alpha self` for a factor of one element that lives on the device.
    pub fn scale_by(&self, alpha: &Tensor<1>) -> Self {
        self.map(|(entry, x)| {
            // A factor of the size of 1 / norm leaves the range of half precision.
            let wide = x.clone().cast(entry.compute_dtype()) * local(alpha, entry);
            wide.cast(x.dtype())
        })
    }

    /// Each tensor times its own factor of one element, which lives on the device.
    ///
    /// # Panics
    /// If the number of factors is not the number of tensors.
    pub fn scale_each_by(&self, factors: &[Tensor<1>]) -> Self {
        assert_eq!(factors.len(), self.tensors.len(), "one factor per tensor");
        let mut factors = factors.iter();
        self.map(|(entry, x)| {
            let wide = x.clone().cast(entry.compute_dtype());
            let scaled = match factors.next() {
                Some(factor) => wide * local(factor, entry),
                None => wide,
            };
            scaled.cast(x.dtype())
        })
    }

    /// `alpha x + self` for a factor of one element that lives on the device.
    pub fn axpy_by(&self, alpha: &Tensor<1>, x: &Self) -> Self {
        self.add(&x.scale_by(alpha))
    }

    /// Absolute values.
    pub fn abs(&self) -> Self {
        self.map(|(_, x)| x.clone().abs())
    }

    /// The vector with zeros for its elements that are NaN or infinite, on the device.
    pub fn finite_or_zero(&self) -> Self {
        self.map(|(_, x)| {
            let bad = x.clone().is_finite().bool_not();
            x.clone().mask_fill(bad, 0.0)
        })
    }

    /// Casts every tensor to the type in which statistics are kept: `F32` for half-precision
    /// parameters, the parameter's own type for the others.
    pub fn to_compute_dtype(&self) -> Self {
        self.map(|(entry, x)| x.clone().cast(entry.compute_dtype()))
    }

    /// `self . other`, accumulated in `f64`. One read-back.
    pub fn dot(&self, other: &Self) -> f64 {
        self.block_dots(other).into_iter().sum()
    }

    /// The dot product restricted to each entry: `self_b . other_b`. One read-back.
    pub fn block_dots(&self, other: &Self) -> Vec<f64> {
        self.assert_compatible(other);
        reduce::dots(self.tensors.iter().zip(&other.tensors))
    }

    /// The dot products of `self` with several vectors. One read-back.
    pub fn dot_many(&self, others: &[Self]) -> Vec<f64> {
        for other in others {
            self.assert_compatible(other);
        }
        let blocks = reduce::dots(
            others
                .iter()
                .flat_map(|other| other.tensors.iter().zip(&self.tensors)),
        );
        if self.tensors.is_empty() {
            return vec![0.0; others.len()];
        }
        blocks
            .chunks(self.tensors.len())
            .map(|chunk| chunk.iter().sum())
            .collect()
    }

    /// Euclidean norm, accumulated in `f64`. One read-back.
    pub fn norm(&self) -> f64 {
        self.dot(self).sqrt()
    }

    /// The largest magnitude of an element; 0 for no elements. One read-back.
    pub fn max_abs(&self) -> f64 {
        let maxima = self
            .tensors
            .iter()
            .filter(|tensor| tensor.dims()[0] > 0)
            .map(|tensor| tensor.clone().abs().max())
            .collect();
        reduce::read_together(maxima)
            .into_iter()
            .fold(0.0, |max, x| {
                // A comparison would drop NaN.
                if x.is_nan() || x > max { x } else { max }
            })
    }

    /// Euclidean norm as a tensor of one element that stays on the device, safe for elements from
    /// 1e-38 to 1e38. It is `F64` where any parameter is, `F32` otherwise.
    pub fn norm_on_device(&self) -> Tensor<1> {
        let dtype = self.scalar_dtype();
        reduce::norm_on_device(self.tensors.iter(), dtype).unwrap_or_else(|| {
            let device = self
                .layout
                .entries()
                .first()
                .map(|entry| entry.device.clone())
                .unwrap_or_default();
            Tensor::zeros([1], (&device, dtype))
        })
    }

    /// Euclidean norm of each tensor, with the range and type of
    /// [`norm_on_device`](Self::norm_on_device).
    pub fn norms_on_device(&self) -> Vec<Tensor<1>> {
        self.iter()
            .map(|(entry, tensor)| {
                let dtype = entry.compute_dtype();
                reduce::norm_on_device(std::iter::once(tensor), dtype)
                    .unwrap_or_else(|| Tensor::zeros([1], (&entry.device, dtype)))
            })
            .collect()
    }

    /// `self . other` as a tensor of one element that stays on the device.
    pub fn dot_on_device(&self, other: &Self) -> Tensor<1> {
        self.assert_compatible(other);
        let dtype = self.scalar_dtype();
        let device = self
            .layout
            .entries()
            .first()
            .map(|entry| entry.device.clone())
            .unwrap_or_default();
        let zero = Tensor::zeros([1], (&device, dtype));
        self.tensors
            .iter()
            .zip(&other.tensors)
            .map(|(a, b)| {
                let product = a.clone().cast(dtype) * b.clone().cast(dtype);
                product.sum().to_device(&device)
            })
            .fold(zero, |sum, dot| sum + dot)
    }

    fn scalar_dtype(&self) -> DType {
        let any_f64 = self
            .layout
            .entries()
            .iter()
            .any(|entry| entry.dtype == DType::F64);
        if any_f64 { DType::F64 } else { DType::F32 }
    }

    /// The entries of `group`, as a vector of a smaller layout.
    ///
    /// # Errors
    /// [`CurvatureError::EmptySelection`] where nothing matches.
    pub fn select(&self, group: &ParamGroup) -> Result<Self, CurvatureError> {
        let positions = self.layout.select(group)?;
        Ok(self.subset(&positions))
    }

    /// The entries at some positions, as a vector of a smaller layout; of the same one where they are all.
    ///
    /// # Panics
    /// If a position is out of range.
    pub fn subset(&self, positions: &[usize]) -> Self {
        if self.layout.is_whole(positions) {
            return self.clone();
        }
        Self {
            layout: Arc::new(self.layout.subset(positions)),
            tensors: positions
                .iter()
                .map(|&position| self.tensors[position].clone())
                .collect(),
        }
    }

    /// The vector of the larger `layout` that is zero outside `positions`.
    pub(crate) fn embed(&self, layout: &Arc<ParamLayout>, positions: &[usize]) -> Self {
        let mut full = Self::zeros(layout);
        for (tensor, &position) in self.tensors.iter().zip(positions) {
            full.tensors[position] = tensor.clone();
        }
        full
    }
}

/// Brings a factor of one element to an entry's device and the type of its statistics.
fn local(scalar: &Tensor<1>, entry: &ParamEntry) -> Tensor<1> {
    scalar
        .clone()
        .to_device(&entry.device)
        .cast(entry.compute_dtype())
}
