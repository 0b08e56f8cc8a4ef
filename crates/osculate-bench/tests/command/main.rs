//! The program `osculate`, from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod endings;
#[cfg(unix)]
#[path = "../../../osculate-train/tests/common/ignored.rs"]
mod ignored;
mod output;
mod program;
mod race_and_tune;
mod study;
mod system;
