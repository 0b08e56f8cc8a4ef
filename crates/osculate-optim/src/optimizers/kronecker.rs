//! Kronecker factors of a block and their eigenbases, as the rules of the Shampoo family keep them.

use burn::tensor::{Bool, DType, Int, Tensor};
use osculate_jvp::is_cpu;
use osculate_linalg::{
    EighConfig, OrthogonalIterationConfig, Outcome, Triangle, eigh, off_diagonality,
    orthogonal_iteration, pack, packed_shape, unpack_symmetric,
};

use crate::engine::modes::mode_product;
use crate::engine::{
    BlockState, Field, Refresh, RefreshSchedule, Row, RuleError, Solve, put_rows, take_rows,
};

/// Names of the factors in the state, by mode.
pub(super) const FACTOR: [&str; 8] = [
    "factor0", "factor1", "factor2", "factor3", "factor4", "factor5", "factor6", "factor7",
];
/// Names of the eigenbases in the state, by mode.
pub(super) const BASIS: [&str; 8] = [
    "basis0", "basis1", "basis2", "basis3", "basis4", "basis5", "basis6", "basis7",
];

/// Names of the eigenvalues in the state, by mode.
pub(super) const EIGENVALUES: [&str; 8] = [
    "eigenvalues0",
    "eigenvalues1",
    "eigenvalues2",
    "eigenvalues3",
    "eigenvalues4",
    "eigenvalues5",
    "eigenvalues6",
    "eigenvalues7",
];

/// The modes of a block that have a factor: those longer than 1, at most `max`, and in proportion to the
/// block; of a block with one dimension none.
pub(super) fn factored_modes(dims: &[usize], max: usize, skew: f64) -> Vec<usize> {
    if dims.len() < 2 {
        return Vec::new();
    }
    let modes = 0..dims.len().min(FACTOR.len());
    modes
        .filter(|&mode| dims[mode] > 1 && dims[mode] <= max)
        .filter(|&mode| proportionate(dims, mode, SHORT, skew))
        .collect()
}

/// Dimensions of up to this have their basis in SOAP and in the KL methods, whatever the block.
const SHORT: usize = 1024;

/// Whether a matrix of a mode's size is in proportion to the block: `d² ≤ skew n`, or `d` is short.
pub(super) fn proportionate(dims: &[usize], mode: usize, short: usize, skew: f64) -> bool {
    let (d, n) = (dims[mode] as f64, dims.iter().product::<usize>() as f64);
    dims[mode] <= short || d * d <= skew * n
}

/// About the multiplications of decomposing the factors of some modes: ten for each cube of a dimension.
pub(super) fn decompositions(dims: &[usize], modes: &[usize]) -> f64 {
    let cubes = modes.iter().map(|&mode| (dims[mode] as f64).powi(3));
    10.0 * cubes.sum::<f64>()
}

/// The shortest of some modes.
pub(super) fn shortest(dims: &[usize], modes: Vec<usize>) -> Vec<usize> {
    let shortest = modes.into_iter().min_by_key(|&mode| dims[mode]);
    shortest.into_iter().collect()
}

/// Takes the tensors of some modes, by the names of all eight.
pub(super) fn take_modes(
    names: &[&str],
    modes: &[usize],
    state: &mut BlockState,
) -> Result<Vec<Tensor<2>>, RuleError> {
    modes.iter().map(|&mode| state.take(names[mode])).collect()
}

/// Undoes [`take_modes`].
pub(super) fn put_modes(
    names: &[&str],
    modes: &[usize],
    tensors: Vec<Tensor<2>>,
    state: &mut BlockState,
) -> Result<(), RuleError> {
    let mut pairs = modes.iter().zip(tensors);
    pairs.try_for_each(|(&mode, tensor)| state.put(names[mode], tensor))
}

/// Elements of a symmetric matrix in packed form.
pub(super) fn packed_len(d: usize) -> usize {
    packed_shape(d).iter().product()
}

/// Symmetric matrices as rows of packed elements.
#[expect(clippy::expect_used, reason = "a factor is square")]
pub(super) fn packed(matrices: Tensor<3>) -> Tensor<2> {
    let [k, d, _] = matrices.dims();
    let packed = pack(matrices, Triangle::Lower).expect("square matrices");
    packed.reshape([k, packed_len(d)])
}

