//! Training with osculate.

pub mod learner;
pub mod trainer;
