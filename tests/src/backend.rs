//! The backends that the suites run on.

use burn::tensor::{DType, Device};

/// A backend and an element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// burn's own CPU backend.
    Flex,
    /// The CPU backend on the `ndarray` crate.
    NdArray,
    /// A GPU, or a software Vulkan device, through wgpu.
    Wgpu,
}

impl Backend {
    /// The device with autodiff, or `None` with a printed reason where there is none.
    ///
    /// With the environment variable `OSCULATE_REQUIRE_WGPU` set, a missing wgpu adapter is a
    /// failure instead: a CI run that skips these tests must not pass.
    pub fn device(self) -> Option<Device> {
        match self {
            Backend::Flex => Some(Device::flex().autodiff()),
            #[allow(deprecated, reason = "supported for as long as burn ships it")]
            Backend::NdArray => Some(Device::ndarray().autodiff()),
            Backend::Wgpu => wgpu_device(),
        }
    }

    /// Whether tensors of this type can be computed with.
    pub fn supports(self, dtype: DType) -> bool {
        self != Backend::Wgpu || dtype == DType::F32
    }
}

#[cfg(feature = "wgpu")]
fn wgpu_device() -> Option<Device> {
    use burn::tensor::{DeviceKind, Tensor};
    use std::sync::OnceLock;

    // Asking for an adapter panics where there is none, so it is asked once.
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    let available = *AVAILABLE.get_or_init(|| {
        std::panic::catch_unwind(|| {
            let device = Device::wgpu(DeviceKind::DefaultDevice);
            Tensor::<1>::ones([1], &device).into_scalar::<f32>() == 1.0
        })
        .unwrap_or(false)
    });
    if available {
        return Some(Device::wgpu(DeviceKind::DefaultDevice).autodiff());
    }
    skip("no wgpu adapter was found")
}

#[cfg(not(feature = "wgpu"))]
fn wgpu_device() -> Option<Device> {
    skip("built without the feature `wgpu`")
}

#[allow(clippy::print_stderr, reason = "a skipped test must say so")]
fn skip(reason: &str) -> Option<Device> {
    assert!(
        std::env::var_os("OSCULATE_REQUIRE_WGPU").is_none(),
        "OSCULATE_REQUIRE_WGPU is set, and {reason}"
    );
    eprintln!("skipped: {reason}");
    None
}
