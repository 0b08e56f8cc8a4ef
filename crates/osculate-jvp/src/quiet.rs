//! Panics of recorded code, which become errors.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::error::JvpError;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` and turns a panic into an error, without the message and the backtrace that the
/// process's panic hook would print: a recording that fails is answered by an error or by finite
/// differences, and is no accident of the program.
///
/// The first call puts a hook before the present one, which passes on every panic of other code.
pub(crate) fn quietly<T>(f: impl FnOnce() -> T) -> Result<T, JvpError> {
    static HOOK: Once = Once::new();
    // A hook cannot be set while panicking.
    if !std::thread::panicking() {
        HOOK.call_once(|| {
            let previous = take_hook();
            set_hook(Box::new(move |info| {
                if !QUIET.try_with(Cell::get).unwrap_or(false) {
                    previous(info);
                }
            }));
        });
    }
    let before = QUIET.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(f));
    QUIET.set(before);
    outcome.map_err(|payload| JvpError::from_panic(payload.as_ref()))
}
