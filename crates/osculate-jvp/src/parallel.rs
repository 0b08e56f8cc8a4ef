//! Several Hessian products side by side.

use burn::tensor::Device;

use crate::bound::{Bound, HessianProduct, Tangents, Wrt};
use crate::error::JvpError;
use crate::quiet::quietly;

impl Bound {
    /// [`hvp`](Self::hvp) along several directions, in their order.
    ///
    /// burn's backward pass consumes its tape, so each product has a replay and a tape of its own.
    /// On CPU backends the products are made side by side, one thread a core: most operations of
    /// small and medium networks keep one core busy, and what is idle does the next product.
    ///
    /// Cost: as many products; on a CPU of `c` cores down to a `c`-th of their time, in up to `c`
    /// times the memory of one.
    ///
    /// # Errors
    /// As [`hvp`](Self::hvp), of the first direction that fails.
    pub fn hvps(&self, directions: &[Tangents], wrt: Wrt) -> Result<Vec<HessianProduct>, JvpError> {
        let share = directions.len().div_ceil(self.width()).max(1);
        // Plain threads: a pool's thread that waits for one product would begin another, and meet
        // its own locks there.
        let parts: Vec<Result<Vec<HessianProduct>, JvpError>> = std::thread::scope(|scope| {
            let mut parts = directions.chunks(share);
            let first = parts.next().unwrap_or_default();
            let others: Vec<_> = parts
                .map(|part| {
                    let bound = self.clone();
                    scope.spawn(move || bound.each_hvp(part, wrt))
                })
                .collect();
            let own = self.each_hvp(first, wrt);
            let others = others.into_iter().map(|other| match other.join() {
                Ok(made) => made,
                Err(payload) => Err(JvpError::from_panic(payload.as_ref())),
            });
            std::iter::once(own).chain(others).collect()
        });
        let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// How many products [`hvps`](Self::hvps) makes side by side: the cores of a CPU backend, 1 on
    /// others.
    pub fn width(&self) -> usize {
        if is_cpu(&Device::new(self.device.clone())) {
            std::thread::available_parallelism().map_or(1, usize::from)
        } else {
            1
        }
    }

    fn each_hvp(&self, directions: &[Tangents], wrt: Wrt) -> Result<Vec<HessianProduct>, JvpError> {
        let run = || {
            let products = directions.iter().map(|direction| self.hvp(direction, wrt));
            products.collect()
        };
        quietly(run)?
    }
}

/// Whether operations run on the calling thread, so that several threads make several at once: on
/// flex and ndarray.
///
/// Cost: a microsecond.
pub fn is_cpu(device: &Device) -> bool {
    let name = format!("{device:?}");
    ["Flex", "NdArray"].iter().any(|cpu| name.contains(cpu))
}
