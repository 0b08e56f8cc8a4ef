//! A text as numbers of its characters, in windows for a language model.

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use thiserror::Error;

/// A text that cannot be split as asked.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum CharactersError {
    /// The share to train on is not between 0 and 1.
    #[error("the share of the text to train on is {0}, expected a number above 0 and below 1")]
    Share(f64),
    /// A part is shorter than one window and the character after it.
    #[error("a part of the text has {characters} characters, expected more than {window}")]
    Short {
        /// Characters of the part.
        characters: usize,
        /// Characters of a window.
        window: usize,
    },
}

/// A text as numbers of its characters, split into a part to train on, one to validate on and one to test on.
///
/// The number of a character is its place among the different characters of the whole text, in the
/// order of their code points.
///
/// ```
/// use osculate_problems::characters::{Characters, Part};
///
/// let text = Characters::new("abcabcabcabcabc", 0.6)?;
/// assert_eq!(text.vocabulary(), ['a', 'b', 'c']);
/// assert_eq!(text.part(Part::Train).len(), 9);
/// # Ok::<(), osculate_problems::characters::CharactersError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Characters {
    vocabulary: Vec<char>,
    train: Vec<i32>,
    validation: Vec<i32>,
    test: Vec<i32>,
}

/// A part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The beginning.
    Train,
    /// The first half of the rest.
    Validation,
    /// The end.
    Test,
}

/// Windows of a text with the character that follows at every place.
#[derive(Debug, Clone)]
pub struct Windows {
    /// Characters, of shape `[rows, length]`.
    pub characters: Tensor<2, Int>,
    /// The characters one place later, of shape `[rows * length]`.
    pub next: Tensor<1, Int>,
}

impl Characters {
    /// Numbers a text, keeps the first `train_share` of it for training, and halves the rest for validation and
    /// test.
    ///
    /// # Errors
    /// [`CharactersError::Share`].
    pub fn new(text: &str, train_share: f64) -> Result<Self, CharactersError> {
        if !(train_share > 0.0 && train_share < 1.0) {
            return Err(CharactersError::Share(train_share));
        }
        let mut vocabulary: Vec<char> = text.chars().collect();
        vocabulary.sort_unstable();
        vocabulary.dedup();
        let number = |c: char| vocabulary.partition_point(|known| *known < c) as i32;
        let mut train: Vec<i32> = text.chars().map(number).collect();
        let mut validation = train.split_off((train.len() as f64 * train_share) as usize);
        let test = validation.split_off(validation.len() / 2);
        Ok(Self {
            vocabulary,
            train,
            validation,
            test,
        })
    }

    /// The different characters, in the order of their numbers.
    pub fn vocabulary(&self) -> &[char] {
        &self.vocabulary
    }

    /// The numbers of a part.
    pub fn part(&self, part: Part) -> &[i32] {
        match part {
            Part::Train => &self.train,
            Part::Validation => &self.validation,
            Part::Test => &self.test,
        }
    }

    /// `rows` windows of `length` characters at random places of a part, which `seed` and `number`
    /// decide alone: a resumed run sees the windows that the interrupted one would have seen.
    ///
    /// # Errors
    /// [`CharactersError::Short`].
    pub fn windows(
        &self,
        part: Part,
        [rows, length]: [usize; 2],
        seed: u64,
        number: u64,
        device: &Device,
    ) -> Result<Windows, CharactersError> {
        let all = self.part(part);
        if all.len() <= length {
            return Err(CharactersError::Short {
                characters: all.len(),
                window: length,
            });
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number);
        let (mut characters, mut next) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let start = rng.random_range(0..all.len() - length);
            characters.extend_from_slice(&all[start..start + length]);
            next.extend_from_slice(&all[start + 1..start + 1 + length]);
        }
        Ok(Windows {
            characters: Tensor::from_data(TensorData::new(characters, [rows, length]), device),
            next: Tensor::from_data(TensorData::new(next, [rows * length]), device),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_neighbours_and_repeat_for_a_seed() {
        let text = Characters::new(&"the quick brown fox ".repeat(20), 0.9).unwrap();
        let device = Device::flex();
        let draw = |number| {
            let windows = text
                .windows(Part::Train, [3, 8], 1, number, &device)
                .unwrap();
            let read = |data: TensorData| data.iter::<i64>().collect::<Vec<_>>();
            (
                read(windows.characters.into_data()),
                read(windows.next.into_data()),
            )
        };
        let (characters, next) = draw(5);
        for row in 0..3 {
            assert_eq!(
                characters[row * 8 + 1..row * 8 + 8],
                next[row * 8..row * 8 + 7]
            );
        }
        assert_eq!(draw(5), (characters, next));
        assert_ne!(draw(5), draw(6));
    }

    #[test]
    fn what_cannot_be_split_is_refused() {
        assert_eq!(
            Characters::new("abc", 1.0).unwrap_err(),
            CharactersError::Share(1.0)
        );
        let short = Characters::new("abcdefghi", 0.34).unwrap();
        assert_eq!(
            [Part::Train, Part::Validation, Part::Test].map(|part| short.part(part).len()),
            [3, 3, 3]
        );
        let refused = short.windows(Part::Validation, [1, 3], 0, 0, &Device::flex());
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("has 3 characters")
        );
    }
}
