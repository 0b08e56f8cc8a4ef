//! Shampoo's choices: what is made of the factors, and how; decay, exponents, momentum.

use burn::config::Config;

/// What Shampoo makes of its factors.
///
/// ```
/// use osculate_optim::{EigenSolver, ShampooConfig, ShampooForm};
///
/// // Only forms with eigenvectors can leave them as they are.
/// let config = ShampooConfig::new().with_tolerance(Some(0.1));
/// assert!(config.validate().is_err());
/// let eigen = ShampooForm::Eigen(EigenSolver::Iteration(1));
/// assert!(config.with_form(eigen).validate().is_ok());
/// ```
#[derive(Config, Debug, Copy, PartialEq)]
pub enum ShampooForm {
    /// Inverse roots of the factors, `S^-e`.
    Root(RootSolver),
    /// Eigenvalues and eigenvectors of the factors: `Q Λ^-e Qᵀ`.
    Eigen(EigenSolver),
    /// The factors' eigenvectors, with a second moment for each element in that basis in the place
    /// of the eigenvalues: Adam there, as in SOAP, with the first moment in the original basis.
    EigenvalueCorrected(EigenSolver),
}

/// How inverse roots are computed.
///
/// ```
/// use osculate_optim::{ExponentOverride, RootSolver, ShampooConfig, ShampooForm};
///
/// let config = ShampooConfig::new().with_exponents(vec![ExponentOverride::new(2, 0.3)]);
/// assert!(config.validate().is_ok());
/// // 0.3 is no 1 / p.
/// let newton = ShampooForm::Root(RootSolver::CoupledNewton);
/// assert!(config.with_form(newton).validate().is_err());
/// ```
#[derive(Config, Debug, Copy, PartialEq)]
pub enum RootSolver {
    /// By an eigendecomposition on the host.
    Eigh,
    /// By the coupled Newton iteration on the device; exponents must be `1 / p` for a whole `p`.
    CoupledNewton,
    /// By the coupled iteration of this order on the device; exponents as for Newton.
    HigherOrder(usize),
}

/// How eigenvectors are computed.
///
/// ```
/// use osculate_optim::{EigenSolver, ShampooConfig, ShampooForm};
///
/// let never = ShampooForm::Eigen(EigenSolver::Iteration(0));
/// assert!(ShampooConfig::new().with_form(never).validate().is_err());
/// ```
#[derive(Config, Debug, Copy, PartialEq)]
pub enum EigenSolver {
    /// By an eigendecomposition.
    Eigh,
    /// By this many steps of orthogonal iteration from the last eigenvectors, and by an
    /// eigendecomposition the first time.
    Iteration(usize),
}

/// Where the weight decay is added.
///
/// ```
/// use osculate_optim::{ShampooConfig, ShampooDecay};
///
/// assert_eq!(ShampooConfig::new().decay, ShampooDecay::Decoupled);
/// ```
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum ShampooDecay {
    /// To the preconditioned, grafted update, and with it to the momentum on the update.
    Decoupled,
    /// To the gradient.
    L2,
}

/// Exponents for blocks of one order.
///
/// ```
/// use osculate_optim::{ExponentOverride, ShampooConfig};
///
/// // 1/2 for the factors of matrices, in the place of 1/4.
/// let config = ShampooConfig::new().with_exponents(vec![ExponentOverride::new(2, 0.5)]);
/// assert_eq!(config.exponents[0].exponent, 0.5);
/// assert!(config.validate().is_ok());
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct ExponentOverride {
    /// Order (number of dimensions) of the blocks.
    pub order: usize,
    /// Exponent `e` of `S^-e`, of every factor of such a block. 0 leaves them out.
    pub exponent: f64,
}

/// Momentum on the update, after preconditioning: `M ← μ M + w P`, and `P ← M` or, with Nesterov,
/// `P ← w P + μ M`.
///
/// ```
/// use osculate_optim::UpdateMomentum;
///
/// let momentum = UpdateMomentum::new(0.9).with_nesterov(true);
/// assert_eq!((momentum.weight, momentum.grafted), (1.0, false));
/// ```
#[derive(Config, Debug, Copy, PartialEq)]
pub struct UpdateMomentum {
    /// Decay `μ`.
    pub momentum: f64,
    /// Weight `w` of a new update. Default 1.
    #[config(default = 1.0)]
    pub weight: f64,
    /// Default `false`.
    #[config(default = false)]
    pub nesterov: bool,
    /// Keeps a second momentum, of the grafted updates, which is the one that is used before the
    /// start step. Default `false`.
    #[config(default = false)]
    pub grafted: bool,
}
