//! Training with osculate.

mod idle;
pub mod learner;
pub mod trainer;
