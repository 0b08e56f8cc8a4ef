use std::sync::Arc;

use burn::module::Module;
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{Tensor, TensorData};

use super::HvpMode;
use super::ggn::{clean_outputs, is_zero};
use super::jacobian::Jacobian;
use crate::error::CurvatureError;
use crate::objective::{Criterion, stable_parts};
use crate::oracle::GradientOracle;
use crate::params::{ParamLayout, ParamVec};
use crate::solve::{Factor, FactorProduct};

/// The square root `Lᵀ J` of the Gauss-Newton matrix `Jᵀ L Lᵀ J`, for [`lsmr`](crate::lsmr).
///
/// `J` is the Jacobian of the outputs and `L Lᵀ` the Hessian of the criterion, row by row:
/// `L = diag(sqrt p) - p sqrt(p)ᵀ` for a softmax cross-entropy, a diagonal for the others. A factor
/// has one row for each output of each sample.
///
/// Cost: a product is a Jacobian-vector product (exact for a
/// [`SupervisedBatch`](crate::SupervisedBatch): three forward passes; a difference of two otherwise),
/// its transpose one gradient. From the second transposed product on, or for three at once, the outputs are recorded where they
/// can be, which costs about two gradients once, and a product is one backward pass, if what is kept for it takes
/// at most three times a gradient's memory. Each moves one number for each output between device and host.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Distribution, Int, Tensor};
/// # use osculate_curvature::{Criterion, GradientOracle, SupervisedBatch};
/// # let device = Device::flex().autodiff();
/// # device.seed(1);
/// # let model: Linear = LinearConfig::new(8, 3).init(&device);
/// # let x = Tensor::<2>::random([16, 8], Distribution::Default, &device);
/// # let labels = Tensor::<1, Int>::arange(0..16, &device).remainder_scalar(3);
/// # let forward = |model: &Linear, x: &Tensor<2>| model.forward(x.clone());
/// # let objective = SupervisedBatch::new(x, forward, Criterion::cross_entropy(labels));
/// # let oracle = GradientOracle::new(&model, &objective);
/// use osculate_curvature::{
///     CurvatureOperator, Factor, GaussNewton, GaussNewtonFactor, ParamVec,
/// };
/// let factor = GaussNewtonFactor::new(&oracle)?;
/// let v = ParamVec::gaussian(&factor.layout(), 0);
/// let square = factor.transpose(&factor.apply(&v)?.value)?.value;
/// let product = GaussNewton::new(&oracle)?.apply(&v)?.value;
/// assert!(square.sub(&product).norm() < 1e-3 * product.norm());
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
pub struct GaussNewtonFactor<'a, M: Module> {
    oracle: &'a GradientOracle<'a, M>,
    layout: Arc<ParamLayout>,
    jacobian: Jacobian,
    outputs: Tensor<2>,
}

impl<'a, M: Module> GaussNewtonFactor<'a, M> {
    /// The factor at the oracle's weights.
    ///
    /// # Errors
    /// [`CurvatureError::NotSupervised`], and as [`GradientOracle::clean`].
    pub fn new(oracle: &'a GradientOracle<'a, M>) -> Result<Self, CurvatureError> {
        oracle.supervised("a factor of the Gauss-Newton matrix")?;
        let layout = oracle.layout()?;
        Ok(Self {
            oracle,
            jacobian: Jacobian::new(oracle, &layout, HvpMode::default())?,
            outputs: clean_outputs(oracle)?,
            layout,
        })
    }

