//! Averages of curvature, within a parameter and from step to step.

use burn::config::Config;
use burn::tensor::Tensor;

use super::AdaHessianConfig;
use crate::parameter::Orientation;

/// How [`AdaHessianConfig`] averages the curvature of a matrix (a parameter of rank 2).
///
/// Rows are those of the authors' `[out, in]` weights. A weight that burn keeps as `[in, out]`, such as
/// `Linear`'s, is averaged along its other dimension, so that the means are those of the paper.
///
/// ```
/// use osculate_optim::{AdaHessianConfig, MatrixAveraging};
/// let config = AdaHessianConfig::new().with_matrix_averaging(MatrixAveraging::Blocks(0));
/// assert_eq!(config.validate().unwrap_err().field, "matrix_averaging");
/// ```
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum MatrixAveraging {
    /// Every element has its own.
    None,
    /// One mean for each output of the layer, over its inputs.
    Row,
    /// One mean for each run of this many consecutive elements of the `[out, in]` matrix; the last run
    /// may be shorter.
    Blocks(usize),
}

/// How [`AdaHessianConfig`] averages curvature `D` from step to step.
///
/// ```
/// use osculate_optim::{AdaHessianConfig, TemporalAveraging};
/// assert_eq!(
///     AdaHessianConfig::new().temporal_averaging,
///     TemporalAveraging::RootMeanSquare,
/// );
/// ```
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum TemporalAveraging {
    /// `√v̂` for the average `v̂` of `D²`: AdaHessian's.
    RootMeanSquare,
    /// The average of `D` itself: SASSHA's.
    Mean,
}

impl AdaHessianConfig {
    /// Curvature averaged within the blocks of a parameter.
    pub(super) fn average(
        &self,
        x: Tensor<2>,
        dims: &[usize],
        orientation: Orientation,
    ) -> Tensor<2> {
        let turned = orientation == Orientation::InOut;
        let block = match (dims, self.matrix_averaging) {
            (&[inputs, _], MatrixAveraging::Row) if turned => inputs,
            (&[_, inputs], MatrixAveraging::Row) => inputs,
            (&[_, _], MatrixAveraging::Blocks(block)) => block,
            (&[_, _, ref kernel @ ..], _) if self.spatial_averaging => kernel.iter().product(),
            _ => 1,
        };
        match *dims {
            _ if block <= 1 => x,
            [inputs, outputs] if turned => {
                let x = block_means(transposed(x, [inputs, outputs]), block);
                transposed(x, [outputs, inputs])
            }
            _ => block_means(x, block),
        }
    }
}

/// The transpose of each block.
fn transposed(x: Tensor<2>, [rows, columns]: [usize; 2]) -> Tensor<2> {
    let [k, n] = x.dims();
    x.reshape([k, rows, columns])
        .swap_dims(1, 2)
        .reshape([k, n])
}

/// Replaces every element by the mean of its run of `block` elements; the last run may be shorter.
fn block_means(x: Tensor<2>, block: usize) -> Tensor<2> {
    let [_, n] = x.dims();
    let whole = n - n % block;
    let mut parts = Vec::new();
    if whole > 0 {
        parts.push(run_means(x.clone().narrow(1, 0, whole), block));
    }
    if whole < n {
        parts.push(run_means(x.narrow(1, whole, n - whole), n - whole));
    }
    Tensor::cat(parts, 1)
}

fn run_means(x: Tensor<2>, run: usize) -> Tensor<2> {
    let [k, n] = x.dims();
    let runs = [k * n / run, run];
    x.reshape(runs).mean_dim(1).expand(runs).reshape([k, n])
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, TensorData};

    use super::*;

    const BLOCKS: usize = 2;

    /// Element `(output, input)` of block `block` of a layer.
    fn curvature(block: usize, output: usize, input: usize) -> f64 {
        ((block * 31 + output * 7 + input * 3) as f64).sin().abs()
    }

    /// Two layers as burn keeps them.
    fn stored(outputs: usize, inputs: usize, orientation: Orientation) -> (Vec<f64>, Vec<usize>) {
        let dims = match orientation {
            Orientation::OutIn => vec![outputs, inputs],
            Orientation::InOut => vec![inputs, outputs],
        };
        let mut values = Vec::new();
        for block in 0..BLOCKS {
            for first in 0..dims[0] {
                for second in 0..dims[1] {
                    values.push(match orientation {
                        Orientation::OutIn => curvature(block, first, second),
                        Orientation::InOut => curvature(block, second, first),
                    });
                }
            }
        }
        (values, dims)
    }

    /// The average at `(output, input)` by the authors' formula, for `[out, in]` weights.
    fn formula(
        averaging: MatrixAveraging,
        [block, output, input]: [usize; 3],
        [outputs, inputs]: [usize; 2],
    ) -> f64 {
        let flat: Vec<f64> = (0..outputs * inputs)
            .map(|at| curvature(block, at / inputs, at % inputs))
            .collect();
        let length = match averaging {
            MatrixAveraging::None => 1,
            MatrixAveraging::Row => inputs,
            MatrixAveraging::Blocks(length) => length,
        };
        let start = (output * inputs + input) / length * length;
        let run = &flat[start..flat.len().min(start + length)];
        run.iter().sum::<f64>() / run.len() as f64
    }

    #[test]
    fn means_are_over_the_inputs_of_each_output() {
        let all = [
            MatrixAveraging::None,
            MatrixAveraging::Row,
            MatrixAveraging::Blocks(4),
        ];
        for averaging in all {
            for [outputs, inputs] in [[2, 5], [5, 2]] {
                for orientation in [Orientation::OutIn, Orientation::InOut] {
                    let (values, dims) = stored(outputs, inputs, orientation);
                    let data = TensorData::new(values, [BLOCKS, outputs * inputs]);
                    let x = Tensor::<2>::from_data(data, (&Device::flex(), DType::F64));
                    let config = AdaHessianConfig::new().with_matrix_averaging(averaging);
                    let got: Vec<f64> = config
                        .average(x, &dims, orientation)
                        .into_data()
                        .iter()
                        .collect();
                    for (at, got) in got.iter().enumerate() {
                        let (block, place) = (at / (outputs * inputs), at % (outputs * inputs));
                        let (first, second) = (place / dims[1], place % dims[1]);
                        let at = match orientation {
                            Orientation::OutIn => [block, first, second],
                            Orientation::InOut => [block, second, first],
                        };
                        let want = formula(averaging, at, [outputs, inputs]);
                        assert!(
                            (got - want).abs() < 1e-12,
                            "{averaging:?}, [{outputs}, {inputs}] as {orientation:?}: {got}, {want}"
                        );
                    }
                }
            }
        }
    }
}
