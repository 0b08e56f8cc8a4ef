//! Ending a run from outside.

use std::io::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::complain;
use crate::exit::INTERRUPTED;

/// Asks for the end of the work after the step under way. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

/// The flag of the process's signals, once they are caught.
static SIGNALS: Mutex<Option<Interrupt>> = Mutex::new(None);

/// Number of `SIGINT`, which Ctrl-C sends.
const INTERRUPT: i32 = 2;

impl Interrupt {
    /// One that [`trigger`](Self::trigger) sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that Ctrl-C sets, and on Unix `SIGTERM` and `SIGHUP` as well. A line on standard error answers
    /// Ctrl-C, and a second one ends the process at once, with [`INTERRUPTED`]; a second of the other
    /// signals does not, because shells and terminals send `SIGHUP` twice.
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
        if !is_ignored(INTERRUPT) {
            let set = interrupt.clone();
            let handled = ctrlc::set_handler(move || {
                if set.0.swap(true, Ordering::Relaxed) {
                    std::process::exit(i32::from(INTERRUPTED));
                }
                complain("stopping after this step; Ctrl-C again leaves at once, without saving");
            });
            handled.map_err(Error::other)?;
        }
        #[cfg(unix)]
        for signal in OTHERS {
            if !is_ignored(signal) {
                signal_hook::flag::register(signal, interrupt.0.clone())?;
            }
        }
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

/// Signals beside Ctrl-C's that end a process.
#[cfg(unix)]
const OTHERS: [i32; 2] = [signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP];

/// Whether the process was started with a signal ignored. Where the system does not tell, it was not.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

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
        assert_eq!(INTERRUPT, signal_hook::consts::SIGINT);
        for signal in OTHERS.into_iter().chain([INTERRUPT]) {
            let interrupt = Interrupt::on_signals().unwrap();
            interrupt.0.store(false, Ordering::Relaxed);
            signal_hook::low_level::raise(signal).unwrap();
            // The handler of Ctrl-C has a thread of its own.
            let until = Instant::now() + Duration::from_secs(10);
            while !interrupt.is_set() && Instant::now() < until {
                std::thread::yield_now();
            }
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
