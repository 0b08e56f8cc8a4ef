//! Differences of gradients that know their error: on kinks, at every scale, in every type.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod calibration;
mod limits;
