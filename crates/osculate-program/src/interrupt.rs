//! Ending a run from outside.

use std::io::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::complain;
use crate::exit::INTERRUPTED;

/// Asks for the end of the work after the step under way. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

/// The flag of the process's signals, once they are caught.
static SIGNALS: Mutex<Option<Interrupt>> = Mutex::new(None);

/// Pause between two looks at the flag by who tells that it was set.
const PAUSE: Duration = Duration::from_millis(100);

impl Interrupt {
    /// One that [`trigger`](Self::trigger) sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that `SIGINT` (Ctrl-C), `SIGTERM` and `SIGHUP` set; a line on standard error then says
    /// that the end is near. A second Ctrl-C ends the process at once, with [`INTERRUPTED`]; a second
    /// of the others does not, because shells and terminals send `SIGHUP` twice.
    ///
    /// On Linux a signal that was ignored when the process began stays ignored, as `nohup` has it.
    /// All calls give the same flag.
    ///
    /// # Errors
    /// The system's, where a signal cannot be caught.
    pub fn on_signals() -> Result<Self> {
        let mut known = SIGNALS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(interrupt) = &*known {
            return Ok(interrupt.clone());
        }
        let interrupt = Self::new();
        let set = || interrupt.0.clone();
        for &signal in ENDING {
            if is_ignored(signal) {
                continue;
            }
            if signal == SIGINT {
                // It looks at the flag before the next line sets it.
                flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), set())?;
            }
            flag::register(signal, set())?;
        }
        let seen = interrupt.clone();
        thread::Builder::new()
            .name("interrupt".to_string())
            .spawn(move || {
                while !seen.is_set() {
                    thread::sleep(PAUSE);
                }
                complain("stopping after this step; Ctrl-C again leaves at once, without saving");
            })?;
        *known = Some(interrupt.clone());
        Ok(interrupt)
    }

    /// Asks for the end.
    pub fn trigger(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the end was asked for.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, which is true once the end was asked for.
    pub fn flag(&self) -> &AtomicBool {
        &self.0
    }
}

#[cfg(unix)]
const ENDING: &[i32] = &[SIGINT, SIGTERM, signal_hook::consts::SIGHUP];
#[cfg(not(unix))]
const ENDING: &[i32] = &[SIGINT, SIGTERM];

/// Whether the process was started with a signal ignored. Where the system does not tell, it was not.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_one() {
        let interrupt = Interrupt::new();
        let other = interrupt.clone();
        assert!(!other.is_set());
        interrupt.trigger();
        assert!(other.is_set() && other.flag().load(Ordering::Relaxed));
        assert!(!Interrupt::new().is_set());
    }

    #[cfg(unix)]
    #[test]
    fn every_ending_signal_sets_the_flag_and_does_not_end_the_process() {
        for &signal in ENDING {
            let interrupt = Interrupt::on_signals().unwrap();
            interrupt.0.store(false, Ordering::Relaxed);
            signal_hook::low_level::raise(signal).unwrap();
            assert!(Interrupt::on_signals().unwrap().is_set(), "{signal}");
        }
    }

    /// Rust's runtime ignores `SIGPIPE` from the start.
    #[cfg(target_os = "linux")]
    #[test]
    fn ignored_signals_are_known() {
        assert!(is_ignored(signal_hook::consts::SIGPIPE));
        assert!(!is_ignored(signal_hook::consts::SIGUSR1));
    }
}
