//! Shampoo's step.

use burn::tensor::{DType, Tensor};
use osculate_linalg::{BlockPartition, MergeFrom, merge_dims};

use super::factors::{basis_solver, corrected_moment, precondition_in_basis, rayleigh};
use super::state::{FullFactors, ShampooState};
use super::{Grafting, ShampooConfig, ShampooDecay, ShampooForm};
use crate::engine::{
    BlockRule, BlockState, Field, RuleError, Solve, Stack, Stepped, put_rows, take_rows,
};
use crate::optimizers::kronecker::{
    FACTOR, FactorSchedule, decompositions, ema, identity, proportionate, shortest, unpacked,
};
use crate::parameter::Parameter;
use crate::weight_decay::{DecayForm, WeightDecay};

/// Dimensions of up to this have a dense factor, whatever the block.
const DENSE: usize = 128;

/// The rule of [`ShampooConfig`].
#[derive(Debug, Clone)]
pub struct Shampoo {
    pub(super) config: ShampooConfig,
    pub(super) schedule: FactorSchedule,
}

impl BlockRule for Shampoo {
    fn name(&self) -> &'static str {
        "shampoo"
    }

    fn partition(&self, parameter: &Parameter) -> BlockPartition {
        let (limit, rank) = (self.config.block_size, self.config.target_rank);
        let dims = merge_dims(&parameter.shape, limit, MergeFrom::Back, rank);
        BlockPartition::new(&dims, limit)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        self.state_fields(dims, compute)
    }

    fn refresh_multiplications(&self, dims: &[usize]) -> f64 {
        decompositions(dims, &self.modes(dims).0)
    }

    fn weight_decay(&self) -> WeightDecay {
        let config = &self.config;
        if config.decay == ShampooDecay::Decoupled && config.update_momentum.is_none() {
            WeightDecay::new(config.weight_decay, DecayForm::Together)
        } else {
            // It is part of the gradient or of the momentum.
            WeightDecay::NONE
        }
    }

    fn tolerated_failures(&self) -> u64 {
        self.config.tolerated_failures
    }

    fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError> {
        let (config, dims) = (&self.config, stack.dims);
        let mut state = self.take_state(dims, &mut stack.state)?;
        let mut gradient = stack.gradient.clone();
        if config.decay == ShampooDecay::L2 {
            gradient = self.decayed(gradient, &stack.weights);
        }
        state.average_ones([config.beta_1, config.beta_2, config.grafting.beta()]);
        let (refreshed, solves) = self.renew(&mut state, stack, &gradient);

        let average = self.average(&mut stack.state, &gradient, &state.m_bias)?;
        let bias = state.graft_bias.clone();
        let grafted = self.grafted(&mut stack.state, &gradient, &average, bias)?;
        let mut update = self.precondition(&mut state, dims, &gradient, average);
        if config.grafting != Grafting::None {
            let scale = norm(&grafted) / norm(&update).add_scalar(1e-16);
            update = update * scale;
        }
        // In its identity basis the corrected form is Adam before the start.
        let before_start = if self.is_corrected() {
            update.clone()
        } else {
            grafted
        };
        state.put(&mut stack.state)?;
        Ok(Stepped {
            direction: self.with_momentum(stack, update, before_start)?,
            hold: None,
            solves,
            refreshed,
            unclipped: None,
        })
    }
}

/// The Euclidean norm of each row, `[k, 1]`.
fn norm(x: &Tensor<2>) -> Tensor<2> {
    x.clone().square().sum_dim(1).sqrt()
}

impl Shampoo {
    /// The modes of a block with a full factor, and those with a diagonal one.
    pub(super) fn modes(&self, dims: &[usize]) -> (Vec<usize>, Vec<usize>) {
        if self.config.exponent(dims.len()) == 0.0 {
            return (Vec::new(), Vec::new());
        }
        // A dimension of size 1 has a factor of one element: the block's squared length.
        let mut all: Vec<usize> = (0..dims.len().min(FACTOR.len())).collect();
        if self.config.one_sided {
            all.retain(|&mode| dims[mode] > 1 || dims.len() == 1);
            all = shortest(dims, all);
        }
        let short = |&mode: &usize| {
            let skew = self.config.max_skew;
            dims[mode] <= self.config.max_dim && proportionate(dims, mode, DENSE, skew)
        };
        let (full, mut long): (Vec<_>, Vec<_>) = all.into_iter().partition(short);
        if self.is_corrected() {
            // Adam needs no diagonal factors beside its second moment.
            long.clear();
        }
        (full, long)
    }

