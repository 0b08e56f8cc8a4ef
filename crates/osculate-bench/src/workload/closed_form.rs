//! What the workloads in closed form share.

use burn::tensor::{DType, Device, Tensor};
use osculate::prelude::Objective;
use osculate_problems::closed_form::TensorProblem;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

use super::WorkloadError;

/// The problem's start with normal noise of the given size: every seed starts elsewhere.
pub(super) fn start<P: TensorProblem>(
    problem: &P,
    noise: f64,
    seed: u64,
    device: &Device,
) -> P::Point {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let x: Vec<f64> = problem
        .start()
        .into_iter()
        .map(|x| x + noise * rng.sample::<f64, _>(StandardNormal))
        .collect();
    problem.point(&x, device, float(device))
}

/// The widest element type of a device.
fn float(device: &Device) -> DType {
    if device.supports_dtype(DType::F64) {
        DType::F64
    } else {
        DType::F32
    }
}

/// The problem's loss.
pub(super) fn objective<P: TensorProblem + Clone + 'static>(
    problem: &P,
) -> Box<dyn Objective<P::Point>> {
    let problem = problem.clone();
    Box::new(move |point: &P::Point| -> Tensor<1> { problem.tensor_loss(point) })
}

/// How far the loss is above its least value, in `f64` on the host, and never below a number that a
/// logarithmic axis can show.
pub(super) fn gap<P: TensorProblem>(
    problem: &P,
    point: &P::Point,
    least: f64,
) -> Result<f64, WorkloadError> {
    const FLOOR: f64 = 1e-16;
    let loss = problem.loss(&problem.flatten(point));
    if loss.is_nan() {
        return Ok(f64::NAN);
    }
    Ok((loss - least).max(FLOOR))
}
