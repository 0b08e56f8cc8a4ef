//! The preconditioner of a stack: factors, and what was made of them.

use burn::tensor::{DType, Tensor};
use osculate_linalg::{
    DeviceSolution, EighConfig, LinalgError, OrthogonalIterationConfig, Outcome, RootIteration,
    coupled_newton_inverse_root, eigh_inverse_root, higher_order_inverse_root,
};

use super::{EigenSolver, RootSolver, ShampooConfig};
use crate::engine::modes::{gram_diagonal, mode_product, mode_scale};
use crate::engine::{BlockState, Field, RuleError, Solve, put_rows, take_rows};
use crate::optimizers::kronecker::{
    BasisSolver, FACTOR, Kronecker, ema, identity, packed, packed_gram, packed_len, put_modes,
    take_modes, unpacked,
};

/// Names of the roots in the state, by mode.
const ROOT: [&str; 8] = [
    "root0", "root1", "root2", "root3", "root4", "root5", "root6", "root7",
];
/// Residual up to which a root by iteration is used.
const ROOT_TOLERANCE: f64 = 1e-2;

/// The modes with a diagonal factor.
#[derive(Debug)]
pub(super) struct Diagonals {
    pub modes: Vec<usize>,
    pub factors: Vec<Tensor<2>>,
}

impl Diagonals {
    pub fn fields(dims: &[usize], modes: &[usize], compute: DType) -> Vec<Field> {
        let fields = modes.iter();
        fields
            .map(|&mode| Field::new(FACTOR[mode], dims[mode], compute))
            .collect()
    }

    pub fn take(modes: Vec<usize>, state: &mut BlockState) -> Result<Self, RuleError> {
        let factors = take_modes(&FACTOR, &modes, state)?;
        Ok(Self { modes, factors })
    }

    pub fn put(self, state: &mut BlockState) -> Result<(), RuleError> {
        put_modes(&FACTOR, &self.modes, self.factors, state)
    }

    pub fn accumulate(&mut self, gradient: &Tensor<2>, dims: &[usize], keep: f64, add: f64) {
        for (factor, &mode) in self.factors.iter_mut().zip(&self.modes) {
            let new = gram_diagonal(gradient.clone(), dims, mode).mul_scalar(add);
            *factor = factor.clone().mul_scalar(keep) + new;
        }
    }

    /// `x ×_i (S_i + ρ)^-e`.
    pub fn precondition(
        &self,
        x: Tensor<2>,
        dims: &[usize],
        exponent: f64,
        corrected: impl Fn(Tensor<2>) -> Tensor<2>,
        config: &ShampooConfig,
    ) -> Tensor<2> {
        let factors = self.modes.iter().zip(&self.factors);
        factors.fold(x, |x, (&mode, factor)| {
            let scale = powers(corrected(factor.clone()), exponent, config);
            mode_scale(x, dims, mode, scale)
        })
    }
}

/// `(λ + ρ)^-e` of eigenvalues, `[k, d]`; ones where all are zero, as before the first refresh.
pub(super) fn powers(values: Tensor<2>, exponent: f64, config: &ShampooConfig) -> Tensor<2> {
    let values = values.clamp_min(0.0);
    let largest = values.clone().max_dim(1);
    let none = largest.clone().equal_elem(0.0).expand(values.dims());
    let ridge = largest.mul_scalar(config.relative_epsilon);
    let ridge = ridge.clamp_min(config.epsilon);
    let powers = (values + ridge).powf_scalar(-exponent);
    powers.mask_fill(none, 1.0)
}

/// Factors with inverse roots. Both are packed; a root is kept less the identity, so that it is the
/// identity before the first refresh.
#[derive(Debug)]
pub(super) struct Roots {
    pub modes: Vec<usize>,
    pub factors: Vec<Tensor<2>>,
    pub roots: Vec<Tensor<2>>,
    /// Whether each root was taken anew.
    renewed: Vec<bool>,
}

impl Roots {
    pub fn fields(dims: &[usize], modes: &[usize], compute: DType, root: DType) -> Vec<Field> {
        let fields = modes.iter().flat_map(|&mode| {
            let len = packed_len(dims[mode]);
            [
                Field::new(FACTOR[mode], len, compute),
                Field::new(ROOT[mode], len, root),
            ]
        });
        fields.collect()
    }

    pub fn take(modes: Vec<usize>, state: &mut BlockState) -> Result<Self, RuleError> {
        let roots = modes.iter().map(|&mode| state.get(ROOT[mode]));
        Ok(Self {
            roots: roots.collect::<Result<_, _>>()?,
            factors: take_modes(&FACTOR, &modes, state)?,
            renewed: vec![false; modes.len()],
            modes,
        })
    }

    pub fn put(self, state: &mut BlockState) -> Result<(), RuleError> {
        put_modes(&FACTOR, &self.modes, self.factors, state)?;
        let roots = self.modes.iter().zip(self.roots).zip(self.renewed);
        for ((&mode, root), _) in roots.filter(|(_, renewed)| *renewed) {
            state.put(ROOT[mode], root)?;
        }
        Ok(())
    }

    pub fn accumulate(&mut self, gradient: &Tensor<2>, dims: &[usize], keep: f64, add: f64) {
        for (factor, &mode) in self.factors.iter_mut().zip(&self.modes) {
            let new = packed_gram(gradient.clone(), dims, mode).mul_scalar(add);
            *factor = factor.clone().mul_scalar(keep) + new;
        }
    }

