//! Training with osculate.
