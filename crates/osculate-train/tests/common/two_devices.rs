//! Batches of two devices, and the same for one.

use burn::module::Module;
use burn::optim::SgdConfig;
use osculate_optim::{Sam, SamConfig, Sophia, SophiaConfig};

use super::{Loader, largest_difference, ordered_loader};

pub const EPOCHS: usize = 3;
pub const LR: f64 = 1e-3;
/// Rows of a batch on one of two devices.
pub const HALF: usize = 10;
pub const STEPS: usize = 4;

pub fn sam() -> Sam {
    SamConfig::new()
        .with_rho(0.1)
        .init(SgdConfig::new().init())
        .unwrap()
}

pub fn sophia() -> Sophia {
    SophiaConfig::h().with_period(2).init().unwrap()
}

/// The images of two devices: each takes its half of the data set, batch by batch.
pub fn halves() -> Loader {
    ordered_loader((0..2 * HALF * STEPS).collect(), HALF)
}

/// The same images for one device, whose batches are those of both together.
pub fn together() -> Loader {
    let second = HALF * STEPS;
    let rows = (0..STEPS).flat_map(|step| {
        let batch = step * HALF..(step + 1) * HALF;
        batch.clone().chain(batch.map(move |row| row + second))
    });
    ordered_loader(rows.collect(), 2 * HALF)
}

pub fn close<M: Module>(a: &M, b: &M, before: &M) {
    let (difference, moved) = (largest_difference(a, b), largest_difference(a, before));
    assert!(moved > 1e-3, "moved by {moved}");
    assert!(difference < 1e-5, "differ by {difference}");
}