    pub fn precondition(&self, x: Tensor<2>, dims: &[usize]) -> Tensor<2> {
        let roots = self.modes.iter().zip(&self.roots);
        roots.fold(x, |x, (&mode, root)| {
            let d = dims[mode];
            let root = unpacked(root.clone(), d) + identity(root, d);
            mode_product(x, dims, mode, root)
        })
    }

    /// Takes new roots of the rows that `due` names for each factor.
    pub fn refresh(
        &mut self,
        dims: &[usize],
        due: impl Fn(usize, usize) -> Vec<usize>,
        corrected: impl Fn(Tensor<3>, &[usize]) -> Tensor<3>,
        solver: RootSolver,
        exponent: f64,
        config: &ShampooConfig,
    ) -> (bool, Vec<Solve>) {
        let (mut refreshed, mut solves) = (false, Vec::new());
        for index in 0..self.modes.len() {
            let rows = due(index, self.modes.len());
            if rows.is_empty() {
                continue;
            }
            refreshed = true;
            let (mode, d) = (self.modes[index], dims[self.modes[index]]);
            let factor = unpacked(take_rows(&self.factors[index], &rows), d);
            let factor = corrected(factor, &rows);
            let old = take_rows(&self.roots[index], &rows);
            let eye = identity(&old, d);
            let last = unpacked(old.clone(), d) + eye.clone();
            let (root, outcomes) = match invert(factor, last, solver, exponent, config) {
                Ok((root, outcomes)) => (packed(root - eye), messages(outcomes)),
                Err(error) => (old, vec![Err(error.to_string()); rows.len()]),
            };
            let outcomes = outcomes.into_iter().zip(&rows);
            solves.extend(outcomes.map(|(result, &row)| Solve {
                row,
                factor: mode,
                result,
            }));
            self.roots[index] = put_rows(self.roots[index].clone(), &rows, root);
            self.renewed[index] = true;
        }
        (refreshed, solves)
    }
}

fn messages(outcomes: Vec<Outcome>) -> Vec<Result<(), String>> {
    let outcomes = outcomes.into_iter();
    outcomes
        .map(|outcome| outcome.map(|_| ()).map_err(|failure| failure.to_string()))
        .collect()
}

/// The `p` of an exponent `1 / p`.
pub(super) fn whole_root(exponent: f64) -> Option<u32> {
    let p = exponent.recip().round();
    let whole = (1.0..=64.0).contains(&p) && (p * exponent - 1.0).abs() < 1e-9;
    whole.then_some(p as u32)
}

/// The inverse roots, with the last ones in the place of those that failed.
fn invert(
    factor: Tensor<3>,
    last: Tensor<3>,
    solver: RootSolver,
    exponent: f64,
    config: &ShampooConfig,
) -> Result<(Tensor<3>, Vec<Outcome>), LinalgError> {
    let ridge = config.ridge();
    let settings = RootIteration::default();
    let iterated = |solution: DeviceSolution, last| {
        let outcomes = solution.outcomes(ROOT_TOLERANCE)?;
        Ok((solution.or_last(ROOT_TOLERANCE, last)?, outcomes))
    };
    let p = whole_root(exponent).unwrap_or(1);
    match solver {
        RootSolver::Eigh => {
            let roots = eigh_inverse_root(factor, exponent, ridge, &EighConfig::default())?;
            let roots = roots.or_last(last)?;
            Ok((roots.roots, roots.outcomes))
        }
        RootSolver::CoupledNewton => iterated(
            coupled_newton_inverse_root(factor, p, ridge, &settings)?,
            last,
        ),
        RootSolver::HigherOrder(order) => {
            let solution = higher_order_inverse_root(factor, p, order, ridge, &settings)?;
            iterated(solution, last)
        }
    }
}

/// The eigenvalues that a basis finds: the diagonals of `Qᵀ S Q`, `[k, d]`.
pub(super) fn rayleigh(factor: Tensor<3>, basis: Tensor<3>) -> Tensor<2> {
    let [k, d, _] = basis.dims();
    let image = factor.matmul(basis.clone());
    (image * basis).sum_dim(1).reshape([k, d])
}

/// How a solver of eigenvectors is run, the first time and later.
pub(super) fn basis_solver(solver: EigenSolver, first: bool) -> BasisSolver {
    match solver {
        EigenSolver::Iteration(iterations) if !first => {
            BasisSolver::Iteration(OrthogonalIterationConfig {
                iterations,
                tolerance: None,
                sort: true,
            })
        }
        EigenSolver::Iteration(_) => BasisSolver::EighDescending,
        EigenSolver::Eigh => BasisSolver::Eigh,
    }
}

/// `x ×_i Q_i Λ_i^-e Q_iᵀ` over the modes of `kronecker`.
pub(super) fn precondition_in_basis(
    kronecker: &Kronecker,
    x: Tensor<2>,
    eigenvalues: &[Tensor<2>],
    exponent: f64,
    config: &ShampooConfig,
) -> Tensor<2> {
    let projected = kronecker.project(x);
    let scaled = kronecker.modes.iter().zip(eigenvalues);
    let scaled = scaled.fold(projected, |x, (&mode, values)| {
        let scale = powers(values.clone(), exponent, config);
        mode_scale(x, &kronecker.dims, mode, scale)
    });
    kronecker.unproject(scaled)
}

/// The second moment of the gradient in the eigenbases.
pub(super) fn corrected_moment(v: Tensor<2>, projected: Tensor<2>, beta: f64) -> Tensor<2> {
    let squares = projected.square();
    if beta < 1.0 {
        ema(v, squares, beta)
    } else {
        v + squares
    }
}
