use std::mem::discriminant;

use burn::tensor::activation::{log_sigmoid, log_softmax, sigmoid, softmax};
use burn::tensor::{IndexingUpdateOp, Int, Tensor};

use super::stable_max::{stable, stable_parts};
use crate::error::CurvatureError;
use crate::params::{compute_dtype, random};

/// The kind of a supervised loss, with the targets of one batch. All reduce by the mean.
///
/// For outputs `f` of shape `[B, C]`:
///
/// | criterion | loss | output Hessian times `u` |
/// |---|---|---|
/// | cross-entropy | `mean_b -log softmax(f_b)[y_b]` | `(p*u - p (p.u)) / B` |
/// | smoothed cross-entropy | `mean_b -sum_c t_bc log softmax(f_b)[c]` | `(p*u - p (p.u)) / B` |
/// | StableMax cross-entropy | `mean_b -log (s(f_b)[y_b] / sum_c s(f_bc))` | `(p r*r*u - p r (p r.u)) / B` |
/// | mean squared error | `mean_bc (f - y)^2` | `2 u / (B C)` |
/// | binary cross-entropy with logits | `mean_bc -y log s(f) - (1-y) log s(-f)` | `s(1-s) u / (B C)` |
///
/// where the smoothed target `t_b` is `1 - ε` at the class of the row, and `ε / C` more everywhere. StableMax
/// has `s(x) = x + 1` from 0 upwards and `1 / (1 - x)` below in the place of the exponential, `p = s / sum s`
/// and `r = s' / s`; its Hessian is not definite, and the Fisher matrix, which it is for the others, stands
/// for it.
///
/// Each is, up to scale, the negative log-likelihood of a model distribution: categorical, normal
/// (of variance `C / 2`) and Bernoulli; smoothing mixes the targets and leaves the distribution
/// alone. [`sample`](Criterion::sample) draws targets from it, which is what the Fisher matrix and
/// the Gauss-Newton-Bartlett diagonal need.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Criterion {
    /// Softmax cross-entropy with integer classes, targets of shape `[B]`.
    CrossEntropy {
        /// Class of each row, in `0..C`.
        targets: Tensor<1, Int>,
    },
    /// Softmax cross-entropy with smoothed labels, targets of shape `[B]`.
    SmoothedCrossEntropy {
        /// Class of each row, in `0..C`.
        targets: Tensor<1, Int>,
        /// The part `ε` of each target that is spread over all classes, in `0..1`.
        smoothing: f64,
    },
    /// Cross-entropy of StableMax with integer classes, targets of shape `[B]`.
    StableMax {
        /// Class of each row, in `0..C`.
        targets: Tensor<1, Int>,
    },
    /// Mean squared error over rows and columns, targets of shape `[B, C]`.
    Mse {
        /// Value of each output.
        targets: Tensor<2>,
    },
    /// Binary cross-entropy of logits, mean over rows and columns, targets of shape `[B, C]`.
    BceWithLogits {
        /// Probability of each output, in `[0, 1]`.
        targets: Tensor<2>,
    },
}

impl Criterion {
    /// Softmax cross-entropy, mean over the rows.
    pub fn cross_entropy(targets: Tensor<1, Int>) -> Self {
        Criterion::CrossEntropy { targets }
    }

    /// Softmax cross-entropy with smoothed labels (Szegedy et al.,
    /// <https://arxiv.org/abs/1512.00567>), mean over the rows.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for a `smoothing` outside `0..1`.
    pub fn smoothed_cross_entropy(
        targets: Tensor<1, Int>,
        smoothing: f64,
    ) -> Result<Self, CurvatureError> {
        let valid = (0.0..1.0).contains(&smoothing);
        CurvatureError::check(valid, "smoothing", smoothing, "at least 0 and less than 1")?;
        Ok(Criterion::SmoothedCrossEntropy { targets, smoothing })
    }

    /// Cross-entropy of StableMax, mean over the rows: `s(x) = x + 1` from 0 upwards and `1 / (1 - x)` below
    /// stands for softmax's exponential, so that sums lose no small terms in single precision and gradients
    /// of right answers fall off slowly. Unlike softmax it changes when one number is added to all outputs:
    /// train with it from the start.
    ///
    /// Paper: Prieto et al., *Grokking at the Edge of Numerical Stability*,
    /// <https://arxiv.org/abs/2501.04697>.
    ///
    /// ```
    /// use burn::tensor::{Device, Int, Tensor};
    /// use osculate_curvature::Criterion;
    /// let device = Device::flex();
    /// let criterion = Criterion::stable_max(Tensor::<1, Int>::from_data([1], &device));
    /// let outputs = Tensor::<2>::from_data([[1.0, 2.0, -1.0, 0.0]], &device);
    /// // 3 of 2 + 3 + 0.5 + 1.
    /// let loss = criterion.loss(outputs)?.into_scalar::<f32>();
    /// assert!((loss + (3.0_f32 / 6.5).ln()).abs() < 1e-6);
    /// # Ok::<(), osculate_curvature::CurvatureError>(())
    /// ```
    pub fn stable_max(targets: Tensor<1, Int>) -> Self {
        Criterion::StableMax { targets }
    }

