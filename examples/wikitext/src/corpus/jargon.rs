//! The embedded text.

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use super::Corpus;
use crate::error::WikitextError;

const TEXT: &[u8] = include_bytes!("../../data/jargon-file-4.4.7.txt.gz");
const NAME: &str = "the embedded Jargon File 4.4.7";

pub(super) fn corpus() -> Result<Corpus, WikitextError> {
    let mut text = String::new();
    GzDecoder::new(TEXT)
        .read_to_string(&mut text)
        .map_err(WikitextError::io(Path::new(NAME)))?;
    let train = text.floor_char_boundary(text.len() / 10 * 9);
    let valid = text.floor_char_boundary(text.len() / 20 * 19);
    Ok(Corpus {
        train: text[..train].to_string(),
        valid: text[train..valid].to_string(),
        test: Some(text[valid..].to_string()),
        origin: NAME.to_string(),
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
