//! Every rule against central differences in `f64`, and the symmetry of Hessians through it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod arithmetic;
mod elementwise;
mod grid_sample;
mod harness;
mod layers;
mod precision;
mod reductions;
mod shapes;
