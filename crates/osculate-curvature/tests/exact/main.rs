//! Exact products of whole models, in `f64` against differences of gradients.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod checks;
mod fallback;
mod minimum;
mod models;
mod parity;
mod products;
mod training;
mod training_models;
mod whole;
