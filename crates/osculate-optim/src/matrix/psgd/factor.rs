//! One factor of a Kronecker product, for a stack of blocks.

use burn::tensor::{Bool, Tensor};
use osculate_linalg::{
    Triangle, pack, packed_shape, triangular_inverse, unpack_symmetric, unpack_upper,
};

use super::geometry::{PsgdGeometry, floored, largest};
use crate::matrix::modes::{mode_product, mode_scale};

/// What a factor looks like, and how it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FactorKind {
    Diagonal,
    /// Upper triangular, packed.
    Triangular,
    /// Symmetric, packed.
    Symmetric,
    Full,
}

impl FactorKind {
    /// The kind of the dense factors of a geometry.
    pub(super) fn dense(geometry: PsgdGeometry) -> Self {
        match geometry {
            PsgdGeometry::Eq => Self::Triangular,
            PsgdGeometry::Quad | PsgdGeometry::Quad4p => Self::Symmetric,
            _ => Self::Full,
        }
    }

    /// Elements that are stored for a dimension of `d`.
    pub(super) fn len(self, d: usize) -> usize {
        match self {
            Self::Diagonal => d,
            Self::Triangular | Self::Symmetric => d * (d + 1) / 2,
            Self::Full => d * d,
        }
    }
}

/// A factor of every block of a stack.
#[derive(Debug, Clone)]
pub(super) enum Factor {
    /// `[k, d]`.
    Diagonal(Tensor<2>),
    /// `[k, d, d]`.
    Dense(Tensor<3>, FactorKind),
}

impl Factor {
    #[expect(clippy::expect_used, reason = "the state has the length of its kind")]
    pub(super) fn unpack(packed: Tensor<2>, kind: FactorKind, d: usize) -> Self {
        let k = packed.dims()[0];
        let rectangle = |packed: Tensor<2>| {
            let [rows, columns] = packed_shape(d);
            packed.reshape([k, rows, columns])
        };
        let dense = match kind {
            FactorKind::Diagonal => return Self::Diagonal(packed),
            FactorKind::Full => Ok(packed.reshape([k, d, d])),
            FactorKind::Triangular => unpack_upper(rectangle(packed), d),
            FactorKind::Symmetric => unpack_symmetric(rectangle(packed), d),
        };
        Self::Dense(dense.expect("a packed matrix of this size"), kind)
    }

    #[expect(clippy::expect_used, reason = "dense factors are square")]
    pub(super) fn pack(self) -> Tensor<2> {
        match self {
            Self::Diagonal(q) => q,
            Self::Dense(q, kind) => {
                let [k, d, _] = q.dims();
                let packed = match kind {
                    FactorKind::Full | FactorKind::Diagonal => Ok(q),
                    FactorKind::Triangular => pack(q, Triangle::Upper),
                    FactorKind::Symmetric => pack(q, Triangle::Lower),
                };
                let packed = packed.expect("a square matrix");
                packed.reshape([k, kind.len(d)])
            }
        }
    }

    /// Adds a multiple `[k, 1]` of the identity.
    pub(super) fn plus_identity(self, scale: Tensor<2>) -> Self {
        match self {
            Self::Diagonal(q) => Self::Diagonal(q + scale),
            Self::Dense(q, kind) => {
                let eye = Self::identity_like(&q);
                Self::Dense(q + eye * scale.unsqueeze_dim::<3>(2), kind)
            }
        }
    }

    /// The identity that broadcasts over a stack `[k, d, d]`.
    pub(super) fn identity_like(q: &Tensor<3>) -> Tensor<3> {
        let d = q.dims()[1];
        Tensor::<2>::eye(d, &q.device()).cast(q.dtype()).unsqueeze()
    }

    /// `qᵀ q`.
    pub(super) fn squared(&self) -> Self {
        match self {
            Self::Diagonal(q) => Self::Diagonal(q.clone().square()),
            Self::Dense(q, kind) => {
                let transposed = q.clone().swap_dims(1, 2);
                Self::Dense(transposed.matmul(q.clone()), *kind)
            }
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
        factors.fold(x, |x, (mode, factor)| match &factor.invertible() {
            Self::Diagonal(q) => mode_scale(x, dims, mode, q.clone().recip()),
            Self::Dense(q, _) => {
                let inverse = triangular_inverse(q.clone(), Triangle::Upper);
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
            Self::Dense(q, kind) => Self::Dense(q * scale.unsqueeze_dim::<3>(2), kind),
        }
    }

    /// The factor, or the identity for blocks that have none yet.
    pub(super) fn invertible(&self) -> Self {
        let missing = self.is_there().bool_not().float();
        let missing = match self {
            Self::Diagonal(q) => missing.cast(q.dtype()),
            Self::Dense(q, _) => missing.cast(q.dtype()),
        };
        self.clone().plus_identity(missing)
    }

    /// Whether a block has a factor yet, `[k, 1]`.
    pub(super) fn is_there(&self) -> Tensor<2, Bool> {
        self.largest().greater_elem(0.0)
    }
}
