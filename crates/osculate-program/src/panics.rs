//! Panics of libraries.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs code of a library that may panic on damaged input, and gives the panic's message where it does. What
/// it has left half done must not be used any more.
///
/// Nothing is printed of a panic on this thread: to the person at the terminal it is an error like others.
pub fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                usual(panic);
            }
        }));
    });
    let before = QUIET.replace(true);
    let done = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(before);
    done.map_err(|payload| message(payload.as_ref()).to_string())
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no reason is given")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_in_its_words() {
        assert_eq!(caught(|| 3), Ok(3));
        let number = 7;
        let told = caught(|| panic!("no {number}"));
        assert_eq!(told, Err::<(), _>("no 7".to_string()));
        assert_eq!(
            caught(|| panic!("plain")),
            Err::<(), _>("plain".to_string())
        );
        assert!(!QUIET.get());
    }
}