/// The Gram matrices of a stack along a mode, as rows of packed elements.
#[expect(clippy::expect_used, reason = "a rule's stacks have its dimensions")]
pub(super) fn packed_gram(x: Tensor<2>, dims: &[usize], mode: usize) -> Tensor<2> {
    let k = x.dims()[0];
    let gram = osculate_linalg::packed_gram(x, dims, mode).expect("a stack of these dimensions");
    gram.reshape([k, packed_len(dims[mode])])
}

/// Undoes [`packed`].
#[expect(
    clippy::expect_used,
    reason = "the field has the length of the packed form"
)]
pub(super) fn unpacked(rows: Tensor<2>, d: usize) -> Tensor<3> {
    let [k, _] = rows.dims();
    let [height, width] = packed_shape(d);
    let rows = rows.reshape([k, height, width]);
    unpack_symmetric(rows, d).expect("packed matrices of this size")
}

/// The identity, which broadcasts over a stack.
pub(super) fn identity(like: &Tensor<2>, d: usize) -> Tensor<3> {
    let eye = Tensor::<2>::eye(d, &like.device()).cast(like.dtype());
    eye.unsqueeze::<3>()
}

/// `beta old + (1 - beta) new`.
pub(super) fn ema<const D: usize>(old: Tensor<D>, new: Tensor<D>, beta: f64) -> Tensor<D> {
    old.mul_scalar(beta) + new.mul_scalar(1.0 - beta)
}

/// Whether no flag is set, on a CPU, where looking waits for nothing and costs less than a mask over a stack;
/// elsewhere nothing is known.
pub(super) fn known_unset(flags: &Tensor<2, Bool>) -> bool {
    let any = || flags.to_data().iter::<bool>().any(|flag| flag);
    is_cpu(&flags.device()) && !any()
}

/// `new` where the flag of a row, `[k, 1]`, is not set, and `old` where it is.
pub(super) fn unless(flag: &Tensor<2, Bool>, new: Tensor<2>, old: Tensor<2>) -> Tensor<2> {
    if known_unset(flag) {
        return new;
    }
    let flag = flag.clone().expand(new.dims());
    new.mask_where(flag, old)
}

/// When a method's factors are refreshed: blocks and their factors in turns, or all in one step.
#[derive(Debug, Clone)]
pub(super) struct FactorSchedule {
    refresh: Refresh,
    staggered: bool,
}

impl FactorSchedule {
    /// Tabulates a valid schedule.
    pub fn new(schedule: RefreshSchedule, staggered: bool) -> Self {
        Self {
            refresh: Refresh::new(schedule),
            staggered,
        }
    }

    /// The rows whose factor, one of `factors` in a block, is due at `step`.
    pub fn due(&self, rows: &[Row], step: u64, factor: usize, factors: usize) -> Vec<usize> {
        let phase = |row: &Row| {
            if self.staggered {
                row.phase * factors as u64 + factor as u64
            } else {
                0
            }
        };
        (0..rows.len())
            .filter(|&at| self.refresh.due(step, phase(&rows[at])))
            .collect()
    }
}

/// How an eigenbasis is refreshed.
#[derive(Debug, Clone, Copy)]
pub(super) enum BasisSolver {
    /// Decomposes anew, in ascending order of eigenvalues.
    Eigh,
    /// Decomposes anew, in descending order of eigenvalues.
    EighDescending,
    /// Improves the old basis.
    Iteration(OrthogonalIterationConfig),
}

/// The factors of a stack of blocks, with their eigenbases, in the course of a step.
#[derive(Debug)]
pub(super) struct Kronecker {
    pub dims: Vec<usize>,
    /// The modes that have a factor.
    pub modes: Vec<usize>,
    /// The factors, packed.
    pub factors: Vec<Tensor<2>>,
    pub bases: Vec<Tensor<3>>,
    /// Whether each basis was refreshed.
    refreshed: Vec<bool>,
}

