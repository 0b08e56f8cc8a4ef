//! Choosing a device by name, at run time.

use burn::tensor::Device;
use thiserror::Error;

/// A device that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No backend has this name.
    #[error("unknown device {name:?}; this program was built with: {}", compiled().join(", "))]
    Unknown {
        /// The name given.
        name: String,
    },

    /// The backend exists and is not part of this program.
    #[error(
        "the device {name:?} needs the cargo feature {name:?}; this program was built with: {}",
        compiled().join(", ")
    )]
    NotCompiled {
        /// The name given.
        name: String,
    },

    /// What follows the colon makes no sense.
    #[error("the device {name:?} is invalid, expected {expected}")]
    Argument {
        /// The name given.
        name: String,
        /// What would be valid.
        expected: &'static str,
    },

    /// The program was built without any backend.
    #[error("this program was built without a backend; enable one, such as the feature \"flex\"")]
    NoBackend,

    /// The backend is there and found no hardware, or failed to start.
    #[error("the device {name:?} could not be opened: {message}")]
    Unavailable {
        /// The name given.
        name: String,
        /// Why.
        message: String,
    },
}

/// The environment variable from which burn takes its default device.
const VARIABLE: &str = "BURN_DEVICE";

/// The names that the features know.
const KNOWN: [&str; 9] = [
    "flex", "ndarray", "wgpu", "vulkan", "metal", "cuda", "rocm", "cpu", "remote",
];

/// The backends that this program was built with, by the names of their features.
pub fn compiled() -> Vec<&'static str> {
    let built = [
        cfg!(feature = "flex"),
        cfg!(feature = "ndarray"),
        cfg!(feature = "wgpu"),
        cfg!(feature = "vulkan"),
        cfg!(feature = "metal"),
        cfg!(feature = "cuda"),
        cfg!(feature = "rocm"),
        cfg!(feature = "cpu"),
        cfg!(feature = "remote"),
    ];
    KNOWN
        .into_iter()
        .zip(built)
        .filter_map(|(name, built)| built.then_some(name))
        .collect()
}

/// The device of a name, or for `None` burn's default, which the environment variable
/// `BURN_DEVICE` sets.
///
/// Names are those of the features. `cuda` and `rocm` take the number of a GPU, as in `cuda:1`, and
/// `remote` an address, as in `remote:ws://host:3000`. The device is opened, so that missing hardware
/// is found out here.
///
/// # Errors
/// [`DeviceError`] for an unknown name, a backend that is not compiled in, and hardware that is not
/// there.
///
/// ```
/// let device = osculate::device::select(Some("flex"))?;
/// assert!(osculate::device::select(Some("abacus")).is_err());
/// # Ok::<(), osculate::device::DeviceError>(())
/// ```
pub fn select(name: Option<&str>) -> Result<Device, DeviceError> {
    let compiled = compiled();
    if compiled.is_empty() {
        return Err(DeviceError::NoBackend);
    }
    // Addresses keep their case.
    let asked = name.map(|name| match name.split_once(':') {
        Some((kind, argument)) => format!("{}:{argument}", kind.to_ascii_lowercase()),
        None => name.to_ascii_lowercase(),
    });
    match &asked {
        Some(name) => {
            check(name, name, &compiled)?;
            check_argument(name)?;
        }
        // burn panics where BURN_DEVICE makes no sense.
        None => {
            let variable = std::env::var(VARIABLE).unwrap_or_default();
            let name = variable.to_ascii_lowercase();
            if !name.is_empty() {
                check(&name, &format!("{VARIABLE}={variable}"), &compiled)?;
            }
        }
    }
    // Backends panic where they find no hardware.
    let opened = std::panic::catch_unwind(|| {
        let device = match &asked {
            None => Device::default(),
            Some(name) => open(name)?,
        };
        device
            .sync()
            .map(|()| device)
            .map_err(|error| error.to_string())
    });
    let message = match opened {
        Ok(Ok(device)) => return Ok(device),
        Ok(Err(message)) => message,
        Err(payload) => payload
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| payload.downcast_ref::<&str>().map(|m| (*m).to_string()))
            .unwrap_or_else(|| "the backend gave no reason".to_string()),
    };
    Err(DeviceError::Unavailable {
        name: asked.unwrap_or_else(|| "default".to_string()),
        message,
    })
}

/// Checks that the backend of a device's name is known and compiled in. `shown` is what an unknown
/// name is called in the error.
fn check(name: &str, shown: &str, compiled: &[&str]) -> Result<(), DeviceError> {
    let kind = name.split(':').next().unwrap_or_default();
    if !KNOWN.contains(&kind) {
        return Err(DeviceError::Unknown {
            name: shown.to_string(),
        });
    }
    if !compiled.contains(&kind) {
        return Err(DeviceError::NotCompiled {
            name: kind.to_string(),
        });
    }
    Ok(())
}

/// Checks what follows the colon in a device's name.
fn check_argument(name: &str) -> Result<(), DeviceError> {
    let Some((kind, argument)) = name.split_once(':') else {
        return if name == "remote" {
            Err(DeviceError::Argument {
                name: name.to_string(),
                expected: "an address, as in remote:ws://host:3000",
            })
        } else {
            Ok(())
        };
    };
    let expected = match kind {
        "remote" if !argument.is_empty() => return Ok(()),
        "cuda" | "rocm" if argument.parse::<usize>().is_ok() => return Ok(()),
        "remote" => "an address, as in remote:ws://host:3000",
        "cuda" | "rocm" => "the number of a GPU after the colon",
        _ => "nothing after the backend's name",
    };
    Err(DeviceError::Argument {
        name: name.to_string(),
        expected,
    })
}

/// The device of a name whose backend is compiled in.
#[cfg_attr(
    not(any(feature = "cuda", feature = "rocm", feature = "remote")),
    expect(unused_variables, reason = "only these backends take an argument")
)]
fn open(name: &str) -> Result<Device, String> {
    let (kind, argument) = name.split_once(':').unwrap_or((name, ""));
    Ok(match kind {
        #[cfg(feature = "flex")]
        "flex" => Device::flex(),
        #[cfg(feature = "ndarray")]
        #[allow(deprecated, reason = "supported for as long as burn ships it")]
        "ndarray" => Device::ndarray(),
        #[cfg(feature = "wgpu")]
        "wgpu" => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "vulkan")]
        "vulkan" => Device::vulkan(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "metal")]
        "metal" => Device::metal(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "cuda")]
        "cuda" => Device::cuda(argument.parse::<usize>().unwrap_or(0)),
        #[cfg(feature = "rocm")]
        "rocm" => Device::rocm(argument.parse::<usize>().unwrap_or(0)),
        #[cfg(feature = "cpu")]
        "cpu" => Device::cpu(),
        #[cfg(feature = "remote")]
        "remote" => {
            let host = burn::tensor::remote::RemoteHost::websocket(argument);
            Device::remote_options(&host)
                .init()
                .map_err(|error| error.to_string())?
        }
        _ => Device::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_explained() {
        assert!(select(Some("flex")).is_ok());
        let unknown = select(Some("abacus")).unwrap_err().to_string();
        assert!(
            unknown.contains("abacus") && unknown.contains("flex"),
            "{unknown}"
        );
        let extra = select(Some("flex:3")).unwrap_err().to_string();
        assert!(extra.contains("flex:3"), "{extra}");
        if !cfg!(feature = "cuda") {
            let missing = select(Some("cuda")).unwrap_err();
            assert_eq!(
                missing,
                DeviceError::NotCompiled {
                    name: "cuda".to_string()
                }
            );
        }
    }
}
