//! Every solver against faer in f64: on random, rank-deficient, tridiagonal and ill-conditioned
//! matrices; stacks against single matrices; empty, tiny, non-finite and half-precision input.

mod eigen;
mod factors;
mod matrices;
mod orthogonal;
mod roots;
