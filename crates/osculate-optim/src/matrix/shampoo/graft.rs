use burn::config::Config;
use burn::tensor::Tensor;

use super::super::kronecker::ema;
use crate::config::Check;

/// The method whose update lends its length to the preconditioned one.
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

    /// The second moment after a gradient.
    pub(super) fn moment(self, v: Tensor<2>, gradient: &Tensor<2>) -> Tensor<2> {
        let squares = gradient.clone().square();
        match self {
            Self::RmsProp { beta, .. } | Self::Adam { beta, .. } => ema(v, squares, beta),
            _ => v + squares,
        }
    }

    /// The update for an averaged gradient; `bias` is what the second moment is to be divided by.
    pub(super) fn direction(
        self,
        average: Tensor<2>,
        v: Option<&Tensor<2>>,
        bias: Tensor<2>,
    ) -> Tensor<2> {
        match (self, v) {
            (Self::SqrtN, _) => average.sign(),
            (Self::AdaGrad { epsilon } | Self::RmsProp { epsilon, .. }, Some(v)) => {
                average / v.clone().sqrt().add_scalar(epsilon)
            }
            (Self::Adam { epsilon, .. }, Some(v)) => {
                average / (v.clone() / bias).sqrt().add_scalar(epsilon)
            }
            _ => average,
        }
    }
}
