//! Sophia's gamma, steered to a win rate.

use burn::tensor::{Device, Int, Tensor, TensorData};
use osculate_curvature::{Criterion, SupervisedBatch};
use osculate_optim::{BlockRule, ClosureOptimizer, Driver, SophiaConfig};
use osculate_problems::modules::{Mlp, MlpConfig, seeded};
use osculate_tests::model::wave;

const ROWS: usize = 32;
const STEPS: usize = 300;

/// The mean win rates of the first and the last steps, and the last losses' mean.
fn train(mut optimizer: Driver) -> [f64; 3] {
    let device = Device::flex().autodiff();
    let mut model: Mlp = seeded(MlpConfig::new(vec![8, 16, 4]).init(&device), 3);
    let (mut rates, mut losses) = (Vec::new(), Vec::new());
    for step in 0..STEPS {
        let data = TensorData::new(wave(ROWS * 8, step as f64 * 0.37), [ROWS, 8]);
        let images = Tensor::<2>::from_data(data, &device.clone().inner());
        // What is largest among four of the features.
        let labels = images.clone().narrow(1, 2, 4).argmax(1).reshape([ROWS]);
        let labels: Tensor<1, Int> = labels;
        let objective = SupervisedBatch::new(
            images,
            |model: &Mlp, images: &Tensor<2>| model.forward(images.clone()),
            Criterion::cross_entropy(labels),
        );
        let made = optimizer.step(3e-3, model, &objective).unwrap();
        rates.push(made.report.win_rate().expect("Sophia has one"));
        losses.push(made.report.loss());
        model = made.model;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    [
        mean(&rates[..10]),
        mean(&rates[STEPS - 100..]),
        mean(&losses[STEPS - 50..]),
    ]
}

#[test]
fn a_steered_gamma_brings_the_win_rate_to_its_target() {
    for config in [SophiaConfig::h(), SophiaConfig::g()] {
        let plain = train(config.clone().init().unwrap());
        assert!(plain[1] < 0.1, "the paper's gamma: {plain:?}");
        for target in [0.2, 0.4] {
            let steered = config.clone().with_target_rate(Some(target));
            let found = train(steered.init().unwrap());
            assert!((found[1] - target).abs() < 0.15, "{target}: {found:?}");
            assert!(found[2] < 1.2, "{target}: {found:?}");
        }
    }
}

#[test]
fn targets_that_are_no_rates_are_refused() {
    for target in [0.0, 1.0, -0.1, 2.0, f64::NAN] {
        let config = SophiaConfig::h().with_target_rate(Some(target));
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("target_rate"), "{error}");
    }
    let plain = SophiaConfig::h().rule().unwrap();
    let steered = SophiaConfig::h()
        .with_target_rate(Some(0.3))
        .rule()
        .unwrap();
    // Without a target there is no state for it.
    let dtype = burn::tensor::DType::F32;
    assert_eq!(plain.fields(&[5], dtype).len(), 2);
    assert_eq!(steered.fields(&[5], dtype).len(), 3);
}