    /// What it is called in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Criterion::CrossEntropy { .. } => "cross-entropy",
            Criterion::SmoothedCrossEntropy { .. } => "smoothed cross-entropy",
            Criterion::StableMax { .. } => "StableMax cross-entropy",
            Criterion::Mse { .. } => "mean squared error",
            Criterion::BceWithLogits { .. } => "binary cross-entropy",
        }
    }

    /// Mean squared error, mean over rows and columns.
    pub fn mse(targets: Tensor<2>) -> Self {
        Criterion::Mse { targets }
    }

    /// Binary cross-entropy with logits, mean over rows and columns.
    pub fn bce_with_logits(targets: Tensor<2>) -> Self {
        Criterion::BceWithLogits { targets }
    }

    fn check(&self, outputs: &Tensor<2>) -> Result<(), CurvatureError> {
        let [rows, columns] = outputs.dims();
        if rows == 0 {
            return Err(CurvatureError::EmptyBatch {
                outputs: vec![rows, columns],
            });
        }
        let (targets, expected) = match (self.labels(), self.values()) {
            (Some(labels), _) => (labels.dims().to_vec(), vec![rows]),
            (None, Some(values)) => (values.dims().to_vec(), vec![rows, columns]),
            (None, None) => return Ok(()),
        };
        if targets == expected {
            Ok(())
        } else {
            Err(CurvatureError::TargetShape {
                outputs: vec![rows, columns],
                targets,
            })
        }
    }

    /// Rows of the targets.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Criterion::CrossEntropy { targets }
            | Criterion::SmoothedCrossEntropy { targets, .. }
            | Criterion::StableMax { targets } => targets.dims()[0],
            Criterion::Mse { targets } | Criterion::BceWithLogits { targets } => targets.dims()[0],
        }
    }

    /// One criterion with the targets of several of one kind, or `None`.
    pub(crate) fn joined(criteria: &[&Criterion]) -> Option<Criterion> {
        let first = *criteria.first()?;
        let kind = |criterion: &Criterion| (discriminant(criterion), criterion.smoothing());
        if criteria
            .iter()
            .any(|criterion| kind(criterion) != kind(first))
        {
            return None;
        }
        let labels = || criteria.iter().filter_map(|criterion| criterion.labels());
        let values = || criteria.iter().filter_map(|criterion| criterion.values());
        Some(match first {
            Criterion::CrossEntropy { .. } => Criterion::CrossEntropy {
                targets: Tensor::cat(labels().collect(), 0),
            },
            Criterion::SmoothedCrossEntropy { smoothing, .. } => Criterion::SmoothedCrossEntropy {
                targets: Tensor::cat(labels().collect(), 0),
                smoothing: *smoothing,
            },
            Criterion::StableMax { .. } => Criterion::StableMax {
                targets: Tensor::cat(labels().collect(), 0),
            },
            Criterion::Mse { .. } => Criterion::Mse {
                targets: Tensor::cat(values().collect(), 0),
            },
            Criterion::BceWithLogits { .. } => Criterion::BceWithLogits {
                targets: Tensor::cat(values().collect(), 0),
            },
        })
    }

    /// The classes, where targets are classes.
    fn labels(&self) -> Option<Tensor<1, Int>> {
        match self {
            Criterion::CrossEntropy { targets }
            | Criterion::SmoothedCrossEntropy { targets, .. }
            | Criterion::StableMax { targets } => Some(targets.clone()),
            Criterion::Mse { .. } | Criterion::BceWithLogits { .. } => None,
        }
    }

    /// The values, where targets are values.
    fn values(&self) -> Option<Tensor<2>> {
        match self {
            Criterion::Mse { targets } | Criterion::BceWithLogits { targets } => {
                Some(targets.clone())
            }
            Criterion::CrossEntropy { .. }
            | Criterion::SmoothedCrossEntropy { .. }
            | Criterion::StableMax { .. } => None,
        }
    }

    fn smoothing(&self) -> Option<f64> {
        match self {
            Criterion::SmoothedCrossEntropy { smoothing, .. } => Some(*smoothing),
            _ => None,
        }
    }

    /// The loss of each row, shape `[B]`; their mean is [`loss`](Criterion::loss).
    ///
    /// # Errors
    /// [`CurvatureError::TargetShape`] where targets and outputs do not fit, and
    /// [`CurvatureError::EmptyBatch`] for outputs without rows.
    pub fn per_sample(&self, outputs: Tensor<2>) -> Result<Tensor<1>, CurvatureError> {
        self.check(&outputs)?;
        Ok(self.unchecked_per_sample(outputs))
    }

    /// The loss, for outputs whose shape fits the targets.
    pub(crate) fn unchecked_loss(&self, outputs: Tensor<2>) -> Tensor<1> {
        self.unchecked_per_sample(outputs).mean()
    }

    fn unchecked_per_sample(&self, outputs: Tensor<2>) -> Tensor<1> {
        let dtype = outputs.dtype();
        match self {
            Criterion::CrossEntropy { targets } => surprise(log_softmax(outputs, 1), targets),
            Criterion::SmoothedCrossEntropy { targets, smoothing } => {
                let log_p = log_softmax(outputs, 1);
                let spread: Tensor<1> = log_p.clone().mean_dim(1).neg().squeeze_dim(1);
                surprise(log_p, targets).mul_scalar(1.0 - smoothing) + spread.mul_scalar(*smoothing)
            }
            Criterion::StableMax { targets } => {
                let s = stable(outputs);
                let all: Tensor<1> = s.clone().sum_dim(1).log().squeeze_dim(1);
                all + surprise(s.log(), targets)
            }
            Criterion::Mse { targets } => (outputs - targets.clone().cast(dtype))
                .square()
                .mean_dim(1)
                .squeeze_dim(1),
            Criterion::BceWithLogits { targets } => {
                let targets = targets.clone().cast(dtype);
                // -y log s(f) - (1-y) log s(-f), with log s(-f) = log s(f) - f.
                let log_p = log_sigmoid(outputs.clone());
                let loss = outputs.clone() - outputs * targets - log_p;
                loss.mean_dim(1).squeeze_dim(1)
            }
        }
    }

    /// The gradient of the sum of the rows' losses with respect to the outputs: row `b` is the
    /// gradient of row `b`'s loss.
    pub(crate) fn row_gradients(&self, outputs: Tensor<2>) -> Tensor<2> {
        let [_, columns] = outputs.dims();
        let dtype = outputs.dtype();
        match self {
            Criterion::CrossEntropy { targets } => minus_at(softmax(outputs, 1), targets, 1.0),
            Criterion::SmoothedCrossEntropy { targets, smoothing } => {
                let p = softmax(outputs, 1).sub_scalar(smoothing / columns as f64);
                minus_at(p, targets, 1.0 - smoothing)
            }
            Criterion::StableMax { targets } => {
                let (p, ratio) = stable_parts(outputs);
                let at = targets.clone().unsqueeze_dim::<2>(1);
                let own = ratio.clone().gather(1, at.clone()).neg();
                (p * ratio).scatter(1, at, own, IndexingUpdateOp::Add)
            }
            Criterion::Mse { targets } => {
                (outputs - targets.clone().cast(dtype)).mul_scalar(2.0 / columns as f64)
            }
            Criterion::BceWithLogits { targets } => {
                (sigmoid(outputs) - targets.clone().cast(dtype)).div_scalar(columns as f64)
            }
        }
    }

    /// The loss, one element.
    ///
    /// # Errors
    /// As [`per_sample`](Self::per_sample).
    pub fn loss(&self, outputs: Tensor<2>) -> Result<Tensor<1>, CurvatureError> {
        Ok(self.per_sample(outputs)?.mean())
    }

    /// The Hessian of the loss with respect to the outputs, times `direction`: shapes `[B, C]`.
    ///
    /// It is block-diagonal over the rows, positive semi-definite, and does not depend on the
    /// targets for any of the criteria. Cost: elementwise.
    pub fn hessian_vp(&self, outputs: Tensor<2>, direction: Tensor<2>) -> Tensor<2> {
        let [rows, columns] = outputs.dims();
        match self {
            Criterion::CrossEntropy { .. } | Criterion::SmoothedCrossEntropy { .. } => {
                // A direction of one value along a row gives nothing. Measured from the likeliest
                // class, it leaves no difference of nearly equal numbers where `p` is nearly 1.
                let top = outputs.clone().argmax(1);
                let direction = direction.clone() - direction.gather(1, top);
                let p = softmax(outputs, 1);
                let pu = p.clone() * direction;
                let mean = pu.clone().sum_dim(1);
                (pu - p * mean).div_scalar(rows as f64)
            }
            Criterion::StableMax { .. } => {
                let (p, ratio) = stable_parts(outputs);
                let u = ratio.clone() * direction;
                let mean = (p.clone() * u.clone()).sum_dim(1);
                (p * ratio * (u - mean)).div_scalar(rows as f64)
            }
            Criterion::Mse { .. } => direction.mul_scalar(2.0 / (rows * columns) as f64),
            Criterion::BceWithLogits { .. } => {
                let p = sigmoid(outputs);
                let variance = p.clone() - p.square();
                (variance * direction).div_scalar((rows * columns) as f64)
            }
        }
    }

    /// The same criterion with targets drawn from the model's own distribution. They are not
    /// smoothed: the distribution has classes, not mixtures of them.
    ///
    /// The uniform or normal numbers are drawn on the host from `seed`, so that one seed gives the
    /// same targets on every backend; nothing is read back from the device.
    pub fn sample(&self, outputs: Tensor<2>, seed: u64) -> Criterion {
        let outputs = outputs.without_autodiff();
        // Cumulative probabilities in half precision would stop growing after a few hundred classes.
        let dtype = compute_dtype(outputs.dtype());
        let outputs = outputs.cast(dtype);
        let [rows, columns] = outputs.dims();
        let device = outputs.device();
        match self {
            Criterion::CrossEntropy { .. } | Criterion::SmoothedCrossEntropy { .. } => {
                let targets = drawn(softmax(outputs, 1), seed);
                Criterion::CrossEntropy { targets }
            }
            Criterion::StableMax { .. } => {
                let targets = drawn(stable_parts(outputs).0, seed);
                Criterion::StableMax { targets }
            }
            Criterion::Mse { .. } => {
                let noise = random::normal(rows * columns, seed, dtype, &device)
                    .reshape([rows, columns])
                    .mul_scalar((columns as f64 / 2.0).sqrt());
                Criterion::Mse {
                    targets: outputs + noise,
                }
            }
            Criterion::BceWithLogits { .. } => {
                let uniform =
                    random::uniform(rows * columns, seed, dtype, &device).reshape([rows, columns]);
                let targets = uniform.lower(sigmoid(outputs)).float().cast(dtype);
                Criterion::BceWithLogits { targets }
            }
        }
    }

    /// The factor `s` for which one row's loss is `s` times a negative log-likelihood.
    ///
    /// With it, the Gauss-Newton matrix is `E[g g^T] / s` for gradients `g` of sampled rows: the
    /// mean over `C` outputs in binary cross-entropy makes the loss `1/C` of the likelihood's.
    pub fn likelihood_scale(&self, outputs: usize) -> f64 {
        match self {
            Criterion::CrossEntropy { .. }
            | Criterion::SmoothedCrossEntropy { .. }
            | Criterion::StableMax { .. }
            | Criterion::Mse { .. } => 1.0,
            Criterion::BceWithLogits { .. } => 1.0 / outputs.max(1) as f64,
        }
    }
}

