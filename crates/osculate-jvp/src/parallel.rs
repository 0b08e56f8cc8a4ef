//! Several Hessian products side by side.

use burn::tensor::Device;
use burn_dispatch::DispatchDevice;

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
        side_by_side(self.width(), directions, |direction| {
            self.hvp(direction, wrt)
        })
    }

    /// How many products [`hvps`](Self::hvps) makes side by side: the cores of a CPU backend, 1 on
    /// others.
    pub fn width(&self) -> usize {
        width(&self.device)
    }
}

/// How many products a device makes side by side.
pub(crate) fn width(device: &DispatchDevice) -> usize {
    if is_cpu(&Device::new(device.clone())) {
        std::thread::available_parallelism().map_or(1, usize::from)
    } else {
        1
    }
}

/// `f` of every item in order, on `width` threads.
pub(crate) fn side_by_side<T: Sync, R: Send>(
    width: usize,
    items: &[T],
    f: impl Fn(&T) -> Result<R, JvpError> + Sync,
) -> Result<Vec<R>, JvpError> {
    let share = items.len().div_ceil(width.max(1)).max(1);
    let each = |part: &[T]| quietly(|| part.iter().map(&f).collect::<Result<Vec<R>, JvpError>>())?;
    // Plain threads: a pool's thread that waits for one product would begin another, and meet
    // its own locks there.
    let parts: Vec<Result<Vec<R>, JvpError>> = std::thread::scope(|scope| {
        let mut parts = items.chunks(share);
        let first = parts.next().unwrap_or_default();
        let others: Vec<_> = parts.map(|part| scope.spawn(|| each(part))).collect();
        let own = each(first);
        let others = others.into_iter().map(|other| match other.join() {
            Ok(made) => made,
            Err(payload) => Err(JvpError::from_panic(payload.as_ref())),
        });
        std::iter::once(own).chain(others).collect()
    });
    let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(parts.into_iter().flatten().collect())
}

/// Whether operations run on the calling thread, so that several threads make several at once: on
/// flex and ndarray.
///
/// Cost: a microsecond.
pub fn is_cpu(device: &Device) -> bool {
    let name = format!("{device:?}");
    ["Flex", "NdArray"].iter().any(|cpu| name.contains(cpu))
}
