//! The strategy for burn's `Learner`, beside burn's own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

#[path = "../common/mod.rs"]
mod common;
mod distributed;
mod edges;
mod ends;
mod epochs;
mod in_step;
mod metrics;
mod parity;
mod resume;
