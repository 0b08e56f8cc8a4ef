//! The factors of KL-Shampoo and KL-SOAP, which are estimated with each other's inverse.

use burn::tensor::{Bool, Tensor};
use osculate_linalg::OrthogonalIterationConfig;

use super::settings::{KlSettings, all_modes};
use crate::engine::modes::{gram_diagonal, mode_product, mode_scale};
use crate::engine::{BlockState, RuleError, Solve, Stack};
use crate::optimizers::kronecker::{
    BasisChange, BasisSolver, EIGENVALUES, FactorSchedule, Kronecker, ema, packed_gram, put_modes,
    take_modes, unless,
};

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

impl<'a> KlFactors<'a> {
    /// Takes the state tensors of [`KlSettings::fields`].
    pub fn take(
        settings: &'a KlSettings,
        dims: &[usize],
        state: &mut BlockState,
    ) -> Result<Self, RuleError> {
        let kronecker = Kronecker::take(dims, settings.modes(dims), state)?;
        let modes = all_modes(dims);
        let stored = take_modes(&EIGENVALUES, &modes, state)?;
        // Eigenvalues are never zero once there are any.
        let fresh = stored[0].clone().narrow(1, 0, 1).equal_elem(0.0);
        let initial = |values: Tensor<2>| {
            let empty = values.clone().equal_elem(0.0);
            values.mask_fill(empty, settings.initial_eigenvalue)
        };
        Ok(Self {
            settings,
            kronecker,
            modes,
            eigenvalues: stored.into_iter().map(initial).collect(),
            fresh,
        })
    }

    /// Puts the state tensors back.
    pub fn put(self, state: &mut BlockState) -> Result<(), RuleError> {
        self.kronecker.put(state)?;
        put_modes(&EIGENVALUES, &self.modes, self.eigenvalues, state)
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
    /// leaves the eigenvalues at their initial value. `projected` is the gradient in the eigenbases.
    pub fn estimate(&mut self, gradient: &Tensor<2>, projected: &Tensor<2>) {
        let beta = self.settings.factor_beta;
        let dims = self.kronecker.dims.clone();
        let n: usize = dims.iter().product();
        let mut factors = Vec::with_capacity(self.kronecker.factors.len());
        for (index, &mode) in self.kronecker.modes.iter().enumerate() {
            let others = n / dims[mode];
            // Whitened along the other modes, in the original basis along this one.
            let basis = self.kronecker.bases[index].clone();
            let whitened = self.scale(projected.clone(), Some(mode));
            let whitened = mode_product(whitened, &dims, mode, basis);
            let whitened = unless(&self.fresh, whitened, gradient.clone());
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
    pub fn refresh(
        &mut self,
        stack: &Stack<'_>,
        schedule: &FactorSchedule,
    ) -> (Vec<BasisChange>, Vec<Solve>) {
        let solver = if stack.step == 0 {
            BasisSolver::EighDescending
        } else {
            BasisSolver::Iteration(OrthogonalIterationConfig {
                sort: false,
                ..OrthogonalIterationConfig::default()
            })
        };
        let due = |factor, factors| schedule.due(stack.rows, stack.step, factor, factors);
        self.kronecker.refresh(due, solver, None)
    }
}
