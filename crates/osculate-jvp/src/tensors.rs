//! Tensors of any rank and kind, and structures made of them.

use burn::tensor::{Bool, DType, Float, Int, Shape, Tensor};
use burn_backend::ops::FloatTensorOps;
use burn_backend::{AutodiffBackend, TensorMetadata};
use burn_dispatch::{Dispatch, DispatchDevice, DispatchTensor};

use crate::tape;

/// A tensor whose rank and kind are known at run time.
#[derive(Debug, Clone)]
pub struct AnyTensor(DispatchTensor);

impl AnyTensor {
    pub(crate) fn from_value(value: DispatchTensor) -> Self {
        Self(value)
    }

    pub(crate) fn into_value(self) -> DispatchTensor {
        self.0
    }

    pub(crate) fn value(&self) -> &DispatchTensor {
        &self.0
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.0.shape()
    }

    /// The element type, which also tells float, integer and boolean tensors apart.
    pub fn dtype(&self) -> DType {
        self.0.dtype()
    }

    pub(crate) fn dispatch_device(&self) -> DispatchDevice {
        self.0.device()
    }

    /// This tensor as a float tensor of rank `D`.
    ///
    /// # Panics
    /// If it is of another rank or kind.
    pub fn float<const D: usize>(self) -> Tensor<D> {
        assert_eq!(self.shape().num_dims(), D, "rank of the tensor");
        Tensor::from_dispatch(self.0)
    }

    /// This float tensor with another shape of as many elements.
    ///
    /// # Panics
    /// If the number of elements differs, or the tensor is not a float tensor.
    pub fn float_reshaped<const D: usize>(self, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_dispatch(Dispatch::float_reshape(self.0, Shape::from(shape)))
    }

    /// This float tensor with another shape of as many elements.
    ///
    /// # Panics
    /// If the number of elements differs, or the tensor is not a float tensor.
    pub fn reshaped(self, shape: Shape) -> AnyTensor {
        AnyTensor(Dispatch::float_reshape(self.0, shape))
    }

    /// The same tensor without autodiff.
    pub(crate) fn inner(self) -> DispatchTensor {
        if !is_autodiff(&self.0) {
            return self.0;
        }
        match self.dtype() {
            dtype if dtype.is_float() => tape::inner(self.0),
            dtype if dtype.is_bool() => Dispatch::bool_inner(self.0),
            _ => Dispatch::int_inner(self.0),
        }
    }
}

pub(crate) fn is_autodiff(value: &DispatchTensor) -> bool {
    matches!(value.device(), DispatchDevice::Autodiff(_))
}

/// Whether a backward pass reaches this tensor.
pub(crate) fn is_tracked(value: &DispatchTensor) -> bool {
    is_autodiff(value) && Dispatch::is_tracked(value)
}

/// The same float tensor, out of reach of a backward pass. Unlike a detached leaf, it is not a leaf
/// again.
pub(crate) fn untracked(value: DispatchTensor) -> DispatchTensor {
    if is_autodiff(&value) {
        // Going inside and out again forgets how checkpoints are made, and burn refuses to mix ways.
        let context = value.autodiff;
        let mut out = tape::lift(tape::inner(value));
        out.autodiff = context;
        out
    } else {
        value
    }
}

/// A structure of tensors that is handed to a recorded function, or that it returns.
///
/// Implemented by tensors of every rank and kind, tuples, arrays, vectors and options. A batch of
/// one's own implements it field by field:
///
/// ```
/// use burn::tensor::{Int, Tensor};
/// use osculate_jvp::{AnyTensor, Tensors};
///
/// #[derive(Clone)]
/// struct Batch {
///     images: Tensor<4>,
///     labels: Tensor<1, Int>,
/// }
///
/// impl Tensors for Batch {
///     fn map_tensors(&self, f: &mut dyn FnMut(AnyTensor) -> AnyTensor) -> Self {
///         Batch {
///             images: self.images.map_tensors(f),
///             labels: self.labels.map_tensors(f),
///         }
///     }
/// }
/// ```
pub trait Tensors: Clone {
    /// The same structure with every tensor replaced by what `f` makes of it. Every tensor must be
    /// visited, always in the same order; `f` keeps rank and kind.
    fn map_tensors(&self, f: &mut dyn FnMut(AnyTensor) -> AnyTensor) -> Self;

    /// The tensors in the order of [`map_tensors`](Self::map_tensors).
    fn tensors(&self) -> Vec<AnyTensor> {
        let mut all = Vec::new();
        self.map_tensors(&mut |tensor| {
            all.push(tensor.clone());
            tensor
        });
        all
    }
}

macro_rules! tensor_kinds {
    ($($kind:ty),*) => {$(
        impl<const D: usize> Tensors for Tensor<D, $kind> {
            fn map_tensors(&self, f: &mut dyn FnMut(AnyTensor) -> AnyTensor) -> Self {
                Tensor::from_dispatch(f(self.clone().into()).into_value())
            }
        }

        impl<const D: usize> From<Tensor<D, $kind>> for AnyTensor {
            fn from(tensor: Tensor<D, $kind>) -> Self {
                AnyTensor(tensor.into_dispatch())
            }
        }
    )*};
}
tensor_kinds!(Float, Int, Bool);

impl<T: Tensors> Tensors for Vec<T> {
    fn map_tensors(&self, f: &mut dyn FnMut(AnyTensor) -> AnyTensor) -> Self {
        self.iter().map(|item| item.map_tensors(f)).collect()
    }
}

impl<T: Tensors, const N: usize> Tensors for [T; N] {
    fn map_tensors(&self, f: &mut dyn FnMut(AnyTensor) -> AnyTensor) -> Self {
        core::array::from_fn(|index| self[index].map_tensors(f))
    }
}

impl<T: Tensors> Tensors for Option<T> {
    fn map_tensors(&self, f: &mut dyn FnMut(AnyTensor) -> AnyTensor) -> Self {
        self.as_ref().map(|item| item.map_tensors(f))
    }
}

impl Tensors for () {
    fn map_tensors(&self, _: &mut dyn FnMut(AnyTensor) -> AnyTensor) -> Self {}
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),*)),*) => {$(
        impl<$($name: Tensors),*> Tensors for ($($name,)*) {
            fn map_tensors(&self, f: &mut dyn FnMut(AnyTensor) -> AnyTensor) -> Self {
                ($(self.$index.map_tensors(f),)*)
            }
        }
    )*};
}
tuples!(
    (A 0),
    (A 0, B 1),
    (A 0, B 1, C 2),
    (A 0, B 1, C 2, E 3),
    (A 0, B 1, C 2, E 3, G 4),
    (A 0, B 1, C 2, E 3, G 4, H 5)
);
