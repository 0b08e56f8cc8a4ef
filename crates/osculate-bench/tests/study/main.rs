//! Studies of the library: what they hold, and what becomes of faults.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod edges;
mod noise;
mod panics;
mod workloads;
