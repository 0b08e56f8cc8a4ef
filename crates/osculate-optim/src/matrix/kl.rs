//! What KL-Shampoo and KL-SOAP share: factors that are estimated with each other's inverse.

use burn::tensor::{Bool, DType, Tensor};
use osculate_linalg::{BlockPartition, MergeFrom, OrthogonalIterationConfig, merge_dims};

use super::kronecker::{
    BASIS, BasisSolver, EIGENVALUES, FACTOR, Kronecker, Turn, ema, factored_modes, packed_gram,
    unless,
};
use super::modes::{gram_diagonal, mode_product, mode_scale};
use super::rule::{Field, Solve, Stack, Stepped};
use super::schedule::Refresh;
use crate::config::Check;

/// Names of all state tensors of both methods.
pub(super) const FIELDS: [&str; 27] = [
    "m",
    "v",
    "bias",
    FACTOR[0],
    FACTOR[1],
    FACTOR[2],
    FACTOR[3],
    FACTOR[4],
    FACTOR[5],
    FACTOR[6],
    FACTOR[7],
    BASIS[0],
    BASIS[1],
    BASIS[2],
    BASIS[3],
    BASIS[4],
    BASIS[5],
    BASIS[6],
    BASIS[7],
    EIGENVALUES[0],
    EIGENVALUES[1],
    EIGENVALUES[2],
    EIGENVALUES[3],
    EIGENVALUES[4],
    EIGENVALUES[5],
    EIGENVALUES[6],
    EIGENVALUES[7],
];

/// The settings of the factors.
#[derive(Debug, Clone)]
pub(super) struct KlSettings {
    pub beta: f64,
    pub initial_eigenvalue: f64,
    pub clamp: f64,
    pub max_dim: usize,
    pub target_rank: usize,
    pub block_size: Option<usize>,
    pub staggered: bool,
    pub bf16_bases: bool,
}

/// The factors, eigenbases and eigenvalues of a stack in the course of a step.
///
/// A mode that is too long for a factor has eigenvalues alone, in the identity basis.
pub(super) struct KlFactors<'a> {
    settings: &'a KlSettings,
    pub kronecker: Kronecker,
    /// All modes longer than 1.
    modes: Vec<usize>,
    /// Eigenvalues of each of `modes`, `[k, d]`.
    eigenvalues: Vec<Tensor<2>>,
    /// Blocks without a gradient so far, `[k, 1]`.
    pub fresh: Tensor<2, Bool>,
}

/// The modes with eigenvalues: none of vectors and scalars.
fn all_modes(dims: &[usize]) -> Vec<usize> {
    factored_modes(dims, usize::MAX, false, false)
}

impl KlSettings {
    pub fn check(&self, check: Check) -> Check {
        let block = self.block_size.unwrap_or(1);
        check
            .decay("factor_beta", self.beta)
            .positive("initial_eigenvalue", self.initial_eigenvalue)
            .positive("clamp", self.clamp)
            .that(
                self.target_rank > 0,
                "target_rank",
                self.target_rank,
                "at least 1",
            )
            .that(block > 0, "block_size", block, "at least 1")
    }

    pub fn partition(&self, shape: &[usize]) -> BlockPartition {
        let dims = merge_dims(shape, self.max_dim, MergeFrom::Back, self.target_rank);
        BlockPartition::new(&dims, self.block_size.unwrap_or(usize::MAX))
    }

    /// The modes with a factor.
    fn modes(&self, dims: &[usize]) -> Vec<usize> {
        factored_modes(dims, self.max_dim, false, false)
    }

    /// Whether a block has factors at all.
    pub fn applies(dims: &[usize]) -> bool {
        !all_modes(dims).is_empty()
    }

    /// The state tensors of the factors of a block.
    pub fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let basis = if self.bf16_bases {
            DType::BF16
        } else {
            compute
        };
        let mut fields = Kronecker::fields(dims, &self.modes(dims), compute, basis);
        let values = all_modes(dims).into_iter();
        fields.extend(values.map(|mode| Field::new(EIGENVALUES[mode], dims[mode], compute)));
        fields
    }

    /// Takes the state tensors of [`fields`](Self::fields).
    pub fn take(
        &self,
        dims: &[usize],
        state: &mut impl Iterator<Item = Tensor<2>>,
    ) -> KlFactors<'_> {
        let kronecker = Kronecker::take(dims, self.modes(dims), state);
        let stored: Vec<Tensor<2>> = state.collect();
        // Eigenvalues are never zero once there are any.
        let fresh = stored[0].clone().narrow(1, 0, 1).equal_elem(0.0);
        let initial = |values: Tensor<2>| {
            let empty = values.clone().equal_elem(0.0);
            values.mask_fill(empty, self.initial_eigenvalue)
        };
        KlFactors {
            settings: self,
            kronecker,
            modes: all_modes(dims),
            eigenvalues: stored.into_iter().map(initial).collect(),
            fresh,
        }
    }
}

