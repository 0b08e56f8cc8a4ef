//! Zero, tiny, huge, spiked, NaN, infinite and missing gradients, for every optimizer and rank.

use burn::tensor::{DType, Device};
use osculate_tests::suite::{refuses, starts_over, survives};
use osculate_tests::{for_each_optimizer, on_every_backend};

macro_rules! suite {
    ($name:ident, $make:path, $supervised:literal) => {
        mod $name {
            use super::*;

            mod survives {
                use super::*;
                on_every_backend!(|device: &Device, dtype: DType| {
                    survives($make, $supervised, device, dtype)
                });
            }

            mod survives_bad_data {
                use super::*;
                on_every_backend!(|device: &Device, dtype: DType| {
                    survives($make, true, device, dtype)
                });
            }

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