    fn criterion(&self) -> Result<&'a Criterion, CurvatureError> {
        let supervised = self
            .oracle
            .supervised("a factor of the Gauss-Newton matrix")?;
        Ok(supervised.criterion())
    }

    /// `L u`, or `Lᵀ u`, scaled as the mean over rows is.
    fn root(&self, u: Tensor<2>, transposed: bool) -> Result<Tensor<2>, CurvatureError> {
        let outputs = self.outputs.clone();
        let [rows, columns] = outputs.dims();
        let share = (rows as f64).sqrt().recip();
        let each = ((rows * columns) as f64).sqrt().recip();
        Ok(match self.criterion()? {
            Criterion::CrossEntropy { .. } | Criterion::SmoothedCrossEntropy { .. } => {
                let p = softmax(outputs, 1);
                let root = p.clone().sqrt();
                let product = if transposed {
                    let mean = (p * u.clone()).sum_dim(1);
                    root * (u - mean)
                } else {
                    let mean = (root.clone() * u.clone()).sum_dim(1);
                    root * u - p * mean
                };
                product.mul_scalar(share)
            }
            Criterion::StableMax { .. } => {
                let (p, ratio) = stable_parts(outputs);
                let root = p.clone().sqrt();
                let product = if transposed {
                    let u = ratio * u;
                    let mean = (p * u.clone()).sum_dim(1);
                    root * (u - mean)
                } else {
                    let mean = (root.clone() * u.clone()).sum_dim(1);
                    ratio * (root * u - p * mean)
                };
                product.mul_scalar(share)
            }
            Criterion::Mse { .. } => u.mul_scalar(2.0_f64.sqrt() * each),
            Criterion::BceWithLogits { .. } => {
                let p = sigmoid(outputs);
                (p.clone() - p.square()).sqrt() * u.mul_scalar(each)
            }
        })
    }
}