/// The negative logarithm of the probability of each row's class.
fn surprise(log_p: Tensor<2>, targets: &Tensor<1, Int>) -> Tensor<1> {
    let at = targets.clone().unsqueeze_dim::<2>(1);
    log_p.gather(1, at).neg().squeeze_dim(1)
}

/// A class of each row with these probabilities.
fn drawn(p: Tensor<2>, seed: u64) -> Tensor<1, Int> {
    let ([rows, columns], dtype, device) = (p.dims(), p.dtype(), p.device());
    // Inverse of the cumulative distribution: the class is the number of classes whose cumulative
    // probability the uniform number has passed.
    let uniform = random::uniform(rows, seed, dtype, &device).unsqueeze_dim::<2>(1);
    let passed = p.cumsum(1).lower_equal(uniform.expand([rows, columns]));
    let last = columns.saturating_sub(1) as i64;
    passed.int().sum_dim(1).clamp(0, last).squeeze_dim(1)
}

/// Takes `value` away at the class of each row.
fn minus_at(p: Tensor<2>, targets: &Tensor<1, Int>, value: f64) -> Tensor<2> {
    let at = targets.clone().unsqueeze_dim::<2>(1);
    let one = p.ones_like().slice(burn::tensor::s![.., 0..1]);
    p.scatter(1, at, one.mul_scalar(-value), IndexingUpdateOp::Add)
}

#[cfg(test)]
mod tests;
