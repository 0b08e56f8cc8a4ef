//! A network of one weight matrix, on which optimizers are measured apart from any network's cost.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor};
use osculate::curvature::Drawing;
use osculate::prelude::*;

use crate::error::BenchError;

/// One weight matrix.
#[derive(Module, Debug)]
pub(crate) struct Layer {
    weight: Param<Tensor<2>>,
}

/// A layer of a shape on an autodiff device.
pub(crate) fn layer([rows, columns]: [usize; 2], device: &Device) -> Layer {
    let values = Tensor::arange(0..(rows * columns) as i64, device)
        .float()
        .sin();
    let weight = values.reshape([rows, columns]).require_grad();
    Layer {
        weight: Param::initialized(ParamId::new(), weight),
    }
}

/// Binary cross-entropy of the weights themselves: a loss that costs next to nothing and has outputs, which
/// methods with Gauss-Newton products need, and classes, which the orthogonal gradient does. Other batches are
/// the same.
pub(crate) fn objective(shape: [usize; 2], device: &Device) -> Box<dyn Objective<Layer>> {
    let target = Tensor::<2>::full(shape, 0.1, device);
    let batch = move || -> Box<dyn Objective<Layer>> {
        let outputs = |layer: &Layer| layer.weight.val();
        Box::new(Supervised::new(
            outputs,
            Criterion::bce_with_logits(target.clone()),
        ))
    };
    Box::new(Drawing::new(batch(), move |_| Ok(batch())))
}

/// Reads `ROWSxCOLUMNS` of at most so many elements.
///
/// # Errors
/// [`BenchError::Usage`], which names the option.
pub(crate) fn parse_shape(
    option: &str,
    shape: &str,
    largest: usize,
) -> Result<[usize; 2], BenchError> {
    let sides = shape
        .split_once('x')
        .and_then(|(a, b)| Some([a.parse::<usize>().ok()?, b.parse::<usize>().ok()?]));
    match sides {
        Some([rows, columns])
            if rows
                .checked_mul(columns)
                .is_some_and(|n| (1..=largest).contains(&n)) =>
        {
            Ok([rows, columns])
        }
        _ => Err(BenchError::Usage(format!(
            "{option} {shape}: expected ROWSxCOLUMNS of at most {largest} elements, such as 1024x1024"
        ))),
    }
}
