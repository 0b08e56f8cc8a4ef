use std::error::Error;
use std::fmt::{Debug, Formatter};

/// The error of a program's `main`, made by `?` of any other.
///
/// What Rust prints of an error that `main` returns is its `Debug` form, which is for programmers. That of this one is
/// the sentence of the error, and the sentences of those behind it that it does not have itself.
///
/// ```
/// use osculate::prelude::*;
///
/// fn main_of_a_program() -> Result<(), MainError> {
///     let sam = Sam::new(-1.0).over(SoapConfig::new().init()?)?;
///     # drop(sam);
///     Ok(())
/// }
///
/// let printed = format!("Error: {:?}", main_of_a_program().unwrap_err());
/// assert!(printed.starts_with("Error: Sam: rho = -1 is invalid, expected "), "{printed}");
/// ```
pub struct MainError(Box<dyn Error>);

impl<E: Error + 'static> From<E> for MainError {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl Debug for MainError {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut behind = self.0.source();
        while let Some(error) = behind {
            let sentence = error.to_string();
            if !said.contains(&sentence) {
                write!(f, ": {sentence}")?;
                said += &sentence;
            }
            behind = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("{text}")]
    struct Said {
        text: &'static str,
        source: Option<Box<Said>>,
    }

    #[test]
    fn sentences_are_printed_once_each() {
        let said = |text, source: Option<Said>| Said {
            text,
            source: source.map(Box::new),
        };
        let inner = said("no space left", None);
        let middle = said("cannot write a.json: no space left", Some(inner));
        let outer = said("the run was not saved", Some(middle));
        assert_eq!(
            format!("{:?}", MainError::from(outer)),
            "the run was not saved: cannot write a.json: no space left"
        );
    }
}
