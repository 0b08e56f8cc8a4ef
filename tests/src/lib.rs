//! What the cross-crate suites share: backends, optimizers under test, models and comparisons.

pub mod backend;
pub mod compare;
pub mod matrix;
pub mod model;
pub mod single;
pub mod subject;