/// A basis that changed in some rows.
#[derive(Debug)]
pub(super) struct BasisChange {
    mode: usize,
    rows: Vec<usize>,
    /// `Q_newᵀ Q_old`: takes what is kept in the old basis to the new one.
    rotation: Tensor<3>,
    /// For each new column, the old one that it came from; `None` where columns have no past.
    order: Option<Tensor<2, Int>>,
}

impl Kronecker {
    /// The state tensors of a block: factors packed, bases in `basis` type.
    pub fn fields(dims: &[usize], modes: &[usize], compute: DType, basis: DType) -> Vec<Field> {
        let fields = modes.iter().flat_map(|&mode| {
            let d = dims[mode];
            [
                Field::new(FACTOR[mode], packed_len(d), compute),
                Field::new(BASIS[mode], d * d, basis),
            ]
        });
        fields.collect()
    }

    /// Takes the state tensors of [`fields`](Self::fields). A basis is kept less the identity, so
    /// that it is the identity before the first refresh.
    pub fn take(
        dims: &[usize],
        modes: Vec<usize>,
        state: &mut BlockState,
    ) -> Result<Self, RuleError> {
        let factors = take_modes(&FACTOR, &modes, state)?;
        let bases = modes.iter().map(|&mode| {
            let basis = state.get(BASIS[mode])?;
            let (k, d) = (basis.dims()[0], dims[mode]);
            let eye = identity(&basis, d);
            Ok(basis.reshape([k, d, d]) + eye)
        });
        Ok(Self {
            dims: dims.to_vec(),
            bases: bases.collect::<Result<_, RuleError>>()?,
            refreshed: vec![false; modes.len()],
            modes,
            factors,
        })
    }

    /// Puts the state tensors back.
    pub fn put(self, state: &mut BlockState) -> Result<(), RuleError> {
        let bases = self.bases.into_iter().zip(self.refreshed);
        for ((&mode, factor), (basis, refreshed)) in self.modes.iter().zip(&self.factors).zip(bases)
        {
            if refreshed {
                let (k, d) = (factor.dims()[0], self.dims[mode]);
                let basis = basis - identity(factor, d);
                state.put(BASIS[mode], basis.reshape([k, d * d]))?;
            }
        }
        put_modes(&FACTOR, &self.modes, self.factors, state)
    }

    /// To the eigenbases.
    pub fn project(&self, x: Tensor<2>) -> Tensor<2> {
        let bases = self.modes.iter().zip(&self.bases);
        bases.fold(x, |x, (&mode, basis)| {
            mode_product(x, &self.dims, mode, basis.clone().swap_dims(1, 2))
        })
    }

    /// From the eigenbases.
    pub fn unproject(&self, x: Tensor<2>) -> Tensor<2> {
        let bases = self.modes.iter().zip(&self.bases);
        bases.fold(x, |x, (&mode, basis)| {
            mode_product(x, &self.dims, mode, basis.clone())
        })
    }

    /// Adds the Gram matrices of a gradient to the factors: `S ← keep S + add G Gᵀ`.
    pub fn accumulate(&mut self, gradient: &Tensor<2>, keep: f64, add: f64) {
        for (factor, &mode) in self.factors.iter_mut().zip(&self.modes) {
            let new = packed_gram(gradient.clone(), &self.dims, mode).mul_scalar(add);
            *factor = factor.clone().mul_scalar(keep) + new;
        }
    }

