//! The Jargon File 4.4.7, 1.6 million characters of English, embedded in the program.
//!
//! It is in the public domain; `data/README.md` names the source. [`Characters`](crate::characters)
//! makes numbers of it for a language model.

use std::io::Read;
use std::sync::OnceLock;

use flate2::read::GzDecoder;
use thiserror::Error;

static COMPRESSED: &[u8] = include_bytes!("../data/jargon.txt.gz");

/// The embedded text could not be read: the program was built from a damaged file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the embedded Jargon File is damaged: {0}")]
pub struct JargonError(String);

/// The whole text, decompressed at the first call.
///
/// # Errors
/// [`JargonError`] if the program was built from a damaged file.
///
/// ```
/// let text = osculate_problems::jargon::text()?;
/// assert!(text.contains("yak shaving"));
/// # Ok::<(), osculate_problems::jargon::JargonError>(())
/// ```
pub fn text() -> Result<&'static str, JargonError> {
    static TEXT: OnceLock<Result<String, JargonError>> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut text = String::new();
        GzDecoder::new(COMPRESSED)
            .read_to_string(&mut text)
            .map_err(|error| JargonError(error.to_string()))?;
        Ok(text)
    })
    .as_deref()
    .map_err(Clone::clone)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_text_is_whole() {
        let text = super::text().unwrap();
        assert_eq!(text.chars().count(), 1_618_757);
        assert!(text.contains("(version 4.4.7)"));
    }
}
