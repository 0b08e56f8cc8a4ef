//! Values with tangents, and the combinators that the rules are written in.

use burn_backend::TensorMetadata;
use burn_backend::ops::{BoolTensorOps, FloatTensorOps};
use burn_backend::{Scalar, Shape};
use burn_dispatch::{Dispatch, DispatchTensor};

/// A tensor of any rank, kind and backend.
pub(crate) type Value = DispatchTensor;

/// A value and its derivative along each direction. A missing tangent is zero.
///
/// Combinators compute what all directions share once, and hand on values without tangents, so that
/// a backend can work in their memory after their last use. All arithmetic is made of operations that
/// autodiff tracks, so that a tangent can itself be differentiated backward.
#[derive(Clone, Debug)]
pub(crate) struct Dual {
    pub(crate) value: Value,
    tangents: Vec<Option<Value>>,
}

impl Dual {
    pub(crate) fn constant(value: Value) -> Self {
        Self {
            value,
            tangents: Vec::new(),
        }
    }

    pub(crate) fn new(value: Value, tangents: Vec<Option<Value>>) -> Self {
        Self { value, tangents }
    }

    /// Whether any direction has a tangent.
    pub(crate) fn is_active(&self) -> bool {
        self.tangents.iter().any(Option::is_some)
    }

    pub(crate) fn tangent(&self, direction: usize) -> Option<&Value> {
        self.tangents.get(direction).and_then(Option::as_ref)
    }

    pub(crate) fn shape(&self) -> Shape {
        self.value.shape()
    }

    /// `f` of the value, with each tangent mapped by `tangent`.
    pub(crate) fn map_tangents(&self, value: Value, tangent: impl Fn(Value) -> Value) -> Dual {
        Dual {
            value,
            tangents: self
                .tangents
                .iter()
                .map(|d| d.clone().map(&tangent))
                .collect(),
        }
    }

    /// A linear function: the tangent goes through the function itself.
    pub(crate) fn linear(self, f: impl Fn(Value) -> Value) -> Dual {
        Dual {
            value: f(self.value),
            tangents: self.tangents.into_iter().map(|d| d.map(&f)).collect(),
        }
    }

    /// An elementwise function `y = f(x)` with tangent `slope(x, y) ẋ`.
    pub(crate) fn unary(
        self,
        f: impl FnOnce(Value) -> Value,
        slope: impl FnOnce(Value, Value) -> Value,
    ) -> Dual {
        if !self.is_active() {
            return Dual::constant(f(self.value));
        }
        let y = f(self.value.clone());
        let slope = slope(self.value.clone(), y.clone());
        self.map_tangents(y, |d| Dispatch::float_mul(d, slope.clone()))
    }

    /// A bilinear function: `f(ȧ, b) + f(a, ḃ)`.
    pub(crate) fn bilinear(self, rhs: Dual, f: impl Fn(Value, Value) -> Value) -> Dual {
        if !self.is_active() && !rhs.is_active() {
            return Dual::constant(f(self.value, rhs.value));
        }
        let value = f(self.value.clone(), rhs.value.clone());
        let shape = value.shape();
        merge(value, &[&self, &rhs], |direction| {
            let left = self
                .tangent(direction)
                .map(|d| f(d.clone(), rhs.value.clone()));
            let right = rhs
                .tangent(direction)
                .map(|d| f(self.value.clone(), d.clone()));
            sum(left, right, &shape)
        })
    }

    pub(crate) fn add(self, rhs: Dual) -> Dual {
        if !self.is_active() && !rhs.is_active() {
            return Dual::constant(Dispatch::float_add(self.value, rhs.value));
        }
        let value = Dispatch::float_add(self.value.clone(), rhs.value.clone());
        let shape = value.shape();
        merge(value, &[&self, &rhs], |direction| {
            sum(
                self.tangent(direction).cloned(),
                rhs.tangent(direction).cloned(),
                &shape,
            )
        })
    }

    pub(crate) fn sub(self, rhs: Dual) -> Dual {
        if !self.is_active() && !rhs.is_active() {
            return Dual::constant(Dispatch::float_sub(self.value, rhs.value));
        }
        let value = Dispatch::float_sub(self.value.clone(), rhs.value.clone());
        let shape = value.shape();
        merge(value, &[&self, &rhs], |direction| {
            difference(
                self.tangent(direction).cloned(),
                rhs.tangent(direction).cloned(),
                &shape,
            )
        })
    }

    pub(crate) fn mul(self, rhs: Dual) -> Dual {
        self.bilinear(rhs, Dispatch::float_mul)
    }

    /// `a / b` with tangent `(ȧ - y ḃ) / b`.
    pub(crate) fn div(self, rhs: Dual) -> Dual {
        if !self.is_active() && !rhs.is_active() {
            return Dual::constant(Dispatch::float_div(self.value, rhs.value));
        }
        let value = Dispatch::float_div(self.value.clone(), rhs.value.clone());
        let shape = value.shape();
        merge(value.clone(), &[&self, &rhs], |direction| {
            let right = rhs
                .tangent(direction)
                .map(|d| Dispatch::float_mul(value.clone(), d.clone()));
            difference(self.tangent(direction).cloned(), right, &shape)
                .map(|d| Dispatch::float_div(d, rhs.value.clone()))
        })
    }

    pub(crate) fn scale(self, factor: impl Into<Scalar>) -> Dual {
        let factor = factor.into();
        self.linear(|x| Dispatch::float_mul_scalar(x, factor))
    }

    pub(crate) fn shift(self, by: impl Into<Scalar>) -> Dual {
        let value = Dispatch::float_add_scalar(self.value, by.into());
        Dual {
            value,
            tangents: self.tangents,
        }
    }

