//! Ending a run from outside.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::TrainerError;

/// Exit code of a program that Ctrl-C ended, as shells count it.
pub const INTERRUPTED: u8 = 130;

/// Asks a run to end after the step under way.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

/// The flag of the process, which has one handler of Ctrl-C.
static CTRL_C: OnceLock<Interrupt> = OnceLock::new();

impl Interrupt {
    /// One that [`trigger`](Self::trigger) sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that Ctrl-C sets: the step under way is finished and a checkpoint is written. A second
    /// Ctrl-C ends the program at once, with [`INTERRUPTED`].
    ///
    /// # Errors
    /// [`TrainerError::Interrupt`] where the program has a handler of its own.
    pub fn on_ctrl_c() -> Result<Self, TrainerError> {
        if let Some(interrupt) = CTRL_C.get() {
            return Ok(interrupt.clone());
        }
        let interrupt = Self::new();
        let flag = interrupt.clone();
        ctrlc::set_handler(move || {
            if flag.0.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(INTERRUPTED));
            }
        })
        .map_err(|error| TrainerError::Interrupt {
            message: error.to_string(),
        })?;
        Ok(CTRL_C.get_or_init(|| interrupt).clone())
    }

    /// Asks the run to end.
    pub fn trigger(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the run was asked to end.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
