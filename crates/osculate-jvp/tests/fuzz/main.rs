//! Random programs: every product against every other, and against differences in `f64`.
//!
//! `PROPTEST_CASES` sets how many. Ten thousand take some minutes:
//! `PROPTEST_CASES=10000 cargo test --release -p osculate-jvp --test fuzz`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod fields;
mod hessians;
mod machine;
mod measures;

use proptest::prelude::ProptestConfig;

/// So many cases where `PROPTEST_CASES` does not say otherwise.
fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES");
    let asked = asked.ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(cases),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