    /// Whether each element has a second moment of its own in the eigenbases.
    pub(super) fn is_corrected(&self) -> bool {
        matches!(self.config.form, ShampooForm::EigenvalueCorrected(_))
    }

    /// With the weights' decay added.
    fn decayed(&self, x: Tensor<2>, weights: &Tensor<2>) -> Tensor<2> {
        if self.config.weight_decay > 0.0 {
            x + weights.clone().mul_scalar(self.config.weight_decay)
        } else {
            x
        }
    }

    /// The rows whose factor is due in step `t`, counted from 1.
    ///
    /// Taking turns, roots are first made in the period before the start, so that all are there
    /// then; the eigenvalue-corrected form, which needs none, begins with the start: a basis made of
    /// very few gradients makes enormous steps.
    fn due(&self, stack: &Stack<'_>, factor: usize, factors: usize) -> Vec<usize> {
        let config = &self.config;
        let t = stack.step + 1;
        // The momentum of preconditioned updates runs from the first step.
        let from_first = config.update_momentum.is_some_and(|m| m.grafted);
        let start = if from_first { 1 } else { config.start as u64 };
        let lead = if config.staggered && !self.is_corrected() {
            config.period as u64 - 1
        } else {
            0
        };
        if t + lead < start {
            return Vec::new();
        }
        if !config.staggered && t == start {
            return (0..stack.len()).collect();
        }
        self.schedule.due(stack.rows, t, factor, factors)
    }

    /// Whether every basis is still the one that it started with.
    fn is_first(&self, step: u64) -> bool {
        let (t, start, period) = (step + 1, self.config.start, self.config.period);
        let first = if self.is_corrected() && self.config.staggered {
            start + period - 1
        } else {
            start
        };
        t <= first as u64
    }

    /// Adds the gradient to the factors, and refreshes what is due.
    fn renew(
        &self,
        state: &mut ShampooState,
        stack: &Stack<'_>,
        gradient: &Tensor<2>,
    ) -> (bool, Vec<Solve>) {
        let config = &self.config;
        let dims = stack.dims;
        let add = if config.beta_2 < 1.0 {
            1.0 - config.beta_2
        } else {
            1.0
        };
        let exponent = config.exponent(dims.len());
        let weight = state.factor_bias.clone();
        // Starting from c I, a factor still holds β^t c I.
        let start = match config.initial_factor {
            0.0 => None,
            c if config.beta_2 < 1.0 => Some(weight.clone().neg().add_scalar(1.0).mul_scalar(c)),
            c => Some(weight.ones_like().mul_scalar(c)),
        };
        let divides = config.bias_correction && config.beta_2 < 1.0;
        let corrected = |factor: Tensor<3>, rows: &[usize]| {
            let [k, d, _] = factor.dims();
            let of_rows = |values: &Tensor<2>| take_rows(values, rows).reshape([k, 1, 1]);
            let factor = match &start {
                Some(start) => {
                    let eye = identity(start, d);
                    factor + eye * of_rows(start)
                }
                None => factor,
            };
            if divides {
                factor / of_rows(&weight)
            } else {
                factor
            }
        };
        let due = |factor, factors| self.due(stack, factor, factors);
        state
            .diagonals
            .accumulate(gradient, dims, config.beta_2, add);
        match &mut state.full {
            FullFactors::Roots(roots, solver) => {
                roots.accumulate(gradient, dims, config.beta_2, add);
                roots.refresh(dims, due, corrected, *solver, exponent, config)
            }
            FullFactors::Corrected(kronecker, v, solver) => {
                kronecker.accumulate(gradient, config.beta_2, add);
                let solver = basis_solver(*solver, self.is_first(stack.step));
                let (changes, solves) = kronecker.refresh(due, solver, config.tolerance);
                for change in &changes {
                    *v = change.reorder(v.clone(), dims);
                }
                (!changes.is_empty(), solves)
            }
            FullFactors::Eigen(kronecker, eigenvalues, solver) => {
                kronecker.accumulate(gradient, config.beta_2, add);
                let solver = basis_solver(*solver, self.is_first(stack.step));
                let (changes, solves) = kronecker.refresh(due, solver, config.tolerance);
                // Eigenvalues follow even where the basis is good enough to stay.
                for index in 0..kronecker.modes.len() {
                    let rows = due(index, kronecker.modes.len());
                    if rows.is_empty() {
                        continue;
                    }
                    let d = dims[kronecker.modes[index]];
                    let factor = unpacked(take_rows(&kronecker.factors[index], &rows), d);
                    let basis = take_rows(&kronecker.bases[index], &rows);
                    let values = rayleigh(corrected(factor, &rows), basis);
                    let old = eigenvalues[index].clone();
                    eigenvalues[index] = put_rows(old, &rows, values);
                }
                (!changes.is_empty(), solves)
            }
        }
    }

