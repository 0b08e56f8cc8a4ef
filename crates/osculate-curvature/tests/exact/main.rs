//! Exact products of whole models, in `f64` against differences of gradients.

mod checks;
mod fallback;
mod models;
mod parity;
mod products;
mod whole;
