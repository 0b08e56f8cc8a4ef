//! What the system tells of this process and this machine.

use std::fs;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

/// Where results were measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of this program.
    pub osculate: String,
    /// Version of burn.
    pub burn: String,
    /// The device.
    pub device: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// The processor, where the system tells.
    pub processor: Option<String>,
    /// Operating system and architecture.
    pub system: String,
}

impl Environment {
    /// This machine.
    pub fn current(device: &Device) -> Self {
        Self {
            osculate: env!("CARGO_PKG_VERSION").to_string(),
            burn: "0.22.1".to_string(),
            device: format!("{device:?}"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: field("/proc/cpuinfo", "model name"),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// Whether a device computes in this process, whose processor time then says how long it took; a GPU computes
/// while the process waits.
pub fn computes_here(device: &Device) -> bool {
    let name = format!("{device:?}").to_ascii_lowercase();
    ["flex", "ndarray", "cpu"]
        .iter()
        .any(|cpu| name.contains(cpu))
}

/// Largest resident memory of this process so far, or since [`reset_peak_memory`], in bytes. `None` on
/// systems other than Linux.
pub fn peak_memory() -> Option<u64> {
    let text = field("/proc/self/status", "VmHWM")?;
    let kilobytes: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(1024 * kilobytes)
}

/// Starts to measure the largest resident memory anew; without effect where the system does not allow it.
pub fn reset_peak_memory() {
    // 5 resets the high-water mark, says proc(5). A refusal leaves the mark of the whole process.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The text after `name:` in a file of such lines.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':')
        .map(|(_, value)| value.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_falls_when_it_is_reset() {
        let big = vec![1_u8; 64 << 20];
        let with = peak_memory().unwrap();
        assert!(with >= big.iter().map(|x| u64::from(*x)).sum());
        drop(big);
        reset_peak_memory();
        assert!(peak_memory().unwrap() <= with);
    }
}
