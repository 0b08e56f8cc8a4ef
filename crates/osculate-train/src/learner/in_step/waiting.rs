//! Batches whose gradients wait for their step.

use std::thread::{self, ThreadId};

use burn::tensor::Device;

use super::objective::Batch;

/// Batches that wait for their step.
pub(super) struct Waiting<I> {
    batches: Vec<Seen<I>>,
    /// Whether the thread that makes the steps also evaluates its batches, as on one device and in a
    /// distributed worker; not known before the first step.
    by_one_thread: Option<bool>,
}

/// A batch with the thread that evaluated it.
struct Seen<I> {
    thread: ThreadId,
    /// Steps that were made before.
    step: u64,
    batch: Batch<I>,
}

// Derived, it would ask for batches that have a default.
impl<I> Default for Waiting<I> {
    fn default() -> Self {
        Self {
            batches: Vec::new(),
            by_one_thread: None,
        }
    }
}

impl<I> Waiting<I> {
    pub(super) fn add(&mut self, thread: ThreadId, step: u64, batch: Batch<I>) {
        self.batches.push(Seen {
            thread,
            step,
            batch,
        });
    }

    /// How many batches of a thread wait for a step.
    pub(super) fn count(&self, thread: ThreadId, step: u64) -> usize {
        let mut number = 0;
        for seen in &self.batches {
            number += usize::from(seen.thread == thread && seen.step == step);
        }
        number
    }

    /// The batches that the gradient of a step was made of: those of this thread where it evaluates
    /// batches itself, as a distributed worker does, and those of all threads otherwise.
    pub(super) fn take(&mut self, step: u64) -> Vec<(ThreadId, Batch<I>)> {
        let own = thread::current().id();
        let by_this_thread = self.batches.iter().any(|batch| batch.thread == own);
        self.by_one_thread = Some(by_this_thread);
        let all = std::mem::take(&mut self.batches);
        let (taken, others): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|batch| !by_this_thread || batch.thread == own);
        self.batches = others;
        taken
            .into_iter()
            // A batch of an earlier step was evaluated and then not used.
            .filter(|seen| seen.step == step)
            .map(|seen| (seen.thread, seen.batch))
            .collect()
    }

    /// Drops batches that no step was made on, at the end of an epoch whose loader never said that it was
    /// complete: burn drops their gradients. Says how many.
    pub(super) fn leave(&mut self) -> usize {
        let own = thread::current().id();
        let before = self.batches.len();
        if self.batches.iter().any(|batch| batch.thread == own) {
            self.batches.retain(|batch| batch.thread != own);
        } else if self.by_one_thread != Some(true) {
            self.batches.clear();
        }
        before - self.batches.len()
    }
}

/// A function of the run, the step, the batch within it and the device.
pub(super) fn mask_seed(seed: u64, step: u64, batch: usize, device: &Device) -> u64 {
    // Odd multipliers keep neighbours apart.
    let place = u64::from(crc32fast::hash(format!("{device:?}").as_bytes()));
    seed.rotate_left(32)
        ^ step.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ (batch as u64).wrapping_mul(0xC2B2_AE3D_27D4_EB4F)
        ^ place.wrapping_mul(0x1656_67B1_9E37_79F9)
}