impl KlFactors<'_> {
    /// The state tensors after the step.
    pub fn into_state(self) -> Vec<Tensor<2>> {
        let mut state = self.kronecker.into_state();
        state.extend(self.eigenvalues);
        state
    }

    /// `λ^-1/2` of every mode as one scale for each element, in the eigenbases.
    pub fn inverse_roots(&self, like: &Tensor<2>) -> Tensor<2> {
        let ones = like.ones_like();
        self.scale(ones, None)
    }

    /// `x` times `λ^-1/2` of every mode but one.
    fn scale(&self, x: Tensor<2>, but: Option<usize>) -> Tensor<2> {
        let modes = self.modes.iter().zip(&self.eigenvalues);
        modes
            .filter(|(mode, _)| Some(**mode) != but)
            .fold(x, |x, (&mode, values)| {
                let root = values.clone().sqrt().recip();
                mode_scale(x, &self.kronecker.dims, mode, root)
            })
    }

    /// Estimates factors and eigenvalues anew, with the gradient whitened by the other factors:
    /// `S_i ← β S_i + (1 - β) G S_others^-1 Gᵀ / d_others`, and the eigenvalues alike.
    ///
    /// The first gradient of a block is not whitened, there being nothing to whiten it with, and
    /// leaves the eigenvalues at their initial value.
    pub fn estimate(&mut self, gradient: &Tensor<2>) {
        let beta = self.settings.beta;
        let dims = self.kronecker.dims.clone();
        let n: usize = dims.iter().product();
        let projected = self.kronecker.project(gradient.clone());
        let mut factors = Vec::with_capacity(self.kronecker.factors.len());
        for (index, &mode) in self.kronecker.modes.iter().enumerate() {
            let others = n / dims[mode];
            // Whitened along the other modes, in the original basis along this one.
            let basis = self.kronecker.bases[index].clone();
            let whitened = self.scale(projected.clone(), Some(mode));
            let whitened = mode_product(whitened, &dims, mode, basis);
            let first = self.fresh.clone().expand(whitened.dims());
            let whitened = whitened.mask_where(first, gradient.clone());
            let new = packed_gram(whitened, &dims, mode).div_scalar(others as f64);
            factors.push(ema(self.kronecker.factors[index].clone(), new, beta));
        }
        self.kronecker.factors = factors;
        let estimates: Vec<Tensor<2>> = self
            .modes
            .iter()
            .map(|&mode| {
                let whitened = self.scale(projected.clone(), Some(mode));
                gram_diagonal(whitened, &dims, mode).div_scalar((n / dims[mode]) as f64)
            })
            .collect();
        let old = std::mem::take(&mut self.eigenvalues).into_iter();
        let pairs = old.zip(estimates).zip(&self.modes);
        self.eigenvalues = pairs
            .map(|((old, new), &mode)| {
                let largest = self.settings.clamp.min(dims[mode] as f64).max(10.0);
                let new = ema(old.clone(), new, beta).clamp_min(largest.powi(-2));
                unless(&self.fresh, new, old)
            })
            .collect();
    }

    /// Refreshes the bases that are due.
    pub fn refresh(&mut self, stack: &Stack<'_>, refresh: &Refresh) -> (Vec<Turn>, Vec<Solve>) {
        let solver = if stack.step == 0 {
            BasisSolver::EighDescending
        } else {
            BasisSolver::Iteration(OrthogonalIterationConfig {
                sort: false,
                ..OrthogonalIterationConfig::default()
            })
        };
        let staggered = self.settings.staggered;
        let due = |factor, factors| {
            if staggered {
                stack.due(refresh, factor, factors)
            } else if refresh.due(stack.step, 0) {
                (0..stack.len()).collect()
            } else {
                Vec::new()
            }
        };
        self.kronecker.refresh(due, solver, None)
    }
}

/// The state tensors of Adam, for blocks without a factor. `bias` holds the moving averages of the
/// constant 1 by which the moments are divided.
pub(super) fn adam_fields(dims: &[usize], compute: DType) -> Vec<Field> {
    let n = dims.iter().product();
    vec![
        Field::new("m", n, compute),
        Field::new("v", n, compute),
        Field::new("bias", 2, compute),
    ]
}

/// A step of AdamW on blocks without a factor, `θ ← (1 - lr λ) θ` after the update.
pub(super) fn adam_step(
    mut stack: Stack<'_>,
    [beta_1, beta_2]: [f64; 2],
    epsilon: f64,
    weight_decay: f64,
) -> Stepped {
    let mut state = std::mem::take(&mut stack.state).into_iter();
    let mut next = |len: usize| state.next().unwrap_or_else(|| stack.zeros(len));
    let n = stack.block_len();
    let (m, v, bias) = (next(n), next(n), next(2));
    let m = ema(m, stack.gradient.clone(), beta_1);
    let v = ema(v, stack.gradient.clone().square(), beta_2);
    let column = |at, beta| {
        let old = bias.clone().narrow(1, at, 1);
        let one = old.ones_like();
        ema(old, one, beta)
    };
    let (m_bias, v_bias) = (column(0, beta_1), column(1, beta_2));
    let root = (v.clone() / v_bias.clone()).sqrt().add_scalar(epsilon);
    let update = m.clone() / m_bias.clone() / root;
    let weights = stack.weights.clone() - update.mul_scalar(stack.lr);
    Stepped {
        weights: weights.mul_scalar(1.0 - stack.lr * weight_decay),
        state: vec![m, v, Tensor::cat(vec![m_bias, v_bias], 1)],
        solves: Vec::new(),
        refreshed: false,
    }
}
