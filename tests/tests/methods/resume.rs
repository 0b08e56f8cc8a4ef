//! A run that is interrupted and resumed is bit for bit the run that was not, at every step.

use burn::tensor::{DType, Device};
use osculate_tests::suite::resumes;
use osculate_tests::{for_each_optimizer, on_every_backend};

macro_rules! suite {
    ($name:ident, $make:path, $supervised:literal) => {
        mod $name {
            use super::*;
            on_every_backend!(|device: &Device, dtype: DType| resumes($make, device, dtype));
        }
    };
}

for_each_optimizer!(suite);
