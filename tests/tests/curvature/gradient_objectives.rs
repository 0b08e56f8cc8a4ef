//! Objectives that run the backward pass themselves, and objectives of several terms.

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::activation::tanh;
use burn::tensor::{Device, Distribution, Int, Tensor};
use osculate_curvature::*;
use osculate_optim::{ClosureOptimizer, SophiaConfig};

fn device() -> Device {
    Device::flex().autodiff()
}

/// A layer that is used twice, which is one parameter with two paths.
#[derive(Module, Debug)]
struct Tied {
    first: Linear,
    again: Param<Tensor<2>>,
}

impl Tied {
    fn new() -> Self {
        let first = LinearConfig::new(3, 3).init(&device());
        let again = first.weight.clone();
        Self { first, again }
    }

    fn loss(&self, x: &Tensor<2>) -> Tensor<1> {
        let hidden = tanh(self.first.forward(x.clone()));
        hidden.matmul(self.again.val()).square().mean()
    }
}

/// The loss of [`Tied`] with its own backward pass.
struct OwnBackward(Tensor<2>);

impl Objective<Tied> for OwnBackward {
    fn loss(&self, _model: &Tied) -> Result<Tensor<1>, ObjectiveError> {
        Err(ObjectiveError::new("asked for a loss"))
    }

    fn gradient(&self) -> Option<&dyn GradientObjective<Tied>> {
        Some(self)
    }
}

impl GradientObjective<Tied> for OwnBackward {
    fn gradients(&self, model: &Tied) -> Result<GradientsParams, ObjectiveError> {
        let gradients = model.loss(&self.0).backward();
        Ok(GradientsParams::from_grads(gradients, model))
    }
}

fn identical(a: &ParamVec, b: &ParamVec) {
    assert!(a.layout().is_compatible(b.layout()) && !a.layout().is_empty());
    assert_eq!(a.to_values(), b.to_values());
}

#[test]
fn gradients_and_products_are_those_of_the_loss() {
    let model = Tied::new();
    let x = Tensor::<2>::random([5, 3], Distribution::Default, &device());
    let own = OwnBackward(x.clone());
    let loss = |model: &Tied| model.loss(&x);
    let (own, loss) = (
        GradientOracle::new(&model, &own),
        GradientOracle::new(&model, &loss),
    );
    identical(
        &own.clean().unwrap().gradient,
        &loss.clean().unwrap().gradient,
    );
    assert!(
        own.clean()
            .unwrap()
            .loss
            .to_data()
            .iter::<f64>()
            .all(f64::is_nan)
    );

    let offset = ParamVec::gaussian(&own.layout().unwrap(), 1);
    let moved = [&own, &loss].map(|oracle| oracle.evaluate_at(&offset, 0.1).unwrap().gradient);
    identical(&moved[0], &moved[1]);
    let products = [&own, &loss].map(|oracle| {
        let hessian = Hessian::new(oracle).unwrap();
        hessian.apply_probe(&offset).unwrap().value
    });
    identical(&products[0], &products[1]);
    assert_eq!(own.cost(), loss.cost());
}

#[test]
fn what_it_lacks_is_said() {
    let model = Tied::new();
    let own = OwnBackward(Tensor::ones([5, 3], &device()));
    let mut sophia = SophiaConfig::g().init().unwrap();
    let error = sophia.step(0.01, model.clone(), &own).unwrap_err();
    assert!(error.to_string().contains("outputs"), "{error}");

    struct Empty;
    impl Objective<Tied> for Empty {
        fn loss(&self, _model: &Tied) -> Result<Tensor<1>, ObjectiveError> {
            Err(ObjectiveError::new("asked for a loss"))
        }
        fn gradient(&self) -> Option<&dyn GradientObjective<Tied>> {
            Some(self)
        }
    }
    impl GradientObjective<Tied> for Empty {
        fn gradients(&self, _model: &Tied) -> Result<GradientsParams, ObjectiveError> {
            Ok(GradientsParams::new())
        }
    }
    let oracle = GradientOracle::new(&model, &Empty);
    assert!(matches!(oracle.clean(), Err(CurvatureError::NoGradient)));
}

type Batch = SupervisedBatch<Tensor<2>, fn(&Linear, &Tensor<2>) -> Tensor<2>>;

/// The sum of two batches' losses.
struct Both(Batch, Batch);

impl Objective<Linear> for Both {
    fn loss(&self, model: &Linear) -> Result<Tensor<1>, ObjectiveError> {
        Ok(self.0.loss(model)? + self.1.loss(model)?)
    }

    fn supervised_terms(&self) -> Vec<&dyn SupervisedObjective<Linear>> {
        vec![&self.0, &self.1]
    }
}

fn batch(labels: &[i32]) -> Batch {
    let rows = labels.len();
    let x = Tensor::random([rows, 2], Distribution::Normal(0.0, 1.0), &device());
    let labels = Tensor::<1, Int>::from_data(labels, &device());
    let forward: fn(&Linear, &Tensor<2>) -> Tensor<2> = |model, x| model.forward(x.clone());
    SupervisedBatch::new(x, forward, Criterion::cross_entropy(labels))
}

#[test]
fn a_sum_has_the_sum_of_its_terms_diagonals() {
    let model: Linear = LinearConfig::new(2, 3).init(&device());
    let both = Both(batch(&[0, 1, 2, 1]), batch(&[2, 0]));
    let config = GnbConfig {
        draws: 4000,
        seed: 3,
    };
    let oracle = GradientOracle::new(&model, &both);
    let estimate = gnb_diagonal(&oracle, &config).unwrap();
    // One clean pass, and one pass for each term and draw.
    assert_eq!(estimate.cost.backwards, 1 + 2 * 4000);

    let exact = |batch: &Batch| {
        let oracle = GradientOracle::new(&model, batch);
        dense_diagonal(&GaussNewton::new(&oracle).unwrap())
            .unwrap()
            .to_values()
    };
    let (first, second) = (exact(&both.0), exact(&both.1));
    let value = estimate.value.to_values();
    let error = estimate.standard_error.unwrap().to_values();
    for (i, value) in value.iter().enumerate() {
        let expected = first[i] + second[i];
        assert!(
            (value - expected).abs() <= 4.0 * error[i],
            "{i}: {value}, {expected}"
        );
        assert!((value - first[i]).abs() > 4.0 * error[i]);
    }
}
