//! Training with osculate.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod idle;
pub mod learner;
pub mod trainer;
