//! The example from outside, what it reads and what it trains.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod command;
#[cfg(unix)]
#[path = "../../../../crates/osculate-train/tests/common/ignored.rs"]
mod ignored;
mod model;
mod readers;
mod resume;
mod signals;