    /// Refreshes the bases of the rows that `due` names for each factor, but those whose basis is
    /// within the tolerance.
    pub fn refresh(
        &mut self,
        due: impl Fn(usize, usize) -> Vec<usize>,
        solver: BasisSolver,
        tolerance: Option<f64>,
    ) -> (Vec<BasisChange>, Vec<Solve>) {
        let (mut changes, mut solves) = (Vec::new(), Vec::new());
        for index in 0..self.modes.len() {
            let mut rows = due(index, self.modes.len());
            if rows.is_empty() {
                continue;
            }
            let (mode, basis) = (self.modes[index], self.bases[index].clone());
            let mut old = take_rows(&basis, &rows);
            let mut factor = unpacked(take_rows(&self.factors[index], &rows), self.dims[mode]);
            if let (Some(tolerance), BasisSolver::Eigh | BasisSolver::EighDescending) =
                (tolerance, solver)
            {
                let far = beyond(&factor, &old, tolerance);
                if far.is_empty() {
                    continue;
                }
                (old, factor) = (take_rows(&old, &far), take_rows(&factor, &far));
                rows = far.into_iter().map(|at| rows[at]).collect();
            }
            let (new, order, outcomes) = solve(factor, old.clone(), solver, tolerance);
            let failures = outcomes.into_iter().zip(&rows);
            solves.extend(failures.map(|(outcome, &row)| Solve {
                row,
                factor: mode,
                result: outcome,
            }));
            self.bases[index] = put_rows(basis, &rows, new.clone());
            self.refreshed[index] = true;
            changes.push(BasisChange {
                mode,
                rows,
                rotation: new.swap_dims(1, 2).matmul(old),
                order,
            });
        }
        (changes, solves)
    }
}

impl BasisChange {
    /// Takes a moment, kept in the old basis, to the new one.
    pub fn rotate(&self, x: Tensor<2>, dims: &[usize]) -> Tensor<2> {
        let rows = take_rows(&x, &self.rows);
        let rotated = mode_product(rows, dims, self.mode, self.rotation.clone());
        put_rows(x, &self.rows, rotated)
    }

    /// Reorders a second moment, kept along the old columns, by the new ones.
    pub fn reorder(&self, x: Tensor<2>, dims: &[usize]) -> Tensor<2> {
        let Some(order) = &self.order else { return x };
        let rows = take_rows(&x, &self.rows);
        let [k, n] = rows.dims();
        let before: usize = dims[..self.mode].iter().product();
        let d = dims[self.mode];
        let after = n / (before * d);
        let index = order
            .clone()
            .reshape([k, 1, d, 1])
            .expand([k, before, d, after]);
        let ordered = rows.reshape([k, before, d, after]).gather(2, index);
        put_rows(x, &self.rows, ordered.reshape([k, n]))
    }
}

/// Positions of the matrices whose basis is farther than the tolerance from the eigenvectors.
/// Reads a number for each back.
fn beyond(factor: &Tensor<3>, basis: &Tensor<3>, tolerance: f64) -> Vec<usize> {
    let all = (0..factor.dims()[0]).collect();
    let Ok(off) = off_diagonality(factor.clone(), basis.clone()) else {
        return all;
    };
    match off.try_into_data() {
        // A NaN is left to the solver to report.
        Ok(data) => {
            let far = data
                .iter::<f64>()
                .map(|off| off.is_nan() || off > tolerance);
            far.enumerate()
                .filter(|(_, far)| *far)
                .map(|(at, _)| at)
                .collect()
        }
        Err(_) => all,
    }
}

type Basis = (Tensor<3>, Option<Tensor<2, Int>>, Vec<Result<(), String>>);

fn solve(factor: Tensor<3>, old: Tensor<3>, solver: BasisSolver, tolerance: Option<f64>) -> Basis {
    let k = factor.dims()[0];
    let messages = |outcomes: Vec<Outcome>| {
        let results = outcomes.into_iter();
        results
            .map(|outcome| outcome.map(|_| ()).map_err(|failure| failure.to_string()))
            .collect()
    };
    match solver {
        BasisSolver::Iteration(mut config) => {
            config.tolerance = config.tolerance.or(tolerance);
            match orthogonal_iteration(factor, old.clone(), &config) {
                Ok(basis) => (basis.vectors, Some(basis.order), messages(basis.outcomes)),
                Err(error) => (old, None, vec![Err(error.to_string()); k]),
            }
        }
        BasisSolver::Eigh | BasisSolver::EighDescending => {
            let solved = eigh(factor, &EighConfig::default()).and_then(|mut eigen| {
                if matches!(solver, BasisSolver::EighDescending) {
                    eigen.vectors = eigen.vectors.flip([2]);
                }
                let values = eigen.values.clone();
                eigen.or_last(values, old.clone())
            });
            match solved {
                Ok(eigen) => (eigen.vectors, None, messages(eigen.outcomes)),
                Err(error) => (old, None, vec![Err(error.to_string()); k]),
            }
        }
    }
}
