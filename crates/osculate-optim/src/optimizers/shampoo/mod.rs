//! Shampoo: configuration and page; the rule is in `rule`.

mod factors;
mod graft;
mod rule;
mod settings;
mod state;

pub use graft::Grafting;
pub use rule::Shampoo;
pub use settings::{
    EigenSolver, ExponentOverride, RootSolver, ShampooDecay, ShampooForm, UpdateMomentum,
};

use burn::config::Config;
use osculate_linalg::Ridge;

use self::factors::whole_root;
use super::kronecker::FactorSchedule;
use crate::config::{Check, ConfigError};
use crate::engine::{RefreshSchedule, constructors};
use crate::registry::{OptimizerRow, read, to_value};

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
///   about `10 (m³ + n³)` on the host. One gradient evaluation a step.
/// - State for each parameter element of a square block: 4 (3 without grafting, 3.5 with
///   `bf16_roots`), factors and roots packed. The `Eigen` form has 5, `EigenvalueCorrected` 5. A
///   vector of `d` elements has `d + 3` for each up to 128, and 3 where it is longer: it then has a
///   diagonal factor, as the long side of a narrow matrix (`max_skew`).
/// - Defaults: `new()` is distributed Shampoo with the settings that its authors recommend to users of
///   Adam; [`adagrad`](Self::adagrad) is with its class defaults, [`google`](Self::google) scalable
///   Shampoo.
/// - Learning rate: start at 3e-3, AdamW's, whose length the steps have. In the study of `docs/study` its best rate
///   was AdamW's best on the same workload (median of eight; 0.32 to 3.2 times). With another grafting start at the
///   rate of that method; without one the rate has to be found anew.
/// - When not to use it: where a learning rate for SGD or Adam cannot be tuned again and nothing is
///   grafted; with batches so small that gradients are mostly noise.
///
/// Failures of the solver keep the last root and are counted; more than `tolerated_failures` in a
/// row of one factor end the step with an error, in the closure optimizer. Parameters in f16 or bf16
/// have their state in f32.
///
/// Papers: Gupta et al., <https://arxiv.org/abs/1802.09568>; Anil et al.,
/// <https://arxiv.org/abs/2002.09018>; Shi et al., <https://arxiv.org/abs/2309.06497>; Morwani et
/// al., <https://arxiv.org/abs/2406.17748>.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, Grafting, ShampooConfig};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
/// let mut optimizer = ShampooConfig::new()
///     .with_grafting(Grafting::ADAM)
///     .with_start(3)
///     .init()?;
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     let step = optimizer.step(0.03, model, &loss)?;
///     losses.push(step.report.loss());
///     model = step.model;
/// }
/// assert!(losses[9] < losses[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Config, Debug)]
pub struct ShampooConfig {
    /// Decay of the gradient's moving average, which is what is preconditioned. Default 0.9.
    #[config(default = 0.9)]
    pub beta_1: f64,
    /// Decay of the factors; 1 sums them up. Default 0.999.
    #[config(default = 0.999)]
    pub beta_2: f64,
    /// Added to the factors before their root is taken. Default 1e-12.
    #[config(default = 1e-12)]
    pub epsilon: f64,
    /// Raises `epsilon` to this fraction of the factor's largest eigenvalue. Default 0.
    #[config(default = 0.0)]
    pub relative_epsilon: f64,
    /// What the factors start from, times the identity. Default 0.
    #[config(default = 0.0)]
    pub initial_factor: f64,
    /// Weight decay. Default 0.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Where the weight decay is added. Default `Decoupled`.
    #[config(default = "ShampooDecay::Decoupled")]
    pub decay: ShampooDecay,
    /// Corrects the bias of moving averages. Default `true`.
    #[config(default = true)]
    pub bias_correction: bool,
    /// What is made of the factors. Default: roots by eigendecomposition.
    #[config(default = "ShampooForm::Root(RootSolver::Eigh)")]
    pub form: ShampooForm,
    /// Exponents other than `1 / (2 order)`; 1/2 for matrices is the power-iteration view of
    /// *A New Perspective on Shampoo's Preconditioner*. Default: none.
    #[config(default = "Vec::new()")]
    pub exponents: Vec<ExponentOverride>,
    /// The method whose update lends its length. Default: Adam with a decay of 0.999.
    #[config(default = "Grafting::ADAM")]
    pub grafting: Grafting,
    /// Takes the grafted method's gradients with unit length. Default `false`.
    #[config(default = false)]
    pub normalize_grafting: bool,
    /// Momentum on the update. Default: none.
    pub update_momentum: Option<UpdateMomentum>,
    /// The step, counted from 1, from which on updates are preconditioned; before it they are the
    /// grafted method's. Default 10.
    #[config(default = 10)]
    pub start: usize,
    /// Steps between two refreshes of a root or eigenbasis. Default 10.
    #[config(default = 10)]
    pub period: usize,
    /// Lets blocks and their factors take turns at the refresh, so that no step bears all of it;
    /// first refreshes are made in the period before `start`. Default `true`.
    #[config(default = true)]
    pub staggered: bool,
    /// Leaves eigenvectors as they are where the factor's off-diagonal part in them is at most this
    /// fraction of the whole. Not for the `Root` form, which has none. Default: none.
    pub tolerance: Option<f64>,
    /// Largest dimension of a block. Default 1024.
    #[config(default = 1024)]
    pub block_size: usize,
    /// Dimensions longer than this have a diagonal factor. Default 8192.
    #[config(default = 8192)]
    pub max_dim: usize,
    /// A dimension `d` of more than 128 has a diagonal factor where `d²` is more than so many times the
    /// elements of its block: vectors, and the long side of narrow matrices, would keep up to 1024 numbers
    /// for each element. Default 64.
    #[config(default = 64.0)]
    pub max_skew: f64,
    /// Merges dimensions, from the back and while their product is at most `block_size`, until so
    /// many are left. 1 makes vectors of small matrices. Default 2.
    #[config(default = 2)]
    pub target_rank: usize,
    /// Has a factor for only the shortest dimension of a block. Default `false`.
    #[config(default = false)]
    pub one_sided: bool,
    /// Keeps roots and eigenvectors in bf16. Factors stay as they are: with a slow decay, rounding
    /// would lose what is added to them. Default `false`.
    #[config(default = false)]
    pub bf16_roots: bool,
    /// Solver failures in a row of one factor that are tolerated. Default 3.
    #[config(default = 3)]
    pub tolerated_failures: u64,
}

