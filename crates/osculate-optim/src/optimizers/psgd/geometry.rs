//! How a factor of the preconditioner moves.

use burn::config::Config;
use burn::tensor::{Bool, Tensor};
use osculate_linalg::{gram_of_columns, spectral_norm_lower};

/// The local coordinates in which `Q` descends.
///
/// They differ in what a step costs and which `Q` they keep; all lead to the same `P`. The matrix
/// products are those of one update of a dense factor, after the statistics `T1 - T2 = E`.
///
/// ```
/// use burn::tensor::DType;
/// use osculate_optim::{BlockRule, ConfigError, PsgdGeometry, PsgdKronConfig};
/// // Elements of the first factor of a 4 x 4 matrix.
/// let stored = |geometry| -> Result<usize, ConfigError> {
///     let rule = PsgdKronConfig::new().with_geometry(geometry).rule()?;
///     let fields = rule.fields(&[4, 4], DType::F32);
///     Ok(fields.iter().filter(|field| field.name == "q0").map(|field| field.len).sum())
/// };
/// assert_eq!(stored(PsgdGeometry::Qeq)?, 16);
/// assert_eq!(stored(PsgdGeometry::Quad)?, 10);
/// # Ok::<(), ConfigError>(())
/// ```
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum PsgdGeometry {
    /// `dQ = E Q` on upper triangular `Q`: the original Lie group. 1 product and a triangular
    /// inverse; packed storage. The only geometry whose whitening needs random probes.
    Eq,
    /// `dQ = E Q` for statistics in the coordinates of `Q`. 3 products.
    Qep,
    /// `dQ = Q E`. 1 product.
    Qeq,
    /// `dQ = Q^½ E Q^1.5`: `dQ = E Q`, brought back towards a positive `Q` by one Procrustes
    /// rotation. 3 products.
    Q05Eq15,
    /// Quadratic form, which keeps `Q` symmetric positive. 2 products; packed storage.
    Quad,
    /// The quadratic form on `P` itself instead of `Q`. 2 products; packed storage.
    Quad4p,
    /// `dP = E P`, with up to ten Procrustes rotations. Up to 31 products.
    Pro4p,
}

impl PsgdGeometry {
    /// Whether the factors are those of `P` itself.
    pub(super) fn fits_p(self) -> bool {
        matches!(self, Self::Quad4p | Self::Pro4p)
    }
}

/// How the spectral norm of a statistic is found.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum SpectralNorm {
    /// A lower bound by a few steps of power iteration, within some hundredths. Costs as much as a
    /// few rows of a matrix product.
    Bound,
    /// To the precision of the type, by repeated squaring: 14 products. For comparisons with other
    /// implementations.
    Exact,
}

/// Starts and steps of the power iteration.
const VECTORS: usize = 8;
const ITERATIONS: usize = 2;
/// Squarings of [`SpectralNorm::Exact`]: the eigenvalues' powers go up to 2^14.
const SQUARINGS: usize = 14;

impl SpectralNorm {
    /// The norm of each matrix of `[k, d, d]`, as `[k, 1]`.
    pub(super) fn of(self, stack: Tensor<3>) -> Tensor<2> {
        let k = stack.dims()[0];
        match self {
            Self::Bound => spectral_norm_lower(stack, VECTORS, ITERATIONS).reshape([k, 1]),
            Self::Exact => {
                let square = gram_of_columns(stack);
                let scale = floored(largest(square.clone()));
                let mut power = square.clone() / scale.clone().unsqueeze_dim::<3>(2);
                for _ in 0..SQUARINGS {
                    power = power.clone().matmul(power);
                    let scale = floored(largest(power.clone()));
                    power = power / scale.unsqueeze_dim::<3>(2);
                }
                // tr(A Aᵖ) / tr(Aᵖ) is the mean of the eigenvalues, weighted by their powers.
                let trace = floored(trace(power.clone()));
                let mean = trace_of_product(square / scale.clone().unsqueeze_dim::<3>(2), power);
                (mean / trace * scale).sqrt()
            }
        }
    }
}

