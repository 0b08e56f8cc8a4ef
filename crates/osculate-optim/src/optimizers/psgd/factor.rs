//! One factor of a Kronecker product, for a stack of blocks.

use burn::tensor::{Bool, Tensor};
use osculate_linalg::{
    Triangle, gram_of_columns, pack, packed_shape, triangular_inverse, unpack_symmetric,
    unpack_upper,
};

use super::geometry::{PsgdGeometry, floored, identity, largest};
use crate::engine::modes::{mode_product, mode_scale};
use crate::engine::{put_rows, take_rows};

/// How a dense factor is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    /// Upper triangular, packed.
    Triangular,
    /// Symmetric, packed.
    Symmetric,
    Full,
}

impl Storage {
    /// The storage of a geometry's dense factors.
    pub(super) fn of(geometry: PsgdGeometry) -> Self {
        match geometry {
            PsgdGeometry::Eq => Self::Triangular,
            PsgdGeometry::Quad | PsgdGeometry::Quad4p => Self::Symmetric,
            _ => Self::Full,
        }
    }

    /// Elements that are stored for a dimension of `d`.
    pub(super) fn len(self, d: usize) -> usize {
        match self {
            Self::Triangular | Self::Symmetric => d * (d + 1) / 2,
            Self::Full => d * d,
        }
    }

    /// The matrices `[k, d, d]` from what is stored of them.
    #[expect(clippy::expect_used, reason = "the state has the length of its kind")]
    pub(super) fn unpack(self, packed: Tensor<2>, d: usize) -> Tensor<3> {
        let k = packed.dims()[0];
        let rectangle = |packed: Tensor<2>| {
            let [rows, columns] = packed_shape(d);
            packed.reshape([k, rows, columns])
        };
        let dense = match self {
            Self::Full => Ok(packed.reshape([k, d, d])),
            Self::Triangular => unpack_upper(rectangle(packed), d),
            Self::Symmetric => unpack_symmetric(rectangle(packed), d),
        };
        dense.expect("a packed matrix of this size")
    }

    /// What is stored of matrices `[k, d, d]`.
    #[expect(clippy::expect_used, reason = "dense factors are square")]
    pub(super) fn pack(self, q: Tensor<3>) -> Tensor<2> {
        let [k, d, _] = q.dims();
        let packed = match self {
            Self::Full => Ok(q),
            Self::Triangular => pack(q, Triangle::Upper),
            Self::Symmetric => pack(q, Triangle::Lower),
        };
        let packed = packed.expect("a square matrix");
        packed.reshape([k, self.len(d)])
    }

    /// The matrices of some blocks. Rows are taken and put back as they are stored, which is half of a
    /// symmetric or triangular matrix.
    pub(super) fn rows(self, q: &Tensor<3>, rows: &[usize]) -> Tensor<3> {
        let packed = self.pack(q.clone());
        self.unpack(take_rows(&packed, rows), q.dims()[1])
    }

    /// The matrices with those of some blocks replaced.
    pub(super) fn with_rows(self, q: Tensor<3>, rows: &[usize], part: Tensor<3>) -> Tensor<3> {
        let d = q.dims()[1];
        let packed = put_rows(self.pack(q), rows, self.pack(part));
        self.unpack(packed, d)
    }
}

/// Matrices `[k, d, d]` with a multiple `[k, 1]` of the identity added.
pub(super) fn plus_identity(q: Tensor<3>, scale: Tensor<2>) -> Tensor<3> {
    let eye = identity(q.dims()[1], &q);
    q + eye * scale.unsqueeze_dim::<3>(2)
}

/// Whether a block has a matrix yet, `[k, 1]`.
pub(super) fn is_there(q: &Tensor<3>) -> Tensor<2, Bool> {
    largest(q.clone()).greater_elem(0.0)
}

/// The matrices, or the identity for blocks that have none yet.
pub(super) fn invertible(q: &Tensor<3>) -> Tensor<3> {
    let missing = is_there(q).bool_not().float().cast(q.dtype());
    plus_identity(q.clone(), missing)
}

/// What a factor looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FactorKind {
    Diagonal,
    Dense(Storage),
}

impl FactorKind {
    /// Elements that are stored for a dimension of `d`.
    pub(super) fn len(self, d: usize) -> usize {
        match self {
            Self::Diagonal => d,
            Self::Dense(storage) => storage.len(d),
        }
    }
}

/// A factor of every block of a stack.
#[derive(Debug, Clone)]
pub(super) enum Factor {
    /// `[k, d]`.
    Diagonal(Tensor<2>),
    /// `[k, d, d]`.
    Dense(Tensor<3>, Storage),
}

impl Factor {
    pub(super) fn unpack(packed: Tensor<2>, kind: FactorKind, d: usize) -> Self {
        match kind {
            FactorKind::Diagonal => Self::Diagonal(packed),
            FactorKind::Dense(storage) => Self::Dense(storage.unpack(packed, d), storage),
        }
    }

    pub(super) fn pack(self) -> Tensor<2> {
        match self {
            Self::Diagonal(q) => q,
            Self::Dense(q, storage) => storage.pack(q),
        }
    }

    /// The factors of some blocks.
    pub(super) fn rows(&self, rows: &[usize]) -> Self {
        match self {
            Self::Diagonal(q) => Self::Diagonal(take_rows(q, rows)),
            Self::Dense(q, storage) => Self::Dense(storage.rows(q, rows), *storage),
        }
    }

