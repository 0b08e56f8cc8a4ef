//! Batches of two devices, and the same for one.

use burn::module::Module;
use burn::optim::SgdConfig;
use osculate_optim::{Driver, Sam, ShampooConfig, SophiaConfig};

use super::{Loader, largest_difference, ordered_loader};

pub const EPOCHS: usize = 3;
pub const LR: f64 = 1e-3;
/// Rows of a batch on one of two devices.
pub const HALF: usize = 10;
pub const STEPS: usize = 4;

pub fn sam() -> Driver {
    Sam::new(0.1).over(SgdConfig::new().init()).unwrap()
}

pub fn sophia() -> Driver {
    SophiaConfig::h().with_period(2).init().unwrap()
}

/// Shampoo whose factors are regular in `f32`, from gradients of fewer rows than the net is wide. What
/// is added to their diagonal is a thousandth of the largest eigenvalue, and rounding 1e-7 of it.
pub fn regular_shampoo() -> ShampooConfig {
    ShampooConfig::new().with_relative_epsilon(1e-3)
}

/// The images of two devices: each takes its half of the data set, batch by batch.
pub fn halves() -> Loader {
    ordered_loader((0..2 * HALF * STEPS).collect(), HALF)
}

/// The same images for one device, whose batches are those of both together.
pub fn together() -> Loader {
    batches_of_both([0, HALF * STEPS])
}

/// The same, with the second device's rows first in each batch: equal but for rounding.
pub fn swapped() -> Loader {
    batches_of_both([HALF * STEPS, 0])
}

/// Batches of rows from two places.
fn batches_of_both(begins: [usize; 2]) -> Loader {
    let rows = (0..STEPS).flat_map(|step| {
        let batch = step * HALF..(step + 1) * HALF;
        begins
            .into_iter()
            .flat_map(move |begin| batch.clone().map(move |row| begin + row))
    });
    ordered_loader(rows.collect(), 2 * HALF)
}

pub fn close<M: Module>(a: &M, b: &M, before: &M) {
    let (difference, moved) = (largest_difference(a, b), largest_difference(a, before));
    assert!(moved > 1e-3, "moved by {moved}");
    assert!(difference < 1e-5, "differ by {difference}");
}
