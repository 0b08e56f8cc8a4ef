//! Where a factor has a null space, a method's steps follow from the gradients and not from their rounding.

use burn::tensor::activation::tanh;
use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_optim::{
    ClosureOptimizer, Driver, EigenSolver, Grafting, KlShampooConfig, KlSoapConfig, ShampooConfig,
    ShampooForm, SoapConfig,
};
use osculate_tests::model::wave;
use osculate_tests::single::Single;

const STEPS: usize = 40;

fn trained(mut optimizer: Driver, shape: [usize; 2], dtype: DType, factor: f64) -> Vec<f64> {
    let device = Device::flex().autodiff();
    let [rows, columns] = shape;
    let at = (&device, dtype);
    let mut model = Single::new(shape, &wave(rows * columns, 0.3), at);
    for step in 0..STEPS {
        let inputs = TensorData::new(wave(5 * rows, step as f64 * 0.7), [5, rows]);
        let targets = TensorData::new(wave(5 * columns, step as f64 * 0.2), [5, columns]);
        let inputs = Tensor::<2>::from_data(inputs, at);
        let targets = Tensor::<2>::from_data(targets, at);
        let loss = |model: &Single<2>| {
            let outputs = tanh(inputs.clone().matmul(model.weight.val()));
            let errors = (outputs - targets.clone()).square().mean();
            errors.mul_scalar(factor)
        };
        model = optimizer.step(1e-2, model, &loss).unwrap().model;
    }
    model.values()
}

fn apart(a: &[f64], b: &[f64]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max)
}

fn methods() -> Vec<(&'static str, Driver)> {
    let eigen = ShampooForm::Eigen(EigenSolver::Iteration(1));
    let corrected = ShampooForm::EigenvalueCorrected(EigenSolver::Iteration(1));
    let shampoo = ShampooConfig::new().with_period(3).with_start(2);
    vec![
        ("soap", SoapConfig::new().init().unwrap()),
        ("kl-soap", KlSoapConfig::new().init().unwrap()),
        ("kl-shampoo", KlShampooConfig::new().init().unwrap()),
        ("eigen", shampoo.clone().with_form(eigen).init().unwrap()),
        (
            "corrected",
            shampoo
                .with_form(corrected)
                .with_grafting(Grafting::None)
                .init()
                .unwrap(),
        ),
    ]
}

#[test]
fn the_last_digit_of_a_loss_moves_the_last_digits_of_the_weights() {
    for shape in [[8, 4], [4, 8], [16, 3], [8, 8]] {
        for (name, optimizer) in methods() {
            let plain = trained(optimizer.clone(), shape, DType::F64, 1.0);
            let nudged = trained(optimizer, shape, DType::F64, 1.0 + 2e-16);
            let distance = apart(&plain, &nudged);
            println!("{name}, {shape:?}: {distance:e}");
            assert!(distance < 1e-8, "{name}, {shape:?}: {distance:e}");
        }
    }
}