    /// The average of the gradient, bias corrected.
    fn average(
        &self,
        state: &mut BlockState,
        gradient: &Tensor<2>,
        bias: &Tensor<2>,
    ) -> Result<Tensor<2>, RuleError> {
        let config = &self.config;
        if config.beta_1 == 0.0 {
            return Ok(gradient.clone());
        }
        let m = ema(state.take("m")?, gradient.clone(), config.beta_1);
        state.put("m", m.clone())?;
        Ok(if config.bias_correction {
            m / bias.clone()
        } else {
            m
        })
    }

    /// The update of the grafted method.
    fn grafted(
        &self,
        state: &mut BlockState,
        gradient: &Tensor<2>,
        average: &Tensor<2>,
        bias: Tensor<2>,
    ) -> Result<Tensor<2>, RuleError> {
        let config = &self.config;
        let unit = |x: &Tensor<2>| {
            if config.normalize_grafting {
                x.clone() / norm(x).add_scalar(1e-16)
            } else {
                x.clone()
            }
        };
        let bias = if config.bias_correction {
            bias
        } else {
            bias.ones_like()
        };
        let grafting = config.grafting;
        grafting.update(unit(average), unit(gradient), bias, state)
    }

    /// The preconditioned average of the gradient, before grafting.
    fn precondition(
        &self,
        state: &mut ShampooState,
        dims: &[usize],
        gradient: &Tensor<2>,
        average: Tensor<2>,
    ) -> Tensor<2> {
        let config = &self.config;
        let exponent = config.exponent(dims.len());
        let divides = config.bias_correction && config.beta_2 < 1.0;
        let weight = state.factor_bias.clone();
        let corrected = |values: Tensor<2>| {
            if divides {
                values / weight.clone()
            } else {
                values
            }
        };
        let diagonals = &state.diagonals;
        let average = diagonals.precondition(average, dims, exponent, corrected, config);
        match &mut state.full {
            FullFactors::Roots(roots, _) => roots.precondition(average, dims),
            FullFactors::Eigen(kronecker, eigenvalues, _) => {
                precondition_in_basis(kronecker, average, eigenvalues, exponent, config)
            }
            FullFactors::Corrected(kronecker, v, _) => {
                let projected = kronecker.project(gradient.clone());
                *v = corrected_moment(v.clone(), projected, config.beta_2);
                let root = corrected(v.clone()).sqrt().add_scalar(config.epsilon);
                kronecker.unproject(kronecker.project(average) / root)
            }
        }
    }

    /// The update of this step, with the momentum on updates where there is one. Before the start
    /// it is made of `before_start`.
    fn with_momentum(
        &self,
        stack: &mut Stack<'_>,
        update: Tensor<2>,
        before_start: Tensor<2>,
    ) -> Result<Tensor<2>, RuleError> {
        let config = &self.config;
        let started = stack.step + 1 >= config.start as u64;
        let Some(momentum) = config.update_momentum else {
            return Ok(if started { update } else { before_start });
        };
        let Stack { weights, state, .. } = stack;
        let mut run = |name: &'static str, x: Tensor<2>| -> Result<_, RuleError> {
            let x = match config.decay {
                ShampooDecay::Decoupled => self.decayed(x, weights),
                ShampooDecay::L2 => x,
            };
            let raw = x.mul_scalar(momentum.weight);
            let average = state.take(name)?.mul_scalar(momentum.momentum) + raw.clone();
            state.put(name, average.clone())?;
            Ok(if momentum.nesterov {
                raw + average.mul_scalar(momentum.momentum)
            } else {
                average
            })
        };
        if !momentum.grafted {
            return run("update", if started { update } else { before_start });
        }
        let preconditioned = run("update", update)?;
        let grafted = run("grafted_update", before_start)?;
        Ok(if started { preconditioned } else { grafted })
    }
}
