//! burn's losses, of a layer's outputs.

use burn::nn::loss::{
    BinaryCrossEntropyLossConfig, CTCLossConfig, CosineEmbeddingLossConfig, GaussianNLLLossConfig,
    HingeEmbeddingLossConfig, HuberLossConfig, KLDivLossConfig, LpLossConfig,
    MarginRankingLossConfig, MultiMarginLossConfig, PoissonNllLossConfig, RNNTLossConfig,
    Reduction, SmoothL1LossConfig, SoftMarginLoss, TripletMarginLossConfig,
};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor, activation};
use osculate_curvature::{
    Batched, CurvatureOperator, GradientOracle, Hessian, ParamVec, Provenance,
};

use crate::models::fill;
use crate::turns::{double, dtype, holds, integers, numbers, turn};

type Batch = (Tensor<2>, Tensor<2>, Tensor<1, Int>);

fn batch(device: &Device) -> Batch {
    (
        numbers([4, 3], 2, device),
        numbers([4, 3], 5, device),
        integers([4], 3, 1, device),
    )
}

/// Holds for a loss of the outputs `[4, 3]`, targets of the same shape, and labels.
fn of_outputs(
    what: &str,
    loss: impl Fn(Tensor<2>, &Tensor<2>, &Tensor<1, Int>) -> Tensor<1> + Copy,
) {
    holds(
        what,
        |device| LinearConfig::new(3, 3).init(device),
        batch,
        |model: &Linear, (x, y, labels): &Batch| {
            // Not linear in the weights, so that every loss has curvature.
            loss(activation::tanh(model.forward(x.clone())), y, labels)
        },
    );
}

#[test]
fn losses_of_numbers() {
    let _turn = turn();
    of_outputs("huber", |x, y, _| {
        HuberLossConfig::new(0.5)
            .init()
            .forward(x, y.clone(), Reduction::Mean)
    });
    of_outputs("smooth l1", |x, y, _| {
        SmoothL1LossConfig::new()
            .with_beta(0.5)
            .init()
            .forward(x, y.clone())
            .mean()
    });
    of_outputs("l3", |x, y, _| {
        LpLossConfig::new(3.0)
            .init()
            .forward(x, y.clone(), Reduction::Mean)
    });
    of_outputs("gaussian", |x, y, _| {
        let variance = x.clone().square() + 0.3;
        GaussianNLLLossConfig::new().with_full(true).init().forward(
            x,
            y.clone(),
            variance,
            Reduction::Mean,
        )
    });
    of_outputs("divergence", |x, y, _| {
        KLDivLossConfig::new().init().forward(
            activation::log_softmax(x, 1),
            activation::softmax(y.clone(), 1),
            Reduction::BatchMean,
        )
    });
}

#[test]
fn losses_of_labels() {
    let _turn = turn();
    of_outputs("multi margin", |x, _, labels| {
        let config = MultiMarginLossConfig::new().with_margin(0.7);
        config.init().forward(x, labels.clone(), Reduction::Mean)
    });
    of_outputs("soft margin", |x, y, _| {
        SoftMarginLoss::new().forward(x, y.clone().sign(), Reduction::Mean)
    });
    of_outputs("hinge embedding", |x, y, _| {
        let config = HingeEmbeddingLossConfig::new().with_margin(0.6);
        config.init().forward(x, y.clone().sign(), Reduction::Mean)
    });
    of_outputs("binary with weights", |x, _, labels| {
        let device = x.device();
        let config = BinaryCrossEntropyLossConfig::new()
            .with_logits(true)
            .with_smoothing(Some(0.1))
            .with_weights(Some(vec![0.5, 1.0, 2.0]));
        let classes = Tensor::<1, Int>::arange(0..3, &device).expand([4, 3]);
        let labels = labels.clone().unsqueeze_dim::<2>(1).expand([4, 3]);
        config.init(&device).forward(x, classes.equal(labels).int())
    });
}

#[test]
fn losses_of_pairs() {
    let _turn = turn();
    of_outputs("cosine embedding", |x, y, labels| {
        let sign = labels.clone().equal_elem(1).int().mul_scalar(2) - 1;
        CosineEmbeddingLossConfig::new()
            .with_margin(0.1)
            .init()
            .forward(x, y.clone(), sign)
    });
    of_outputs("triplet", |x, y, _| {
        let negative = x.clone().flip([0]);
        TripletMarginLossConfig::new()
            .init()
            .forward(x, y.clone(), negative, Reduction::Mean)
    });
    of_outputs("ranking", |x, y, _| {
        let (first, second) = (x.clone().square(), x.mul(y.clone()));
        MarginRankingLossConfig::new()
            .with_margin(0.5)
            .init()
            .forward(first, second, y.clone().sign(), Reduction::Mean)
    });
}

/// What makes a loss of sequences, with lengths that it makes itself.
fn lengths(of: [i64; 1], device: &Device) -> Tensor<1, Int> {
    Tensor::from_data(of, device)
}

#[test]
fn losses_of_sequences() {
    let _turn = turn();
    of_outputs("connectionist", |x, _, _| {
        let device = x.device();
        let log = activation::log_softmax(x, 1).reshape([4, 1, 3]);
        let targets = Tensor::<2, Int>::from_data([[1, 2]], &device);
        CTCLossConfig::new()
            .init()
            .forward(log, targets, lengths([4], &device), lengths([2], &device))
            .mean()
    });
    of_outputs("transducer", |x, _, _| {
        let device = x.device();
        let logits = x.reshape([1, 2, 2, 3]);
        let targets = Tensor::<2, Int>::from_data([[1]], &device);
        RNNTLossConfig::new()
            .init()
            .forward(
                logits,
                targets,
                lengths([2], &device),
                lengths([1], &device),
            )
            .mean()
    });
}

#[test]
fn a_loss_that_looks_at_its_targets_says_so() {
    let _turn = turn();
    let device = double();
    let model: Linear = fill(LinearConfig::new(3, 3).init(&device), dtype(&device));
    let objective = Batched::new(batch(&device), |model: &Linear, (x, y, _): &Batch| {
        // burn's Poisson loss reads its targets to see that they are not negative.
        let loss = PoissonNllLossConfig::new().init();
        loss.forward(model.forward(x.clone()), y.clone().abs(), Reduction::Mean)
    });
    let oracle = GradientOracle::new(&model, &objective);
    let hessian = Hessian::new(&oracle).unwrap();
    let v = ParamVec::gaussian(&hessian.layout(), 1);
    assert!(matches!(
        hessian.apply(&v).unwrap().provenance,
        Provenance::FiniteDifference { .. }
    ));
    let reason = hessian.fallback().unwrap();
    assert!(reason.contains("reads a tensor's value"), "{reason}");
}
