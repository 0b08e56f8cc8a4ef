//! The factors of a Kronecker product, and how they are fitted.

use burn::tensor::{Bool, Tensor};

use super::descent::{Preconditioner, Rows, Update};
use super::factor::Factor;
use super::geometry::{Direction, PsgdGeometry, identity};
use super::kron::PsgdKron;
use super::precondition::{STATISTICS_LIMIT, limited};
use crate::engine::modes::{gram, gram_diagonal};
use crate::engine::{BlockState, RuleError, Stack, put_rows, take_rows};

/// Names of the factors.
pub(super) const FACTORS: [&str; 8] = ["q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7"];
/// The Lipschitz bounds of all factors.
pub(super) const BOUNDS: &str = "lipschitz";
/// Updates between two balancings of the factors' magnitudes.
const BALANCING: u64 = 100;

/// The factors of a stack, with their Lipschitz bounds `[k, r]`.
pub(super) struct Factors {
    factors: Vec<Factor>,
    bounds: Tensor<2>,
}

impl Rows for Factors {
    fn rows(&self, rows: &[usize]) -> Self {
        Self {
            factors: self.factors.iter().map(|q| q.rows(rows)).collect(),
            bounds: take_rows(&self.bounds, rows),
        }
    }

    fn with_rows(self, rows: &[usize], part: Self) -> Self {
        let factors = self.factors.into_iter().zip(part.factors);
        Self {
            factors: factors.map(|(q, part)| q.with_rows(rows, part)).collect(),
            bounds: put_rows(self.bounds, rows, part.bounds),
        }
    }
}

impl Preconditioner for PsgdKron {
    type State = Factors;

    fn take(&self, state: &mut BlockState, dims: &[usize]) -> Result<Factors, RuleError> {
        let kinds = self.kinds(dims).into_iter().zip(dims).zip(FACTORS);
        let factors = kinds.map(|((kind, &d), name)| {
            let packed = state.take(name)?;
            Ok(Factor::unpack(packed, kind, d))
        });
        Ok(Factors {
            factors: factors.collect::<Result<_, RuleError>>()?,
            bounds: state.take(BOUNDS)?,
        })
    }

    fn put(&self, state: &mut BlockState, own: Factors) -> Result<(), RuleError> {
        for (factor, name) in own.factors.into_iter().zip(FACTORS) {
            state.put(name, factor.pack())?;
        }
        state.put(BOUNDS, own.bounds)
    }

    fn start(&self, state: Factors, stack: &Stack<'_>, scale: Tensor<2>) -> Factors {
        let power = if self.descent.geometry.fits_p() {
            2.0
        } else {
            1.0
        };
        let scale = scale.powf_scalar(power / stack.dims.len() as f64);
        let factors = state.factors.into_iter();
        Factors {
            factors: factors.map(|q| q.plus_identity(scale.clone())).collect(),
            ..state
        }
    }

    fn is_there(&self, state: &Factors) -> Tensor<2, Bool> {
        state.factors[0].is_there()
    }

    fn whitens_with_probe(&self) -> bool {
        self.descent.geometry == PsgdGeometry::Eq
    }

    fn update(&self, state: Factors, update: Update<'_>) -> Factors {
        let geometry = self.descent.geometry;
        let balance = update.index % BALANCING == BALANCING - 1;
        let factors = if balance || geometry == PsgdGeometry::Qep {
            Factor::balanced(state.factors)
        } else {
            state.factors
        };
        let source = update.source.clone();
        let x = if geometry == PsgdGeometry::Eq {
            Factor::apply_all(&factors, source, update.dims)
        } else {
            self.preconditioned(&factors, source, update.dims)
        };
        let x = limited(x, STATISTICS_LIMIT);
        let target = self.target(&factors, &update);
        let moved = factors.into_iter().enumerate().map(|(mode, q)| {
            let in_factor = |x: &Tensor<2>| match geometry {
                PsgdGeometry::Qep => q.apply(x.clone(), update.dims, mode),
                _ => x.clone(),
            };
            let pair = FactorPair {
                dims: update.dims,
                mode,
                x: in_factor(&x),
                target: target.as_ref().map(in_factor),
                live: &update.live,
            };
            self.moved(q, state.bounds.clone().narrow(1, mode, 1), &pair)
        });
        let (factors, bounds): (Vec<_>, Vec<_>) = moved.unzip();
        Factors {
            factors,
            bounds: Tensor::cat(bounds, 1),
        }
    }

