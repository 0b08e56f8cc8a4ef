//! Exact products of networks as people write them with burn's own layers, in training mode.
//!
//! Many of burn's layers make tensors of the device's default type, so here that type is `f64` on
//! flex, where exact products are compared with differences, and `f32` on ndarray. The CPU backends
//! have one generator for the whole program, so tests take turns.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    reason = "a test that cannot go on fails; helpers are shared with other programs"
)]

#[path = "../exact/checks.rs"]
mod checks;
mod detection;
mod generative;
mod language;
mod layers;
mod losses;
#[path = "../exact/models.rs"]
mod models;
mod recurrent;
mod turns;
mod vision;