impl ShampooConfig {
    /// The class defaults of distributed Shampoo: factors that are summed up, no grafting, every
    /// root in every step, and merging that makes vectors of matrices of up to 1024 elements.
    pub fn adagrad() -> Self {
        Self::new()
            .with_beta_2(1.0)
            .with_grafting(Grafting::None)
            .with_period(1)
            .with_start(1)
            .with_target_rank(1)
            .with_max_skew(f64::MAX)
    }

    /// Scalable Shampoo: the raw gradient is preconditioned, without bias corrections; a ridge
    /// relative to the largest eigenvalue; Nesterov momentum on the update, and on the update of
    /// SGD whose length is grafted, which is used for the first five steps.
    ///
    /// Lengths are grafted by block, where the original does it by parameter.
    pub fn google() -> Self {
        let momentum = UpdateMomentum::new(0.9)
            .with_nesterov(true)
            .with_grafted(true);
        Self::new()
            .with_beta_1(0.0)
            .with_epsilon(1e-12)
            .with_relative_epsilon(1e-6)
            .with_initial_factor(1e-6)
            .with_bias_correction(false)
            .with_grafting(Grafting::Sgd)
            .with_update_momentum(Some(momentum))
            .with_start(6)
            .with_period(1)
            .with_block_size(128)
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay, momentum or exponent out of range, a period, start, block or
    /// rank of 0, a negative or non-finite number, exponents that the root's solver cannot take, a
    /// tolerance for the `Root` form, or grafting for the `EigenvalueCorrected` form.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut check = Check::of("ShampooConfig")
            .decay("beta_1", self.beta_1)
            .that(
                (0.0..=1.0).contains(&self.beta_2),
                "beta_2",
                self.beta_2,
                "a number in [0, 1]",
            )
            .non_negative("epsilon", self.epsilon)
            .non_negative("relative_epsilon", self.relative_epsilon)
            .that(
                self.epsilon > 0.0 || self.relative_epsilon > 0.0,
                "epsilon",
                self.epsilon,
                "above zero where relative_epsilon is zero",
            )
            .non_negative("initial_factor", self.initial_factor)
            .non_negative("weight_decay", self.weight_decay)
            .non_negative("tolerance", self.tolerance.unwrap_or(0.0))
            .non_negative("max_skew", self.max_skew)
            .that(self.start > 0, "start", self.start, "at least 1")
            .that(self.period > 0, "period", self.period, "at least 1")
            .that(
                self.block_size > 0,
                "block_size",
                self.block_size,
                "at least 1",
            )
            .that(
                self.target_rank > 0,
                "target_rank",
                self.target_rank,
                "at least 1",
            );
        if let Some(UpdateMomentum {
            momentum, weight, ..
        }) = self.update_momentum
        {
            check = check
                .decay("update_momentum.momentum", momentum)
                .positive("update_momentum.weight", weight);
        }
        for ExponentOverride { order, exponent } in &self.exponents {
            check = check
                .that(*order > 0, "exponents.order", order, "at least 1")
                .non_negative("exponents.exponent", *exponent);
        }
        check = match self.form {
            ShampooForm::Root(solver) => self.check_root(solver, check),
            ShampooForm::EigenvalueCorrected(_) => check.that(
                matches!(self.grafting, Grafting::None),
                "grafting",
                format!("{:?}", self.grafting),
                "`None` in the eigenvalue-corrected form, which is Adam before its start",
            ),
            ShampooForm::Eigen(_) => check,
        };
        if let ShampooForm::Eigen(solver) | ShampooForm::EigenvalueCorrected(solver) = self.form {
            let iterates = solver != EigenSolver::Iteration(0);
            check = check.that(iterates, "form.Iteration", 0, "at least 1 iteration");
        }
        self.grafting.check(check).finish()
    }