    fn apply(&self, state: &Factors, x: Tensor<2>, dims: &[usize]) -> Tensor<2> {
        self.preconditioned(&state.factors, x, dims)
    }
}

impl PsgdKron {
    /// `P x`, or `Q x` where the factors are those of `P`.
    fn preconditioned(&self, factors: &[Factor], x: Tensor<2>, dims: &[usize]) -> Tensor<2> {
        if self.descent.geometry.fits_p() {
            return Factor::apply_all(factors, x, dims);
        }
        let squares: Vec<Factor> = factors.iter().map(Factor::squared).collect();
        Factor::apply_all(&squares, x, dims)
    }

    /// What the probes are compared with the sources in: `v`, or `Q^-T v` in the EQ geometry.
    fn target(&self, factors: &[Factor], update: &Update<'_>) -> Option<Tensor<2>> {
        let probe = update.probe.clone()?;
        if self.descent.geometry != PsgdGeometry::Eq {
            return Some(probe);
        }
        let solved = Factor::solve_all(factors, probe, update.dims);
        Some(limited(solved, STATISTICS_LIMIT))
    }

    /// A factor after its step, and its Lipschitz bound.
    fn moved(&self, q: Factor, bound: Tensor<2>, pair: &FactorPair<'_>) -> (Factor, Tensor<2>) {
        let geometry = self.descent.geometry;
        match q {
            Factor::Diagonal(q) => {
                let (t1, t2) = pair.diagonals(&q, geometry);
                let norm = (t1.clone() + t2.clone()).max_dim(1);
                let (bound, mu) = self.settings.step_size(bound, norm, pair.live);
                let q = self.descent.diagonal(q, t1 - t2, mu);
                (Factor::Diagonal(q), bound)
            }
            Factor::Dense(q, storage) => {
                let (t1, t2) = pair.matrices(&q, geometry);
                let norm = self.descent.norm.of(t1.clone() + t2.clone());
                let (bound, mu) = self.settings.step_size(bound, norm, pair.live);
                let q = self.descent.dense(q, &Direction::Matrix(t1 - t2), mu);
                (Factor::Dense(q, storage), bound)
            }
        }
    }
}

/// The pair that one factor is fitted to.
struct FactorPair<'a> {
    dims: &'a [usize],
    mode: usize,
    /// `X` and the target, in the coordinates of the factor.
    x: Tensor<2>,
    target: Option<Tensor<2>>,
    live: &'a Tensor<2, Bool>,
}

impl FactorPair<'_> {
    /// Elements of a block for each element of the dimension.
    fn per_row(&self) -> f64 {
        let n: usize = self.dims.iter().product();
        n as f64 / self.dims[self.mode] as f64
    }

    /// The diagonals of `T1` and `T2`, `[k, d]`.
    fn diagonals(&self, q: &Tensor<2>, geometry: PsgdGeometry) -> (Tensor<2>, Tensor<2>) {
        let t1 = gram_diagonal(self.x.clone(), self.dims, self.mode);
        let t2 = match (&self.target, geometry) {
            (Some(target), _) => gram_diagonal(target.clone(), self.dims, self.mode),
            (None, PsgdGeometry::Qep) => q.clone().square().mul_scalar(self.per_row()),
            (None, _) => q.ones_like().mul_scalar(self.per_row()),
        };
        (t1, t2)
    }

    /// `T1` and `T2`, `[k, d, d]` or `[1, d, d]`.
    fn matrices(&self, q: &Tensor<3>, geometry: PsgdGeometry) -> (Tensor<3>, Tensor<3>) {
        let t1 = gram(self.x.clone(), self.dims, self.mode);
        let t2 = match (&self.target, geometry) {
            (Some(target), _) => gram(target.clone(), self.dims, self.mode),
            (None, PsgdGeometry::Qep) => {
                osculate_linalg::gram(q.clone()).mul_scalar(self.per_row())
            }
            (None, _) => identity(q.dims()[1], q).mul_scalar(self.per_row()),
        };
        (t1, t2)
    }
}
