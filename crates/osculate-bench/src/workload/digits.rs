//! What the workloads on handwritten digits share.

use std::sync::OnceLock;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use osculate::prelude::*;
use osculate_problems::digits::{Batches, Digits, Split};

use super::WorkloadError;
use super::stage::Stage;

/// Images in a batch.
pub(super) const BATCH: usize = 64;
/// Images on which curvature is measured.
const CURVATURE_IMAGES: usize = 256;
/// Where the images come from.
pub(super) const SOURCE: &str = "1442 handwritten digits of 8 x 8 pixels to train on and 355 to test \
                                 on (UCI, embedded), in batches of 64; tuning holds out 288 of those to \
                                 train on";
/// One in so many training images is held out for tuning, about as many as there are test images.
const HELD_OUT: usize = 5;

/// The embedded images.
fn digits() -> Result<&'static Digits, WorkloadError> {
    Digits::load().map_err(WorkloadError::new)
}

/// The images to train on and those to measure.
pub(super) fn images(stage: Stage) -> Result<[&'static Split; 2], WorkloadError> {
    static TUNING: OnceLock<[Split; 2]> = OnceLock::new();
    let digits = digits()?;
    Ok(match stage {
        Stage::Report => [digits.train(), digits.test()],
        Stage::Tuning => TUNING
            .get_or_init(|| digits.train().hold_out(HELD_OUT).into())
            .each_ref(),
    })
}

/// The positions of a step's batch among so many images.
pub(super) fn positions(len: usize, size: usize, seed: u64, step: usize) -> Vec<usize> {
    let a_pass = len.div_ceil(size);
    let mut batches = Batches::new(len, size, seed, (step / a_pass) as u64);
    batches.nth(step % a_pass).unwrap_or_default()
}

/// The cross-entropy of a network on the batch of a step.
pub(super) fn batch<M: Module + 'static>(
    split: &Split,
    forward: fn(&M, &Tensor<2>) -> Tensor<2>,
    seed: u64,
    step: usize,
    device: &Device,
) -> Box<dyn Objective<M>> {
    of(
        split,
        &positions(split.len(), BATCH, seed, step),
        forward,
        device,
    )
}

/// The cross-entropy of a network on the first training images.
pub(super) fn curvature_batch<M: Module + 'static>(
    split: &Split,
    forward: fn(&M, &Tensor<2>) -> Tensor<2>,
    device: &Device,
) -> Box<dyn Objective<M>> {
    let first: Vec<usize> = (0..split.len().min(CURVATURE_IMAGES)).collect();
    of(split, &first, forward, device)
}

fn of<M: Module + 'static>(
    split: &Split,
    positions: &[usize],
    forward: fn(&M, &Tensor<2>) -> Tensor<2>,
    device: &Device,
) -> Box<dyn Objective<M>> {
    let batch = split.batch(positions, device);
    let criterion = Criterion::cross_entropy(batch.labels);
    Box::new(SupervisedBatch::new(batch.images, forward, criterion))
}

/// The part of the images that a network classifies correctly.
pub(super) fn measured_accuracy<M: Module + 'static>(
    split: &Split,
    model: &M,
    forward: fn(&M, &Tensor<2>) -> Tensor<2>,
    device: &Device,
) -> f64 {
    let batch = split.all(device);
    accuracy(forward(model, &batch.images), batch.labels)
}

/// The part of the rows whose largest logit is at the label.
pub(super) fn accuracy(logits: Tensor<2>, labels: Tensor<1, Int>) -> f64 {
    let rows = logits.dims()[0];
    let predicted: Tensor<1, Int> = logits.argmax(1).squeeze_dim(1);
    let correct = predicted.equal(labels).int().sum().into_data();
    correct.iter::<i64>().sum::<i64>() as f64 / rows.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuning_parts_the_training_images_and_sees_no_test_image() {
        let [all, test] = images(Stage::Report).unwrap();
        let [train, measured] = images(Stage::Tuning).unwrap();
        assert_eq!((all.len(), test.len()), (1442, 355));
        let rows = |split: &Split| -> Vec<Vec<u32>> {
            let pixels = split.pixels().chunks(split.pixels().len() / split.len());
            pixels
                .map(|row| row.iter().map(|p| p.to_bits()).collect())
                .collect()
        };
        let mut parts = [rows(train), rows(measured)].concat();
        let mut whole = rows(all);
        parts.sort();
        whole.sort();
        assert_eq!(parts, whole);
        assert!(
            rows(test)
                .iter()
                .all(|row| whole.binary_search(row).is_err())
        );
    }

    #[test]
    fn steps_walk_through_all_images() {
        let mut seen: Vec<usize> = (0..23)
            .flat_map(|step| positions(1442, 64, 1, step))
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..1442).collect::<Vec<_>>());
        assert_ne!(positions(1442, 64, 1, 0), positions(1442, 64, 1, 23));
        assert_eq!(positions(1442, 64, 1, 30), positions(1442, 64, 1, 30));
    }
}