    /// The rule, for [`Driver::of_blocks`](crate::Driver::of_blocks) or
    /// [`PerParameter`](crate::PerParameter).
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn rule(&self) -> Result<Shampoo, ConfigError> {
        self.validate()?;
        let schedule = RefreshSchedule::Every {
            period: self.period,
        };
        Ok(Shampoo {
            config: self.clone(),
            schedule: FactorSchedule::new(schedule, self.staggered),
        })
    }

    fn check_root(&self, solver: RootSolver, check: Check) -> Check {
        let check = check.that(
            self.tolerance.is_none(),
            "tolerance",
            self.tolerance.unwrap_or_default(),
            "none in the root form, which keeps no eigenvectors",
        );
        let order = match solver {
            RootSolver::Eigh => return check,
            RootSolver::CoupledNewton => 2,
            RootSolver::HigherOrder(order) => order,
        };
        let check = check.that(order >= 2, "form.HigherOrder", order, "at least 2");
        self.exponents.iter().fold(check, |check, over| {
            let whole = over.exponent == 0.0 || whole_root(over.exponent).is_some();
            check.that(
                whole,
                "exponents.exponent",
                over.exponent,
                "1 / p with a whole p for a root by iteration",
            )
        })
    }

    /// Exponent of the factors of a block of this order.
    fn exponent(&self, order: usize) -> f64 {
        let mut overrides = self.exponents.iter().rev();
        let found = overrides.find(|over| over.order == order);
        found.map_or(0.5 / order.max(1) as f64, |over| over.exponent)
    }

    fn ridge(&self) -> Ridge {
        Ridge {
            absolute: self.epsilon,
            relative: self.relative_epsilon,
        }
    }
}

constructors!(ShampooConfig);

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "shampoo",
    text: "Kronecker-factored AdaGrad, grafted to Adam",
    learning_rate: 3e-3,
    gradients: 1.0,
    state: "4 on a square matrix, 3 without grafting",
    defaults: || to_value(&ShampooConfig::new()),
    build: |settings| Ok(read::<ShampooConfig>(settings, "settings")?.init()?),
};
