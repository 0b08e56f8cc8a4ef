//! Cross-crate test suites; see `tests/`.
