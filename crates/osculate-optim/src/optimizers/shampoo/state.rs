//! The state of a stack of blocks under Shampoo, in the course of a step.

use burn::tensor::{DType, Tensor};

use super::factors::{Diagonals, Roots};
use super::graft::MOMENT;
use super::rule::Shampoo;
use super::{EigenSolver, RootSolver, ShampooForm};
use crate::engine::{BlockState, Field, RuleError};
use crate::optimizers::kronecker::{EIGENVALUES, Kronecker, ema, put_modes, take_modes};

/// The factors, and what the averages are to be divided by.
pub(super) struct ShampooState {
    /// The moving averages of the constant 1 that belong to the first moment, the factors and the
    /// grafted second moment, `[k, 1]` each.
    pub m_bias: Tensor<2>,
    pub factor_bias: Tensor<2>,
    pub graft_bias: Tensor<2>,
    pub diagonals: Diagonals,
    pub full: FullFactors,
}

/// The full factors with what is made of them, and how.
// How large they are depends on the backends.
#[allow(
    clippy::large_enum_variant,
    reason = "one of them is made for a stack and taken apart in the same step"
)]
pub(super) enum FullFactors {
    Roots(Roots, RootSolver),
    /// With the eigenvalues of each.
    Eigen(Kronecker, Vec<Tensor<2>>, EigenSolver),
    /// With the second moment in the eigenbases.
    Corrected(Kronecker, Tensor<2>, EigenSolver),
}

impl Shampoo {
    /// The state tensors of a block.
    pub(super) fn state_fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let config = &self.config;
        let n = dims.iter().product();
        let kept = if config.bf16_roots {
            DType::BF16
        } else {
            compute
        };
        let momentum = config.update_momentum;
        let optional = [
            ("m", config.beta_1 > 0.0),
            ("v", self.is_corrected()),
            (MOMENT, config.grafting.has_moment()),
            ("update", momentum.is_some()),
            ("grafted_update", momentum.is_some_and(|m| m.grafted)),
        ];
        let present = optional.into_iter().filter(|(_, present)| *present);
        let mut fields: Vec<Field> = present
            .map(|(name, _)| Field::new(name, n, compute))
            .collect();
        fields.push(Field::new("bias", 3, compute));
        let (full, diagonal) = self.modes(dims);
        fields.extend(Diagonals::fields(dims, &diagonal, compute));
        fields.extend(match config.form {
            ShampooForm::Root(_) => Roots::fields(dims, &full, compute, kept),
            _ => Kronecker::fields(dims, &full, compute, kept),
        });
        if let ShampooForm::Eigen(_) = config.form {
            let values = full.iter();
            let values = values.map(|&mode| Field::new(EIGENVALUES[mode], dims[mode], compute));
            fields.extend(values);
        }
        fields
    }

    /// Takes the factors and their like; moments are taken where they are averaged.
    pub(super) fn take_state(
        &self,
        dims: &[usize],
        state: &mut BlockState,
    ) -> Result<ShampooState, RuleError> {
        let bias = state.take("bias")?;
        let [m_bias, factor_bias, graft_bias] = [0, 1, 2].map(|at| bias.clone().narrow(1, at, 1));
        let (full, diagonal) = self.modes(dims);
        let diagonals = Diagonals::take(diagonal, state)?;
        let full = match self.config.form {
            ShampooForm::Root(solver) => FullFactors::Roots(Roots::take(full, state)?, solver),
            ShampooForm::Eigen(solver) => {
                let kronecker = Kronecker::take(dims, full, state)?;
                let values = take_modes(&EIGENVALUES, &kronecker.modes, state)?;
                FullFactors::Eigen(kronecker, values, solver)
            }
            ShampooForm::EigenvalueCorrected(solver) => {
                let kronecker = Kronecker::take(dims, full, state)?;
                FullFactors::Corrected(kronecker, state.take("v")?, solver)
            }
        };
        Ok(ShampooState {
            m_bias,
            factor_bias,
            graft_bias,
            diagonals,
            full,
        })
    }
}

impl ShampooState {
    /// Goes on with the averages of the constant 1.
    pub fn average_ones(&mut self, [beta_1, beta_2, graft_beta]: [f64; 3]) {
        let next = |old: &mut Tensor<2>, beta| *old = ema(old.clone(), old.ones_like(), beta);
        next(&mut self.m_bias, beta_1);
        next(&mut self.factor_bias, beta_2);
        next(&mut self.graft_bias, graft_beta);
    }

    /// Puts all back.
    pub fn put(self, state: &mut BlockState) -> Result<(), RuleError> {
        let bias = vec![self.m_bias, self.factor_bias, self.graft_bias];
        state.put("bias", Tensor::cat(bias, 1))?;
        self.diagonals.put(state)?;
        match self.full {
            FullFactors::Roots(roots, _) => roots.put(state),
            FullFactors::Eigen(kronecker, values, _) => {
                put_modes(&EIGENVALUES, &kronecker.modes, values, state)?;
                kronecker.put(state)
            }
            FullFactors::Corrected(kronecker, v, _) => {
                state.put("v", v)?;
                kronecker.put(state)
            }
        }
    }
}
