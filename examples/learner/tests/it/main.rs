//! The example from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

#[cfg(unix)]
#[path = "../../../../crates/osculate-train/tests/common/ignored.rs"]
mod ignored;
mod program;
mod resume;