/// The direction `E` of a dense factor's step.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "one lives at a time, and for the length of a step"
)]
pub(super) enum Direction {
    /// `[k, d, d]`.
    Matrix(Tensor<3>),
    /// `a aᵀ - b bᵀ` for `[k, d, 1]`, whose products are cheap; `a aᵀ - I` without `b`.
    Pair(Box<(Tensor<3>, Option<Tensor<3>>)>),
}

impl Direction {
    /// `E` itself.
    fn matrix(&self) -> Tensor<3> {
        match self {
            Self::Matrix(e) => e.clone(),
            Self::Pair(pair) => {
                let (a, b) = pair.as_ref();
                let outer = |x: &Tensor<3>| x.clone().matmul(x.clone().swap_dims(1, 2));
                let eye = || identity(a.dims()[1], a);
                outer(a) - b.as_ref().map_or_else(eye, outer)
            }
        }
    }

    /// `E q`.
    fn times(&self, q: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Matrix(e) => e.clone().matmul(q),
            Self::Pair(pair) => {
                let (a, b) = pair.as_ref();
                let part = |x: &Tensor<3>| {
                    let row = x.clone().swap_dims(1, 2).matmul(q.clone());
                    x.clone().matmul(row)
                };
                part(a) - b.as_ref().map_or_else(|| q.clone(), part)
            }
        }
    }

    /// `q E`.
    fn after(&self, q: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Matrix(e) => q.matmul(e.clone()),
            Self::Pair(pair) => {
                let (a, b) = pair.as_ref();
                let part = |x: &Tensor<3>| {
                    let column = q.clone().matmul(x.clone());
                    column.matmul(x.clone().swap_dims(1, 2))
                };
                part(a) - b.as_ref().map_or_else(|| q.clone(), part)
            }
        }
    }
}

/// How a factor moves along a direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Descent {
    pub geometry: PsgdGeometry,
    pub norm: SpectralNorm,
}

impl Descent {
    /// A dense factor `[k, d, d]` after the step `mu` `[k, 1]` along `E`.
    pub(super) fn dense(&self, q: Tensor<3>, e: &Direction, mu: Tensor<2>) -> Tensor<3> {
        let mu = mu.unsqueeze_dim::<3>(2);
        match self.geometry {
            PsgdGeometry::Eq => q.clone() - e.matrix().triu(0).matmul(q) * mu,
            PsgdGeometry::Qep => q.clone() - e.times(q) * mu,
            PsgdGeometry::Qeq => q.clone() - e.after(q) * mu,
            PsgdGeometry::Q05Eq15 => {
                let moved = q.clone() - e.times(q) * mu;
                self.procrustes_second_order(moved)
            }
            PsgdGeometry::Quad | PsgdGeometry::Quad4p => {
                let mu = if self.geometry == PsgdGeometry::Quad {
                    mu.mul_scalar(0.5)
                } else {
                    mu
                };
                let p = q.clone() - e.times(q) * mu.clone();
                let p = p.clone() - e.after(p) * mu;
                (p.clone() + p.swap_dims(1, 2)).mul_scalar(0.5)
            }
            PsgdGeometry::Pro4p => {
                let mut p = q.clone() - e.times(q) * mu;
                let mut done = None;
                for _ in 0..10 {
                    let turned = self.procrustes_third_order(p.clone());
                    p = match &done {
                        Some(done) => keep(done, p, turned),
                        None => turned,
                    };
                    let skew = (p.clone().swap_dims(1, 2) - p.clone()).abs();
                    let near = largest(skew).lower(largest(p.clone()).mul_scalar(1e-3));
                    done = Some(near);
                }
                p
            }
        }
    }

    /// A diagonal factor `[k, d]` after the step `mu` `[k, 1]` along `E`.
    pub(super) fn diagonal(&self, q: Tensor<2>, e: Tensor<2>, mu: Tensor<2>) -> Tensor<2> {
        let shrink = |mu: Tensor<2>| (e.clone() * mu).neg().add_scalar(1.0);
        match self.geometry {
            PsgdGeometry::Quad => q * shrink(mu.mul_scalar(0.5)).square(),
            PsgdGeometry::Quad4p => q * shrink(mu).square(),
            _ => q * shrink(mu),
        }
    }

