//! The example from outside, and what it reads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

#[cfg(unix)]
#[path = "../../../../crates/osculate-train/tests/common/ignored.rs"]
mod ignored;
mod readers;
mod resume;
mod signals;
mod training;