    pub(crate) fn reshape(self, shape: Shape) -> Dual {
        self.linear(|x| Dispatch::float_reshape(x, shape.clone()))
    }

    pub(crate) fn gather(self, dim: usize, indices: Value) -> Dual {
        self.linear(|x| Dispatch::float_gather(dim, x, indices.clone()))
    }

    /// Elements `y` that were picked from this value along `dim`.
    pub(crate) fn gather_tangents(self, y: Value, dim: usize, indices: Value) -> Dual {
        self.map_tangents(y, |d| Dispatch::float_gather(dim, d, indices.clone()))
    }

    /// `other` where `mask` is set, this elsewhere. The three may broadcast.
    pub(crate) fn mask_where(self, mask: Value, other: Dual) -> Dual {
        if !self.is_active() && !other.is_active() {
            let value = Dispatch::float_mask_where(self.value, mask, other.value);
            return Dual::constant(value);
        }
        let value =
            Dispatch::float_mask_where(self.value.clone(), mask.clone(), other.value.clone());
        let shape = value.shape();
        let wide = fit_bool(mask, &shape);
        merge(value, &[&self, &other], |direction| {
            let kept = self.tangent(direction).map(|d| fit(d.clone(), &shape));
            match (
                kept,
                other.tangent(direction).map(|d| fit(d.clone(), &shape)),
            ) {
                (None, None) => None,
                (Some(kept), None) => Some(mask_fill(kept, wide.clone(), 0.0.into())),
                (kept, Some(taken)) => {
                    let kept = kept.unwrap_or_else(|| zeros_like(&taken));
                    Some(Dispatch::float_mask_where(kept, wide.clone(), taken))
                }
            }
        })
    }

    /// A constant where `mask` is set, this elsewhere.
    pub(crate) fn mask_fill(self, mask: Value, fill: Scalar) -> Dual {
        if !self.is_active() {
            return Dual::constant(mask_fill(self.value, mask, fill));
        }
        let value = mask_fill(self.value.clone(), mask.clone(), fill);
        let shape = value.shape();
        self.map_tangents(value, |d| {
            mask_fill(fit(d, &shape), mask.clone(), 0.0.into())
        })
    }
}

/// `fill` where `mask` is set, `x` elsewhere.
///
/// Somebody holds `x` meanwhile: burn's CPU backend would else fill it in place, with a branch for every element,
/// where it makes a new tensor with vector instructions.
pub(crate) fn mask_fill(x: Value, mask: Value, fill: Scalar) -> Value {
    let held = x.clone();
    let filled = Dispatch::float_mask_fill(x, mask, fill);
    drop(held);
    filled
}

/// A value whose tangent along each direction of any of `sources` is made by `tangent`.
pub(crate) fn merge(
    value: Value,
    sources: &[&Dual],
    tangent: impl Fn(usize) -> Option<Value>,
) -> Dual {
    let directions = sources.iter().map(|dual| dual.tangents.len()).max();
    Dual {
        value,
        tangents: (0..directions.unwrap_or(0)).map(tangent).collect(),
    }
}

/// The tangent `left ȧ + right ḃ`, for factors that are computed where their tangent exists.
pub(crate) fn weighted(
    value: Value,
    a: &Dual,
    left: Option<Value>,
    b: &Dual,
    right: Option<Value>,
) -> Dual {
    let shape = value.shape();
    let times = |d: Option<&Value>, factor: &Option<Value>| {
        Some(Dispatch::float_mul(d?.clone(), factor.clone()?))
    };
    merge(value, &[a, b], |direction| {
        sum(
            times(a.tangent(direction), &left),
            times(b.tangent(direction), &right),
            &shape,
        )
    })
}

/// A function that is linear in all of its arguments together, such as a concatenation. Missing
/// tangents enter as zeros.
pub(crate) fn jointly_linear(parts: &[Dual], f: impl Fn(Vec<Value>) -> Value) -> Dual {
    let value = f(parts.iter().map(|dual| dual.value.clone()).collect());
    let sources: Vec<&Dual> = parts.iter().collect();
    merge(value, &sources, |direction| {
        parts
            .iter()
            .any(|dual| dual.tangent(direction).is_some())
            .then(|| {
                f(parts
                    .iter()
                    .map(|dual| match dual.tangent(direction) {
                        Some(d) => d.clone(),
                        None => zeros_like(&dual.value),
                    })
                    .collect())
            })
    })
}

/// The sum of two tangents, as wide as `shape`.
pub(crate) fn sum(a: Option<Value>, b: Option<Value>, shape: &Shape) -> Option<Value> {
    match (a, b) {
        (Some(a), Some(b)) => Some(fit(Dispatch::float_add(a, b), shape)),
        (one, other) => one.or(other).map(|d| fit(d, shape)),
    }
}

fn difference(a: Option<Value>, b: Option<Value>, shape: &Shape) -> Option<Value> {
    match (a, b) {
        (Some(a), Some(b)) => Some(fit(Dispatch::float_sub(a, b), shape)),
        (Some(a), None) => Some(fit(a, shape)),
        (None, b) => b.map(|b| fit(Dispatch::float_neg(b), shape)),
    }
}

/// Expands a tangent that an operation broadcast.
pub(crate) fn fit(d: Value, shape: &Shape) -> Value {
    if d.shape() == *shape {
        d
    } else {
        Dispatch::float_expand(d, shape.clone())
    }
}

fn fit_bool(mask: Value, shape: &Shape) -> Value {
    if mask.shape() == *shape {
        mask
    } else {
        Dispatch::bool_expand(mask, shape.clone())
    }
}

/// An untracked zero of the same shape, element type and device.
pub(crate) fn zeros_like(value: &Value) -> Value {
    Dispatch::float_zeros(value.shape(), &value.device(), value.dtype().into())
}
