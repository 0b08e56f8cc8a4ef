//! The roles of this crate, in everything that takes one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod roles;
mod suite;
