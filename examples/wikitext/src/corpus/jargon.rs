//! The embedded text.

use osculate_problems::jargon;

use super::Corpus;
use crate::error::WikitextError;

const NAME: &str = "the embedded Jargon File 4.4.7";

/// Nine tenths to train on, and a twentieth each to validate and to test on.
pub(super) fn corpus() -> Result<Corpus, WikitextError> {
    let text = jargon::text()?;
    let train = text.floor_char_boundary(text.len() / 10 * 9);
    let valid = text.floor_char_boundary(text.len() / 20 * 19);
    Ok(Corpus {
        train: text[..train].to_string(),
        valid: text[train..valid].to_string(),
        test: Some(text[valid..].to_string()),
        origin: NAME.to_string(),
        notes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_text_is_whole() {
        let corpus = corpus().unwrap();
        let test = corpus.test.as_ref().unwrap();
        assert_eq!(
            corpus.train.len() + corpus.valid.len() + test.len(),
            1_681_817
        );
        assert!(corpus.train.contains("The Jargon File"));
        assert!(corpus.train.len() > 17 * corpus.valid.len());
        assert_eq!(corpus.fingerprint(), super::corpus().unwrap().fingerprint());
    }
}
