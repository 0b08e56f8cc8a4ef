//! Exact products of whole models, in `f64` against differences of gradients.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    reason = "a test that cannot go on fails; helpers are shared with another program"
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
