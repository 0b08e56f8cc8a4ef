//! Devices on which operations are recorded.

use std::sync::{Mutex, PoisonError};

use burn::tensor::{Device, DeviceConfig};
use burn_backend::DeviceSettings;

use crate::error::JvpError;

/// Recording devices that are not in use. Their number is limited for the life of a process, and
/// one device records one function at a time, so they are lent out and returned.
static IDLE: Mutex<Vec<(Defaults, Device)>> = Mutex::new(Vec::new());

/// Element types of tensors that recorded code creates without naming one.
type Defaults = String;

/// A recording device on loan.
pub(crate) struct Recorder {
    defaults: Defaults,
    device: Option<Device>,
}

impl Recorder {
    /// A device that creates tensors of the same element types as a device with these settings.
    pub(crate) fn like(settings: &DeviceSettings) -> Result<Self, JvpError> {
        let defaults = format!(
            "{:?} {:?} {:?}",
            settings.float_dtype, settings.int_dtype, settings.bool_dtype
        );
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        let position = idle.iter().position(|(other, _)| *other == defaults);
        let device = match position {
            Some(position) => idle.swap_remove(position).1,
            None => {
                let mut device = Device::capture();
                let config = DeviceConfig::default()
                    .float_dtype(settings.float_dtype)
                    .int_dtype(settings.int_dtype)
                    .bool_dtype(settings.bool_dtype);
                // A recording device can only be spoken to within a recording.
                let mut configured = Ok(());
                let scope = device.clone().capture_scope(|scope| {
                    configured = device.configure(config);
                    scope.complete([], [])
                });
                let failed = |message: String| JvpError::Internal {
                    what: format!("the recording device could not be configured: {message}"),
                };
                scope.map_err(|error| failed(error.to_string()))?;
                configured.map_err(|error| failed(error.to_string()))?;
                device
            }
        };
        Ok(Self {
            defaults,
            device: Some(device),
        })
    }

    pub(crate) fn device(&self) -> Result<&Device, JvpError> {
        self.device.as_ref().ok_or_else(|| JvpError::Internal {
            what: "the recording device was returned before its use ended".to_string(),
        })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(device) = self.device.take() {
            IDLE.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((core::mem::take(&mut self.defaults), device));
        }
    }
}
