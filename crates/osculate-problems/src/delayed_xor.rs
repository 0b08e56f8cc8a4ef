//! Sequences of random bits of which two are marked: the answer is whether those two differ.
//!
//! A recurrent network has to carry the first marked bit to the second one, and their combination
//! to the end, through bits that do not matter. Gradients reach the first bit through all steps in
//! between, which makes the task hard for methods without curvature.

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use thiserror::Error;

/// Channels of a place in a sequence: the bit as `-1` or `1`, and the mark as `0` or `1`.
pub const CHANNELS: usize = 2;

/// A sequence that is too short for two marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("delayed xor: length = {0} is invalid, expected at least 4")]
pub struct DelayedXorError(usize);

/// Sequences with their answers.
#[derive(Debug, Clone)]
pub struct DelayedXorBatch {
    /// Of shape `[rows, length, 2]`.
    pub sequences: Tensor<3>,
    /// 1 where the marked bits differ and 0 where they do not, of shape `[rows]`.
    pub answers: Tensor<1, Int>,
}

/// `rows` sequences that `seed` and `number` decide alone. The first mark stands in the first quarter
/// of a sequence, the second between there and its middle.
///
/// # Errors
/// [`DelayedXorError`] for a length below 4.
pub fn delayed_xor(
    [rows, length]: [usize; 2],
    seed: u64,
    number: u64,
    device: &Device,
) -> Result<DelayedXorBatch, DelayedXorError> {
    if length < 4 {
        return Err(DelayedXorError(length));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    let mut sequences = Vec::with_capacity(rows * length * CHANNELS);
    let mut answers = Vec::with_capacity(rows);
    for _ in 0..rows {
        let bits: Vec<bool> = (0..length).map(|_| rng.random()).collect();
        let marks = [
            rng.random_range(0..length / 4),
            rng.random_range(length / 4..length / 2),
        ];
        answers.push(i32::from(bits[marks[0]] != bits[marks[1]]));
        for (place, bit) in bits.into_iter().enumerate() {
            sequences.push(if bit { 1.0_f32 } else { -1.0 });
            sequences.push(if marks.contains(&place) { 1.0 } else { 0.0 });
        }
    }
    let data = TensorData::new(sequences, [rows, length, CHANNELS]);
    Ok(DelayedXorBatch {
        sequences: Tensor::from_data(data, device),
        answers: Tensor::from_data(TensorData::new(answers, [rows]), device),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_xor_of_the_marked_bits() {
        let (rows, length) = (50, 12);
        let batch = delayed_xor([rows, length], 3, 4, &Device::flex()).unwrap();
        let values: Vec<f32> = batch.sequences.try_into_vec_as().unwrap();
        let answers: Vec<i64> = batch.answers.into_data().iter::<i64>().collect();
        for (row, answer) in answers.iter().enumerate() {
            let places = values[row * length * 2..(row + 1) * length * 2].chunks(2);
            let marked: Vec<f32> = places.filter(|p| p[1] == 1.0).map(|p| p[0]).collect();
            assert_eq!(marked.len(), 2);
            assert_eq!(*answer, i64::from(marked[0] != marked[1]));
        }
        assert!(answers.contains(&0) && answers.contains(&1));
        assert!(delayed_xor([1, 3], 0, 0, &Device::flex()).is_err());
    }
}
