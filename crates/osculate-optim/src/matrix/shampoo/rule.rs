use burn::tensor::{DType, Tensor};
use osculate_linalg::{BlockPartition, MergeFrom, merge_dims};

use super::factors::{
    Diagonals, Roots, basis_solver, corrected_moment, precondition_in_basis, rayleigh,
};
use super::parts::{FIELDS, Full, Parts};
use super::{Grafting, ShampooConfig, ShampooDecay, ShampooForm};
use crate::matrix::kronecker::{EIGENVALUES, FACTOR, Kronecker, ema, identity, shortest, unpacked};
use crate::matrix::rule::{Field, MatrixRule, Solve, Stack, Stepped, put_rows, take_rows};
use crate::matrix::schedule::Refresh;

/// Gradients preconditioned by a root of their second moment along each dimension.
///
/// For a matrix `G` (other ranks alike, one factor for each dimension), with moving averages `m` of
/// `G`, `L` of `G Gᵀ` and `R` of `Gᵀ G`, all with their bias corrected, and `e = 1 / (2 · 2)`:
///
/// ```text
/// P = (L + ε I)^-e m (R + ε I)^-e          roots refreshed every `period` steps
/// P = P ‖D‖ / ‖P‖                          D: update of the grafted method, with the same m
/// θ = θ - lr (P + λ θ)
/// ```
///
/// Parameters are merged to matrices (`target_rank`) and cut into blocks; each block has its own
/// factors and grafted length. A vector has one factor, with `e = 1/2`. Before the step `start`
/// updates are the grafted method's.
///
/// - Cost of an `[m, n]` block: `4 m n (m + n)` multiplications a step, and every `period` steps
///   about `10 (m³ + n³)` on the host.
/// - State for each parameter element of a square block: 4 (3 without grafting, 3.5 with
///   `bf16_roots`), factors and roots packed. The `Eigen` form has 5, `EigenvalueCorrected` 5.
/// - When not to use it: where a learning rate for SGD or Adam cannot be tuned again and nothing is
///   grafted; with batches so small that gradients are mostly noise.
///
/// Failures of the solver keep the last root and are counted; more than `tolerated_failures` in a
/// row of one factor end the step with an error, in the closure door. Parameters in f16 or bf16 have
/// their state in f32.
///
/// Papers: Gupta et al., <https://arxiv.org/abs/1802.09568>; Anil et al.,
/// <https://arxiv.org/abs/2002.09018>; Shi et al., <https://arxiv.org/abs/2309.06497>; Morwani et
/// al., <https://arxiv.org/abs/2406.17748>.
///
/// ```
/// use osculate_optim::{Grafting, ShampooConfig};
/// let optimizer = ShampooConfig::new()
///     .with_grafting(Grafting::Sgd)
///     .with_period(20)
///     .with_start(20)
///     .stacked()?;
/// # Ok::<(), osculate_optim::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Shampoo {
    pub(super) config: ShampooConfig,
    refresh: Refresh,
}

/// The `p` of an exponent `1 / p`.
pub(super) fn whole_root(exponent: f64) -> Option<u32> {
    let p = exponent.recip().round();
    let whole = (1.0..=64.0).contains(&p) && (p * exponent - 1.0).abs() < 1e-9;
    whole.then_some(p as u32)
}

impl Shampoo {
    pub(super) fn new(config: ShampooConfig, refresh: Refresh) -> Self {
        Self { config, refresh }
    }

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
        let short = |&mode: &usize| dims[mode] <= self.config.max_dim;
        // Adam needs no diagonal factors beside its second moment.
        let corrected = matches!(self.config.form, ShampooForm::EigenvalueCorrected(_));
        let (full, long): (Vec<_>, Vec<_>) = all.into_iter().partition(short);
        (full, if corrected { Vec::new() } else { long })
    }

    pub(super) fn is_corrected(&self) -> bool {
        matches!(self.config.form, ShampooForm::EigenvalueCorrected(_))
    }

    /// The rows whose factor is due in step `t`, counted from 1.
    ///
    /// Taking turns, roots are first made in the period before the start, so that all are there
    /// then; the eigenvalue-corrected form, which needs none, begins with the start: a basis made of
    /// very few gradients makes enormous steps.
    fn due(&self, stack: &Stack<'_>, factor: usize, factors: usize) -> Vec<usize> {
        let (t, mut start) = (stack.step + 1, self.config.start as u64);
        if self.config.update_momentum.is_some_and(|m| m.grafted) {
            // The momentum of preconditioned updates runs from the first step.
            start = 1;
        }
        let all = 0..stack.len();
        if !self.config.staggered {
            let due = t == start || (t > start && self.refresh.due(t, 0));
            return if due { all.collect() } else { Vec::new() };
        }
        let lead = if self.is_corrected() {
            0
        } else {
            self.config.period as u64 - 1
        };
        if t + lead < start {
            return Vec::new();
        }
        let slot = |row: &usize| stack.rows[*row].slot * factors as u64 + factor as u64;
        all.filter(|row| self.refresh.due(t, slot(row))).collect()
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
        parts: &mut Parts,
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
        let weight = parts.bias.clone().narrow(1, 1, 1);
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
        parts
            .diagonals
            .accumulate(gradient, dims, config.beta_2, add);
        match (&mut parts.full, config.form) {
            (Full::Roots(roots), ShampooForm::Root(solver)) => {
                roots.accumulate(gradient, dims, config.beta_2, add);
                roots.refresh(dims, due, corrected, solver, exponent, config)
            }
            (Full::Corrected(kronecker), ShampooForm::EigenvalueCorrected(solver)) => {
                kronecker.accumulate(gradient, config.beta_2, add);
                let solver = basis_solver(solver, self.is_first(stack.step));
                let (turns, solves) = kronecker.refresh(due, solver, config.tolerance);
                let refreshed = !turns.is_empty();
                for turn in turns {
                    parts.v = parts.v.take().map(|v| turn.reorder(v, dims));
                }
                (refreshed, solves)
            }
            (Full::Eigen(kronecker, eigenvalues), ShampooForm::Eigen(solver)) => {
                kronecker.accumulate(gradient, config.beta_2, add);
                let solver = basis_solver(solver, self.is_first(stack.step));
                let (turns, solves) = kronecker.refresh(due, solver, config.tolerance);
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
                (!turns.is_empty(), solves)
            }
            _ => (false, Vec::new()),
        }
    }

    /// The preconditioned average of the gradient, before grafting.
    fn precondition(
        &self,
        parts: &mut Parts,
        dims: &[usize],
        gradient: &Tensor<2>,
        average: Tensor<2>,
    ) -> Tensor<2> {
        let config = &self.config;
        let exponent = config.exponent(dims.len());
        let divides = config.bias_correction && config.beta_2 < 1.0;
        let weight = parts.bias.clone().narrow(1, 1, 1);
        let corrected = |values: Tensor<2>| {
            if divides {
                values / weight.clone()
            } else {
                values
            }
        };
        let diagonals = &parts.diagonals;
        let average = diagonals.precondition(average, dims, exponent, corrected, config);
        match &parts.full {
            Full::Roots(roots) => roots.precondition(average, dims),
            Full::Eigen(kronecker, eigenvalues) => {
                precondition_in_basis(kronecker, average, eigenvalues, exponent, config)
            }
            Full::Corrected(kronecker) => {
                let projected = kronecker.project(gradient.clone());
                let old = parts.v.take().unwrap_or_else(|| projected.zeros_like());
                let v = corrected_moment(old, projected, config.beta_2);
                let root = corrected(v.clone()).sqrt().add_scalar(config.epsilon);
                parts.v = Some(v);
                kronecker.unproject(kronecker.project(average) / root)
            }
        }
    }
}

