//! Sophia in a hand-written training loop.

fn main() {}
