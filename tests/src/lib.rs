//! What the cross-crate suites share: backends, optimizers under test, models and comparisons.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

pub mod backend;
pub mod compare;
pub mod composed;
pub mod fixture;
pub mod layered;
pub mod matrix;
pub mod model;
pub mod pack;
pub mod single;
pub mod subject;
pub mod suite;
