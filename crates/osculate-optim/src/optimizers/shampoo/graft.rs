//! Grafting: the length of another method's update.

use burn::config::Config;
use burn::tensor::Tensor;

use crate::config::Check;
use crate::engine::{BlockState, RuleError};
use crate::optimizers::kronecker::ema;

/// Name of the second moment in the state.
pub(super) const MOMENT: &str = "graft";

/// The method whose update lends its length to the preconditioned one.
///
/// ```
/// use osculate_optim::{Grafting, ShampooConfig};
///
/// let config = ShampooConfig::new();
/// let adam = Grafting::Adam { beta: 0.999, epsilon: 1e-8 };
/// assert_eq!(config.grafting, adam);
/// assert!(config.with_grafting(Grafting::RmsProp { beta: 1.0, epsilon: 1e-8 }).validate().is_err());
/// ```
#[derive(Config, Debug, Copy, PartialEq)]
pub enum Grafting {
    /// None: the preconditioned update keeps its own length.
    None,
    /// The averaged gradient.
    Sgd,
    /// Its signs: every element has the same length.
    SqrtN,
    /// AdaGrad.
    AdaGrad {
        /// Added to the root of the summed squares.
        epsilon: f64,
    },
    /// RMSProp.
    RmsProp {
        /// Decay of the second moment.
        beta: f64,
        /// Added to its root.
        epsilon: f64,
    },
    /// Adam.
    Adam {
        /// Decay of the second moment.
        beta: f64,
        /// Added to its root.
        epsilon: f64,
    },
}

impl Grafting {
    /// Adam with its own defaults.
    pub const ADAM: Self = Self::Adam {
        beta: 0.999,
        epsilon: 1e-8,
    };

    pub(super) fn check(self, check: Check) -> Check {
        match self {
            Self::None | Self::Sgd | Self::SqrtN => check,
            Self::AdaGrad { epsilon } => check.positive("grafting.epsilon", epsilon),
            Self::RmsProp { beta, epsilon } | Self::Adam { beta, epsilon } => check
                .decay("grafting.beta", beta)
                .positive("grafting.epsilon", epsilon),
        }
    }

    /// Whether it keeps a second moment.
    pub(super) fn has_moment(self) -> bool {
        !matches!(self, Self::None | Self::Sgd | Self::SqrtN)
    }

    /// Decay of the second moment; 1 sums the squares up.
    pub(super) fn beta(self) -> f64 {
        match self {
            Self::RmsProp { beta, .. } | Self::Adam { beta, .. } => beta,
            _ => 1.0,
        }
    }

    /// The update for an averaged gradient. `bias` is what the second moment is to be divided by.
    pub(super) fn update(
        self,
        average: Tensor<2>,
        gradient: Tensor<2>,
        bias: Tensor<2>,
        state: &mut BlockState,
    ) -> Result<Tensor<2>, RuleError> {
        Ok(match self {
            Self::None | Self::Sgd => average,
            Self::SqrtN => average.sign(),
            Self::AdaGrad { epsilon } => {
                let v = state.take(MOMENT)? + gradient.square();
                state.put(MOMENT, v.clone())?;
                average / v.sqrt().add_scalar(epsilon)
            }
            Self::RmsProp { beta, epsilon } => {
                let v = ema(state.take(MOMENT)?, gradient.square(), beta);
                state.put(MOMENT, v.clone())?;
                average / v.sqrt().add_scalar(epsilon)
            }
            Self::Adam { beta, epsilon } => {
                let v = ema(state.take(MOMENT)?, gradient.square(), beta);
                state.put(MOMENT, v.clone())?;
                average / (v / bias).sqrt().add_scalar(epsilon)
            }
        })
    }
}
