//! Zero, tiny, huge, spiked, NaN, infinite and missing gradients, for every optimizer and rank.

use burn::tensor::{DType, Device};
use osculate_tests::suite::{refuses, starts_over, survives};
use osculate_tests::{for_each_optimizer, on_every_backend};

/// Faults that come with the data, for the methods that are not handed them by `survives` already.
macro_rules! survives_bad_data {
    (true, $make:path) => {};
    (false, $make:path) => {
        mod survives_bad_data {
            use super::*;
            on_every_backend!(|device: &Device, dtype: DType| {
                survives($make, true, device, dtype)
            });
        }
    };
}

macro_rules! suite {
    ($name:ident, $make:path, $supervised:tt) => {
        mod $name {
            use super::*;

            mod survives {
                use super::*;
                on_every_backend!(|device: &Device, dtype: DType| {
                    survives($make, $supervised, device, dtype)
                });
            }

            survives_bad_data!($supervised, $make);

            mod starts_over {
                use super::*;
                on_every_backend!(|device: &Device, dtype: DType| {
                    starts_over($make, $supervised, device, dtype)
                });
            }

            mod refuses {
                use super::*;
                on_every_backend!(|device: &Device, dtype: DType| {
                    refuses($make, $supervised, device, dtype)
                });
            }
        }
    };
}

for_each_optimizer!(suite);
