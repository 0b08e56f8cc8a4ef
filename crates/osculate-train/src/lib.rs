//! Training with osculate.

pub mod trainer;