/// The Euclidean norm of each row, `[k, 1]`.
fn norm(x: &Tensor<2>) -> Tensor<2> {
    x.clone().square().sum_dim(1).sqrt()
}

impl MatrixRule for Shampoo {
    const FIELDS: &'static [&'static str] = &FIELDS;

    fn name(&self) -> &'static str {
        "shampoo"
    }

    fn partition(&self, shape: &[usize]) -> BlockPartition {
        let (limit, rank) = (self.config.block_size, self.config.target_rank);
        let dims = merge_dims(shape, limit, MergeFrom::Back, rank);
        BlockPartition::new(&dims, limit)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
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
            ("graft", config.grafting.has_moment()),
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

    fn tolerated_failures(&self) -> u64 {
        self.config.tolerated_failures
    }

    fn step(&self, mut stack: Stack<'_>) -> Stepped {
        let config = &self.config;
        let state = std::mem::take(&mut stack.state);
        let mut parts = self.take(stack.dims, state, || stack.zeros(3));
        let weights = stack.weights.clone();
        let decay = |x: Tensor<2>, kind| {
            if config.weight_decay > 0.0 && config.decay == kind {
                x + weights.clone().mul_scalar(config.weight_decay)
            } else {
                x
            }
        };
        let gradient = decay(stack.gradient.clone(), ShampooDecay::L2);

        let betas = [config.beta_1, config.beta_2, config.grafting.beta()];
        let columns = betas.into_iter().enumerate().map(|(at, beta)| {
            let old = parts.bias.clone().narrow(1, at, 1);
            let one = old.ones_like();
            ema(old, one, beta)
        });
        parts.bias = Tensor::cat(columns.collect(), 1);
        let (refreshed, solves) = self.renew(&mut parts, &stack, &gradient);

        let average = match parts.m.take() {
            Some(m) => {
                let m = ema(m, gradient.clone(), config.beta_1);
                parts.m = Some(m.clone());
                if config.bias_correction {
                    m / parts.bias.clone().narrow(1, 0, 1)
                } else {
                    m
                }
            }
            None => gradient.clone(),
        };

        let unit = |x: &Tensor<2>| {
            if config.normalize_grafting {
                x.clone() / norm(x).add_scalar(1e-16)
            } else {
                x.clone()
            }
        };
        let moment = parts.graft.take();
        parts.graft = moment.map(|v| config.grafting.moment(v, &unit(&gradient)));
        let mut bias = parts.bias.clone().narrow(1, 2, 1);
        if !config.bias_correction {
            bias = bias.ones_like();
        }
        let direction = config
            .grafting
            .direction(unit(&average), parts.graft.as_ref(), bias);

        let mut update = self.precondition(&mut parts, stack.dims, &gradient, average);
        let started = stack.step + 1 >= config.start as u64;
        if config.grafting != Grafting::None {
            let scale = norm(&direction) / norm(&update).add_scalar(1e-16);
            update = update * scale;
        }
        // In its identity basis the corrected form is Adam before the start.
        let before_start = if self.is_corrected() {
            update.clone()
        } else {
            direction
        };
        let update = decay(update, ShampooDecay::Decoupled);
        let grafted = decay(before_start, ShampooDecay::Decoupled);
        let update = match config.update_momentum {
            None if started => update,
            None => grafted,
            Some(momentum) => momentum.apply(&mut parts, update, grafted, started),
        };
        Stepped {
            weights: weights.clone() - update.mul_scalar(stack.lr),
            state: parts.into_state(),
            solves,
            refreshed,
        }
    }
}
