//! Curvature as part of a loss, without differentiating twice.
//!
//! A [`Penalty`] gives its value and its gradient at a model's weights; [`Penalised`] adds it to an
//! objective, so that every optimizer minimises both.

mod alignment;
mod gradient_norm;
mod local_linearity;
mod penalised;
mod quadratic;
mod second_difference;
mod sharpness;
mod spectral;
mod trace;

pub use alignment::{AlignmentConfig, AlignmentPenalty};
pub use gradient_norm::{GradientNorm, GradientNormPenalty};
pub use local_linearity::LocalLinearity;
pub use penalised::{Penalised, Penalty, PenaltyValue};
pub use quadratic::QuadraticPenalty;
pub use sharpness::SharpnessPenalty;
pub use spectral::SpectralPenalty;
pub use trace::TracePenalty;

#[cfg(test)]
mod tests;
