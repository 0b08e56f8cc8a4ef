use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs something whose panic must not end the other trials of a study of hours, and gives the panic's
/// message where there is one. What it has left half done must not be used any more.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run))
        .map_err(|payload| format!("it panicked: {}", message(payload.as_ref())))
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_in_its_words() {
        assert_eq!(caught(|| 3), Ok(3));
        let number = 7;
        assert_eq!(
            caught(|| panic!("no {number}")),
            Err::<(), _>("it panicked: no 7".to_string())
        );
        assert_eq!(
            caught(|| panic!("plain")),
            Err::<(), _>("it panicked: plain".to_string())
        );
    }
}
