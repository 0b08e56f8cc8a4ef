//! Training with osculate.

pub mod learner;
