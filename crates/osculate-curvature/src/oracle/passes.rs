//! A loss and its gradient on a model, in one pass or part by part.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;

use super::Evaluation;
use crate::error::CurvatureError;
use crate::objective::{Objective, Part};
use crate::params::{ParamVec, collect_gradients, collect_registered};

/// One forward pass: the loss, and a supervised objective's outputs without their tape.
pub(super) fn forward<M>(
    model: &M,
    objective: &dyn Objective<M>,
) -> Result<(Tensor<1>, Option<Tensor<2>>), CurvatureError> {
    Ok(match objective.supervised() {
        Some(supervised) => {
            let outputs = supervised.outputs(model);
            let kept = outputs.clone().without_autodiff();
            (supervised.criterion().loss(outputs)?, Some(kept))
        }
        None => (objective.loss(model)?, None),
    })
}

/// One forward and one backward pass.
pub(super) fn pass<M: Module>(
    model: &M,
    objective: &dyn Objective<M>,
) -> Result<Evaluation, CurvatureError> {
    let (loss, outputs) = forward(model, objective)?;
    let value = loss.clone().without_autodiff();
    Ok(Evaluation {
        gradient: backward(model, loss)?,
        loss: value,
        outputs,
    })
}

/// One forward and one backward pass for each part.
pub(super) fn accumulate<M: Module>(
    model: &M,
    parts: &[Part<M>],
) -> Result<Evaluation, CurvatureError> {
    let mut gradients = GradientsAccumulator::new();
    let mut losses = Vec::with_capacity(parts.len());
    for part in parts {
        let loss = part.objective().loss(model)?.mul_scalar(part.weight());
        check_loss(&loss)?;
        losses.push(loss.clone().without_autodiff().reshape([1]));
        let own = GradientsParams::from_grads(loss.backward(), model);
        gradients.accumulate(model, own);
    }
    Ok(Evaluation {
        loss: Tensor::cat(losses, 0).sum(),
        gradient: collect_registered(model, gradients.grads()),
        outputs: None,
    })
}

/// The backward pass of a loss.
pub(super) fn backward<M: Module>(model: &M, loss: Tensor<1>) -> Result<ParamVec, CurvatureError> {
    check_loss(&loss)?;
    Ok(collect_gradients(model, loss.backward()))
}

/// Whether there is a backward pass to take from a loss.
fn check_loss(loss: &Tensor<1>) -> Result<(), CurvatureError> {
    if loss.shape().num_elements() != 1 {
        return Err(CurvatureError::LossNotScalar {
            shape: loss.dims().to_vec(),
        });
    }
    if !loss.is_autodiff() || !loss.is_tracked() {
        return Err(CurvatureError::NoGradient);
    }
    Ok(())
}
