//! Every solver against faer in f64: on random, rank-deficient, tridiagonal and ill-conditioned
//! matrices; stacks against single matrices; empty, tiny, non-finite and half-precision input.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod edges;
mod eigen;
mod factors;
mod gram;
mod matrices;
mod null_space;
mod orthogonal;
mod roots;
mod shapes;
