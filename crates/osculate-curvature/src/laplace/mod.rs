//! Laplace's approximation: a normal distribution around trained weights, whose precision is the
//! curvature.

mod evidence;
mod posterior;
mod predictive;

pub use evidence::{PriorFit, fit_prior, log_evidence};
pub use posterior::{
    DensePosterior, DiagonalPosterior, LaplaceConfig, LowRankPosterior, Posterior,
};
pub use predictive::{predictive_covariance, probit};

#[cfg(test)]
mod tests;