    /// The factors with those of some blocks replaced.
    pub(super) fn with_rows(self, rows: &[usize], part: Self) -> Self {
        match (self, part) {
            (Self::Diagonal(q), Self::Diagonal(part)) => Self::Diagonal(put_rows(q, rows, part)),
            (Self::Dense(q, storage), Self::Dense(part, _)) => {
                Self::Dense(storage.with_rows(q, rows, part), storage)
            }
            // No update changes what a factor looks like. The state would refuse its shape.
            (_, part) => part,
        }
    }

    /// Adds a multiple `[k, 1]` of the identity.
    pub(super) fn plus_identity(self, scale: Tensor<2>) -> Self {
        match self {
            Self::Diagonal(q) => Self::Diagonal(q + scale),
            Self::Dense(q, storage) => Self::Dense(plus_identity(q, scale), storage),
        }
    }

    /// `qᵀ q`.
    pub(super) fn squared(&self) -> Self {
        match self {
            Self::Diagonal(q) => Self::Diagonal(q.clone().square()),
            Self::Dense(q, storage) => Self::Dense(gram_of_columns(q.clone()), *storage),
        }
    }

    /// The product along its dimension.
    pub(super) fn apply(&self, x: Tensor<2>, dims: &[usize], mode: usize) -> Tensor<2> {
        match self {
            Self::Diagonal(q) => mode_scale(x, dims, mode, q.clone()),
            Self::Dense(q, _) => mode_product(x, dims, mode, q.clone()),
        }
    }

    /// The product with all factors.
    pub(super) fn apply_all(factors: &[Self], x: Tensor<2>, dims: &[usize]) -> Tensor<2> {
        let factors = factors.iter().enumerate();
        factors.fold(x, |x, (mode, factor)| factor.apply(x, dims, mode))
    }

    /// The product with all `q^-T`, for triangular factors.
    #[expect(clippy::expect_used, reason = "dense factors are square")]
    pub(super) fn solve_all(factors: &[Self], x: Tensor<2>, dims: &[usize]) -> Tensor<2> {
        let factors = factors.iter().enumerate();
        factors.fold(x, |x, (mode, factor)| match factor {
            Self::Diagonal(q) => {
                let missing = factor.is_there().bool_not().float().cast(q.dtype());
                mode_scale(x, dims, mode, (q.clone() + missing).recip())
            }
            Self::Dense(q, _) => {
                let inverse = triangular_inverse(invertible(q), Triangle::Upper);
                let inverse = inverse.expect("a square matrix").swap_dims(1, 2);
                mode_product(x, dims, mode, inverse)
            }
        })
    }

    /// The factors with equal largest magnitudes, and the same product.
    pub(super) fn balanced(factors: Vec<Self>) -> Vec<Self> {
        let sizes: Vec<Tensor<2>> = factors
            .iter()
            .map(|factor| floored(factor.largest()))
            .collect();
        let logs = sizes.iter().map(|size| size.clone().log());
        let Some(sum) = logs.reduce(|sum, log| sum + log) else {
            return factors;
        };
        let mean = sum.div_scalar(sizes.len() as f64).exp();
        factors
            .into_iter()
            .zip(sizes)
            .map(|(factor, size)| factor.scaled(mean.clone() / size))
            .collect()
    }

    fn largest(&self) -> Tensor<2> {
        match self {
            Self::Diagonal(q) => q.clone().abs().max_dim(1),
            Self::Dense(q, _) => largest(q.clone()),
        }
    }

    fn scaled(self, scale: Tensor<2>) -> Self {
        match self {
            Self::Diagonal(q) => Self::Diagonal(q * scale),
            Self::Dense(q, storage) => Self::Dense(q * scale.unsqueeze_dim::<3>(2), storage),
        }
    }

    /// Whether a block has a factor yet, `[k, 1]`.
    pub(super) fn is_there(&self) -> Tensor<2, Bool> {
        self.largest().greater_elem(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizers::psgd::geometry::{Descent, Direction, SpectralNorm};
    use burn::tensor::{DType, Device};

    fn wave(shape: [usize; 3], phase: f64) -> Tensor<3> {
        let at = (&Device::flex(), DType::F32);
        let n = shape.iter().product();
        let values: Vec<f64> = (0..n)
            .map(|i: usize| ((i * i) as f64 * 0.37 + phase).sin())
            .collect();
        Tensor::<1>::from_data(&values[..], at).reshape(shape)
    }

    /// A step applies what an update made before that is stored, so the two must be the same to the bit.
    #[test]
    fn storage_holds_what_an_update_makes() {
        for geometry in [
            PsgdGeometry::Eq,
            PsgdGeometry::Qep,
            PsgdGeometry::Qeq,
            PsgdGeometry::Q05Eq15,
            PsgdGeometry::Quad,
            PsgdGeometry::Quad4p,
            PsgdGeometry::Pro4p,
        ] {
            let (k, d) = (3, 5);
            let storage = Storage::of(geometry);
            let packed = wave([1, k, storage.len(d)], 0.3).squeeze_dim::<2>(0);
            let scale = packed.clone().narrow(1, 0, 1).ones_like();
            let q = plus_identity(storage.unpack(packed, d), scale);
            let x = wave([k, d, d], 0.7);
            let e = Direction::Matrix(x.clone().matmul(x.swap_dims(1, 2)));
            let descent = Descent {
                geometry,
                norm: SpectralNorm::Bound,
            };
            let mu = wave([1, k, 1], 0.1).squeeze_dim::<2>(0).abs();
            let moved = descent.dense(q.clone(), &e, mu.mul_scalar(0.1));
            let kept = storage.unpack(storage.pack(moved.clone()), d);
            assert_eq!(kept.to_data(), moved.to_data(), "{geometry:?}");
            assert_ne!(moved.to_data(), q.to_data(), "{geometry:?}");
        }
    }
}
