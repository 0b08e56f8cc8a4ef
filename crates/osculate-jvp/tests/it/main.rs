//! Programs that are recorded, and what they leave alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod constants;
mod edges;
mod programs;
