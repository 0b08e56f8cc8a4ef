//! What holds for every method, and for a driver whatever it is put together of.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

mod changed_layers;
mod changing_models;
mod composition;
mod edges_optimizers;
mod edges_settings;
mod fading;
mod filters;
mod forecast;
mod half_precision;
mod identity;
mod module_optimizers;
mod one_line;
mod parts;
mod readme;
mod records;
mod records_v1;
mod resume;
mod robustness;
mod shapes;
mod stranger;
mod traces;
mod traces_v1;

use mimalloc::MiMalloc;

/// As in the programs: steps ask for the same blocks again and again.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;
