//! The random streams of a program's devices, lent and given back.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::tensor::{DType, Device, Distribution, Tensor};

use crate::params::random::mix;

/// Numbers that are drawn from each device. An `f32` from the unit interval has at least 23 random bits.
const DRAWS: usize = 4;

/// The random streams of devices, for code that seeds them and gives them back.
///
/// burn can seed a device's generator and draw from it, but neither read nor set its state: what stood
/// there before a seed cannot be put back. A lent stream goes on from a seed made out of
///
/// - numbers that are drawn from it once, before it is first seeded,
/// - the seed that the code runs under, and
/// - how often it was lent before.
///
/// So what a program draws afterwards never repeats what it drew before, and follows from its own seed.
///
/// Cost: four numbers are drawn and read from each device, once for each stream; an oracle has one of its
/// own, so a step waits once.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_curvature::RandomStream;
///
/// # // The CPU backends have one generator for the whole program.
/// let device = Device::flex();
/// let noise = || -> f32 {
///     Tensor::<1>::random([1], Distribution::Default, &device).into_scalar()
/// };
/// let after = |seed| {
///     device.seed(seed);
///     let stream = RandomStream::of(vec![device.clone()]);
///     let masks = [stream.seeded(7, noise), stream.seeded(7, noise)];
///     assert_eq!(masks[0], masks[1]);
///     noise()
/// };
/// assert_ne!(after(1), after(2));
/// assert_eq!(after(1), after(1));
/// ```
#[derive(Debug)]
pub struct RandomStream {
    devices: Vec<Device>,
    drawn: OnceLock<u64>,
    lent: AtomicU64,
}

impl RandomStream {
    /// The streams of these devices. Nothing is drawn before the first use.
    pub fn of(devices: Vec<Device>) -> Self {
        Self {
            devices,
            drawn: OnceLock::new(),
            lent: AtomicU64::new(0),
        }
    }

    /// A number from the streams, the same at every call.
    pub fn number(&self) -> u64 {
        *self.drawn.get_or_init(|| draw_all(&self.devices))
    }

    /// Runs with every device seeded by `seed`, and gives the streams back, also from a panic.
    pub fn seeded<T>(&self, seed: u64, run: impl FnOnce() -> T) -> T {
        let _given_back = self.lend(seed);
        run()
    }

    /// The same, with whether anything was drawn. Draws and reads numbers from each device twice.
    pub(crate) fn watched<T>(&self, seed: u64, run: impl FnOnce() -> T) -> (T, bool) {
        let _given_back = self.lend(seed);
        let made = run();
        let next = draw_all(&self.devices);
        seed_all(&self.devices, seed);
        (made, next != draw_all(&self.devices))
    }

    fn lend(&self, seed: u64) -> GivenBack<'_> {
        let drawn = self.number();
        let count = self.lent.fetch_add(1, Ordering::Relaxed);
        let given_back = GivenBack {
            devices: &self.devices,
            seed: mix(mix(drawn, seed), count.wrapping_add(1)),
        };
        seed_all(&self.devices, seed);
        given_back
    }
}

fn seed_all(devices: &[Device], seed: u64) {
    for device in devices {
        device.seed(seed);
    }
}

fn draw_all(devices: &[Device]) -> u64 {
    devices.iter().map(draw).fold(0, mix)
}

/// Seeds the devices when it is dropped.
struct GivenBack<'a> {
    devices: &'a [Device],
    seed: u64,
}

impl Drop for GivenBack<'_> {
    fn drop(&mut self) {
        for (index, device) in self.devices.iter().enumerate() {
            device.seed(mix(self.seed, index as u64));
        }
    }
}

fn draw(device: &Device) -> u64 {
    let unit = Distribution::Uniform(0.0, 1.0);
    let drawn = Tensor::<1>::random([DRAWS], unit, (device, DType::F32)).into_data();
    drawn
        .iter::<f32>()
        .fold(0, |sum, x| mix(sum, u64::from(x.to_bits())))
}
