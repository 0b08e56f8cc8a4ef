//! Tokens cut into sequences.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

use crate::corpus::Part;
use crate::error::WikitextError;

/// The tokens of a part, cut into sequences of one length that follow on one another. The target of
/// each token is the one after it.
#[derive(Debug, Clone)]
pub struct Chunks {
    tokens: Vec<u32>,
    length: usize,
}

impl Chunks {
    /// Cuts tokens into sequences of `length`.
    ///
    /// # Errors
    /// [`WikitextError::TooShort`] where there is not one whole sequence with its targets.
    pub fn new(tokens: Vec<u32>, length: usize, part: Part) -> Result<Self, WikitextError> {
        if tokens.len() <= length {
            return Err(WikitextError::TooShort {
                part,
                tokens: tokens.len(),
                needed: length + 1,
                length,
            });
        }
        Ok(Self { tokens, length })
    }

    /// Tokens in a sequence.
    pub fn length(&self) -> usize {
        self.length
    }

    /// All tokens.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Number of whole sequences.
    pub fn len(&self) -> usize {
        (self.tokens.len() - 1) / self.length
    }

    /// Whether there is none; there always is one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens of a sequence, and the token after each.
    ///
    /// # Panics
    /// Where `index` is not below [`len`](Self::len).
    pub fn get(&self, index: usize) -> (&[u32], &[u32]) {
        let start = index * self.length;
        (
            &self.tokens[start..start + self.length],
            &self.tokens[start + 1..start + 1 + self.length],
        )
    }

    /// What is left behind the last whole sequence; it may be empty.
    pub fn rest(&self) -> (&[u32], &[u32]) {
        let start = self.len() * self.length;
        let last = self.tokens.len() - 1;
        (&self.tokens[start..last], &self.tokens[start + 1..])
    }

    /// The sequences in an order that the seed decides.
    pub fn shuffled(&self, seed: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_but_the_first_is_a_target_once() {
        for count in 5..30 {
            let chunks = Chunks::new((0..count).collect(), 4, Part::Train).unwrap();
            let mut targets = Vec::new();
            for index in 0..chunks.len() {
                let (inputs, next) = chunks.get(index);
                assert_eq!(inputs.len(), 4);
                assert!(
                    inputs
                        .iter()
                        .zip(next)
                        .all(|(token, next)| token + 1 == *next)
                );
                targets.extend_from_slice(next);
            }
            let (inputs, next) = chunks.rest();
            assert!(inputs.len() == next.len() && inputs.len() < 4);
            targets.extend_from_slice(next);
            assert_eq!(targets, (1..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn short_parts_are_refused() {
        let error = Chunks::new(vec![1; 4], 4, Part::Valid)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("valid") && error.contains("at least 5"),
            "{error}"
        );
    }

    #[test]
    fn an_order_is_a_function_of_its_seed() {
        let chunks = Chunks::new((0..100).collect(), 4, Part::Train).unwrap();
        assert_eq!(chunks.shuffled(3), chunks.shuffled(3));
        assert_ne!(chunks.shuffled(3), chunks.shuffled(4));
        let mut order = chunks.shuffled(3);
        order.sort_unstable();
        assert_eq!(order, (0..chunks.len()).collect::<Vec<_>>());
    }
}
