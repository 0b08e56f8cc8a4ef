//! What the benchmarks share: workloads, and ratios measured side by side.

pub mod ratios;
pub mod workload;