impl<M: Module> Factor for GaussNewtonFactor<'_, M> {
    fn layout(&self) -> Arc<ParamLayout> {
        self.layout.clone()
    }

    fn rows(&self) -> usize {
        let [rows, columns] = self.outputs.dims();
        rows * columns
    }

    fn apply(&self, v: &ParamVec) -> Result<FactorProduct<Vec<f64>>, CurvatureError> {
        self.layout.check(v.layout())?;
        let before = self.oracle.cost();
        let value = if is_zero(v)? {
            vec![0.0; self.rows()]
        } else {
            let (jv, _) = self.jacobian.product(self.oracle, v)?;
            self.root(jv, true)?.into_data().iter::<f64>().collect()
        };
        Ok(FactorProduct {
            value,
            cost: self.oracle.cost().since(before),
        })
    }

    fn transpose(&self, u: &[f64]) -> Result<FactorProduct<ParamVec>, CurvatureError> {
        let made = self.transpose_many(&[u.to_vec()])?.pop();
        made.ok_or(CurvatureError::NotRecordable)
    }

    fn width(&self) -> usize {
        self.jacobian.width()
    }

    fn transpose_many(
        &self,
        several: &[Vec<f64>],
    ) -> Result<Vec<FactorProduct<ParamVec>>, CurvatureError> {
        let at = (&self.outputs.device(), self.outputs.dtype());
        let mut cotangents = Vec::with_capacity(several.len());
        for u in several {
            CurvatureError::check(
                u.len() == self.rows(),
                "length of a vector of rows",
                u.len(),
                "one number for each output of each sample",
            )?;
            let u = TensorData::new(u.clone(), self.outputs.dims());
            cotangents.push(self.root(Tensor::from_data(u, at), false)?);
        }
        self.jacobian
            .pull_back_again(self.oracle, &self.layout, &cotangents)
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::{DType, Device, Int};

    use super::*;
    use crate::SupervisedBatch;
    use crate::operator::{CurvatureOperator, GaussNewton};
    use crate::solve::{RightHandSide, SolveConfig, conjugate_gradient, lsmr};

    #[test]
    fn its_square_is_gauss_newton_and_lsmr_solves_with_it() {
        let device = Device::flex().autodiff();
        let values = |n: usize, seed: u32| crate::testing::Lcg::new(seed).normal(n);
        let constant = |values: Vec<f64>, shape: [usize; 2]| {
            Tensor::<2>::from_data(TensorData::new(values, shape), (&device, DType::F64))
        };
        let labels = Tensor::<1, Int>::from_data([0, 2, 1, 1, 0], &device);
        let targets = constant(
            values(15, 3).iter().map(|x| x.abs().min(1.0)).collect(),
            [5, 3],
        );
        for criterion in [
            Criterion::cross_entropy(labels.clone()),
            Criterion::smoothed_cross_entropy(labels.clone(), 0.2).unwrap(),
            Criterion::stable_max(labels),
            Criterion::mse(targets.clone()),
            Criterion::bce_with_logits(targets),
        ] {
            let model: Linear = LinearConfig::new(4, 3).init(&device);
            let model = osculate_problems::modules::cast(model, DType::F64);
            let objective = SupervisedBatch::new(
                constant(values(20, 8), [5, 4]),
                |model: &Linear, x: &Tensor<2>| model.forward(x.clone()),
                criterion.clone(),
            );
            let oracle = GradientOracle::new(&model, &objective);
            let factor = GaussNewtonFactor::new(&oracle).unwrap();
            let operator = GaussNewton::new(&oracle).unwrap();
            let v = ParamVec::gaussian(&operator.layout(), 4);
            let half = factor.apply(&v).unwrap();
            let square = factor.transpose(&half.value).unwrap();
            let exact = operator.apply(&v).unwrap().value;
            let apart = square.value.sub(&exact).norm() / exact.norm();
            assert!(apart < 1e-10, "{criterion:?}: {apart}");
            assert!(half.cost.forwards > 0 && square.cost.backwards == 1);

            let gradient = oracle.clean().unwrap().gradient.clone();
            let config = SolveConfig {
                tolerance: 1e-9,
                ..SolveConfig::damped(1e-2)
            };
            let right = RightHandSide::Vector(gradient.clone());
            let least = lsmr(&factor, &right, &config).unwrap();
            let normal = conjugate_gradient(&operator, &gradient, None, &config).unwrap();
            let apart = least.x.sub(&normal.x).norm() / normal.x.norm();
            assert!(least.converged && apart < 1e-6, "{criterion:?}: {apart}");
        }
    }

    #[test]
    fn transposed_products_alone_share_their_forward_pass() {
        let device = Device::flex().autodiff();
        let model: Linear = LinearConfig::new(4, 3).init(&device);
        let labels = Tensor::<1, Int>::from_data([0, 2, 1, 1, 0], &device);
        let x = Tensor::<2>::from_data(
            TensorData::new(crate::testing::Lcg::new(8).normal(20), [5, 4]),
            &device,
        );
        let forward = |model: &Linear, x: &Tensor<2>| model.forward(x.clone());
        let criterion = Criterion::cross_entropy(labels);
        let recorded = SupervisedBatch::new(x.clone(), forward, criterion.clone());
        let kept_back = crate::Supervised::new(move |model: &Linear| forward(model, &x), criterion);
        let (a, b) = (
            GradientOracle::new(&model, &recorded),
            GradientOracle::new(&model, &kept_back),
        );
        let (recorded, kept_back) = (
            GaussNewtonFactor::new(&a).unwrap(),
            GaussNewtonFactor::new(&b).unwrap(),
        );
        let probes: Vec<Vec<f64>> = (0..4)
            .map(|seed| crate::testing::Lcg::new(seed + 1).normal(15))
            .collect();
        let backward = crate::Cost {
            forwards: 0,
            backwards: 1,
        };
        let mut costs = Vec::new();
        for (index, u) in probes.iter().enumerate() {
            let alone = recorded.transpose(u).unwrap();
            let by_tape = kept_back.transpose(u).unwrap();
            let apart = by_tape.value.sub(&alone.value).norm();
            assert!(apart < 1e-6 * alone.value.norm(), "{apart}");
            assert_eq!(by_tape.cost, crate::Cost::GRADIENT, "{index}");
            costs.push(alone.cost);
        }
        // The second one records.
        assert_eq!(costs[0], crate::Cost::GRADIENT);
        assert!(costs[1].gradient_evaluations() < 4.0, "{:?}", costs[1]);
        assert_eq!(costs[2..], [backward; 2]);
        assert_eq!(kept_back.jacobian.fallback(), None);
        let together = recorded.transpose_many(&probes).unwrap();
        assert!(together.iter().all(|product| product.cost == backward));
        for (u, product) in probes.iter().zip(&together) {
            let alone = recorded.transpose(u).unwrap();
            assert!(product.value.sub(&alone.value).norm() < 1e-12);
        }
    }
}
