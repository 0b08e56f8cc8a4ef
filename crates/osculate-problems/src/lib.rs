//! Problems with known answers, for tests, documentation and benchmarks.
//!
//! - [`closed_form`]: functions whose gradient and Hessian are written out, each also as a burn
//!   module, so that what autodiff and an estimator find can be compared with the truth.
//! - [`modules`]: small networks of the usual kinds, with weights that are the same on every
//!   backend for one seed.
//! - [`digits`]: 1797 real images, embedded, with labels that can be made wrong on purpose.
//! - [`jargon`] and [`characters`]: a book, embedded, and windows of a text for a language model.
//! - [`delayed_xor`]: sequences that a recurrent network must remember.
//! - [`modular_addition`]: sums modulo a number, of which a network is shown a part.
//!
//! ```
//! use burn::tensor::{DType, Device};
//! use osculate_problems::closed_form::{ClosedForm, P3, TensorProblem};
//!
//! let problem = P3;
//! let x = problem.start();
//! let point = problem.point(&x, &Device::flex().autodiff(), DType::F64);
//! let loss: f64 = problem.tensor_loss(&point).into_scalar();
//! assert!((loss - problem.loss(&x)).abs() < 1e-12);
//! assert_eq!(problem.hessian_diagonal(&x).len(), problem.dim());
//! ```

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod characters;
pub mod closed_form;
pub mod delayed_xor;
pub mod digits;
pub mod jargon;
pub mod modular_addition;
pub mod modules;