    /// Turns `Q` towards a symmetric positive one, by the second-order expansion of the best
    /// rotation along `R = Qᵀ - Q`.
    fn procrustes_second_order(&self, q: Tensor<3>) -> Tensor<3> {
        const LARGEST: f64 = 1.0 / 8.0;
        let r = self.unit_skew(q.clone());
        let rq = r.clone().matmul(q.clone());
        let rrq = r.matmul(rq.clone());
        let (t1, t2) = (trace(rq.clone()), trace(rrq.clone()));
        let best = (t1 / ceiled(t2.clone())).neg().clamp_max(LARGEST);
        let limit = t2.clone().zeros_like().add_scalar(LARGEST);
        let a = limit.mask_where(t2.lower_elem(0.0), best);
        let a = a.unsqueeze_dim::<3>(2);
        q + a.clone() * (rq + a.mul_scalar(0.5) * rrq)
    }

    /// The same by the third-order expansion, where it is an ascent.
    fn procrustes_third_order(&self, q: Tensor<3>) -> Tensor<3> {
        const LARGEST: f64 = 1.0 / 3.0;
        let r = self.unit_skew(q.clone());
        let rq = r.clone().matmul(q.clone());
        let rrq = r.clone().matmul(rq.clone());
        let rrrq = r.matmul(rrq.clone());
        let (t1, t2, t3) = (trace(rq.clone()), trace(rrq.clone()), trace(rrrq.clone()));
        let useful = t1
            .clone()
            .greater_elem(0.0)
            .bool_and(t3.clone().lower_elem(0.0));
        let root = t2.clone().square() - (t1 * t3.clone()).mul_scalar(1.5);
        let root = root.clamp_min(0.0).sqrt();
        let best = (t2.neg() - root) / ceiled(t3.clone()).mul_scalar(0.75);
        let a = t3.zeros_like().mask_where(useful, best.clamp_max(LARGEST));
        let a = a.unsqueeze_dim::<3>(2);
        let higher = rrq + a.clone().mul_scalar(0.25) * rrrq;
        q + a.clone() * (rq + a.mul_scalar(0.5) * higher)
    }

    /// `Qᵀ - Q`, divided by its norm.
    fn unit_skew(&self, q: Tensor<3>) -> Tensor<3> {
        let r = q.clone().swap_dims(1, 2) - q;
        let norm = floored(self.norm.of(r.clone()));
        r / norm.unsqueeze_dim::<3>(2)
    }
}

/// The smallest divisor: keeps zero over zero at zero.
const TINY: f64 = 1e-37;

/// A divisor that is not negative, kept from zero.
pub(super) fn floored<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clamp_min(TINY)
}

/// A divisor that is negative where it counts, kept from zero.
fn ceiled(x: Tensor<2>) -> Tensor<2> {
    x.clamp_max(-TINY)
}

/// The largest magnitude of each matrix, `[k, 1]`.
pub(super) fn largest(x: Tensor<3>) -> Tensor<2> {
    let [k, m, n] = x.dims();
    x.abs().reshape([k, m * n]).max_dim(1)
}

/// The identity of a dimension, which broadcasts over stacks like `x`.
pub(super) fn identity(d: usize, x: &Tensor<3>) -> Tensor<3> {
    Tensor::<2>::eye(d, &x.device()).cast(x.dtype()).unsqueeze()
}

/// `[k, 1]`.
fn trace(x: Tensor<3>) -> Tensor<2> {
    let [k, d, _] = x.dims();
    let eye = identity(d, &x);
    (x * eye).reshape([k, d * d]).sum_dim(1)
}

/// `tr(A B)` as `[k, 1]`.
fn trace_of_product(a: Tensor<3>, b: Tensor<3>) -> Tensor<2> {
    let [k, d, _] = a.dims();
    (a * b.swap_dims(1, 2)).reshape([k, d * d]).sum_dim(1)
}

/// `old` where the flag `[k, 1]` is set.
fn keep(flag: &Tensor<2, Bool>, old: Tensor<3>, new: Tensor<3>) -> Tensor<3> {
    let flag = flag.clone().unsqueeze_dim::<3>(2).expand(new.dims());
    new.mask_where(flag, old)
}
