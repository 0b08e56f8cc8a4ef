//! The true error of a difference product against its estimate.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Tensor, TensorData, activation};
use osculate_curvature::{
    Batched, Criterion, CurvatureOperator, GradientOracle, Hessian, HessianConfig, HvpMode,
    Objective, ParamVec, Provenance, Supervised, SupervisedBatch,
};

#[derive(Module, Debug)]
struct Net {
    first: Param<Tensor<2>>,
    second: Param<Tensor<2>>,
}

/// Independent numbers in -1..1.
struct Numbers(u64);

impl Numbers {
    fn draw(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn below(&mut self, n: usize) -> usize {
        ((self.draw() * 0.5 + 0.5) * n as f64) as usize % n
    }

    fn tensor(&mut self, shape: [usize; 2], scale: f64, at: (&Device, DType)) -> Tensor<2> {
        let values: Vec<f64> = (0..shape[0] * shape[1])
            .map(|_| self.draw() * scale)
            .collect();
        Tensor::from_data(TensorData::new(values, shape), at)
    }
}

impl Net {
    fn outputs(&self, x: &Tensor<2>, kind: usize) -> Tensor<2> {
        let hidden = x.clone().matmul(self.first.val());
        let hidden = match kind {
            0 => activation::relu(hidden),
            1 => activation::leaky_relu(hidden, 0.1),
            2 => activation::tanh(hidden),
            _ => activation::softplus(hidden, 1.0),
        };
        hidden.matmul(self.second.val())
    }
}

#[expect(
    deprecated,
    reason = "ndarray is the second backend that runs without an accelerator"
)]
fn devices() -> [Device; 2] {
    [Device::flex().autodiff(), Device::ndarray().autodiff()]
}

/// The true error, the estimate and the product's size of one random case.
fn case(seed: u64) -> [f64; 3] {
    let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    numbers.draw();
    let device = &devices()[numbers.below(2)];
    let dtype = [DType::F32, DType::F64][numbers.below(2)];
    let kind = numbers.below(4);
    let rows = 4 + numbers.below(28);
    let [features, hidden, outputs] = [3, 2 + numbers.below(10), 2];
    // Weights keep their scale, so that the functions keep their shape; losses and inputs do not.
    let loss_scale = 10f64.powf(6.0 * numbers.draw());
    let at = (device, dtype);
    let x = numbers.tensor([rows, features], 1.0, at);
    let y = numbers.tensor([rows, outputs], 1.0, at);
    let mut leaf = |shape| {
        let value = numbers.tensor(shape, 1.0, at);
        Param::initialized(ParamId::new(), value.require_grad())
    };
    let net = Net {
        first: leaf([features, hidden]),
        second: leaf([hidden, outputs]),
    };
    let truth = Batched::new(
        (x.clone(), y.clone()),
        move |net: &Net, (x, y): &(Tensor<2>, Tensor<2>)| {
            let error = net.outputs(x, kind) - y.clone();
            error.square().mean().mul_scalar(loss_scale)
        },
    );
    let (cx, cy) = (x.clone(), y.clone());
    let closure = move |net: &Net| {
        let error = net.outputs(&cx, kind) - cy.clone();
        error.square().mean().mul_scalar(loss_scale)
    };
    let sx = x.clone();
    let supervised = Supervised::new(
        move |net: &Net| net.outputs(&sx, kind),
        Criterion::mse(y.clone()),
    );
    let batch = SupervisedBatch::new(
        x,
        move |net: &Net, x: &Tensor<2>| net.outputs(x, kind),
        Criterion::mse(y),
    );
    let (objective, truth): (&dyn Objective<Net>, &dyn Objective<Net>) = match numbers.below(2) {
        0 => (&closure, &truth),
        _ => (&supervised, &batch),
    };
    let exact = GradientOracle::new(&net, truth);
    let exact = Hessian::with_config(
        &exact,
        HessianConfig {
            mode: HvpMode::Exact,
            ..HessianConfig::default()
        },
    )
    .unwrap()
    .apply(&ParamVec::gaussian(&exact.layout().unwrap(), seed))
    .unwrap()
    .value;
    let oracle = GradientOracle::new(&net, objective);
    let hessian = Hessian::new(&oracle).unwrap();
    let v = ParamVec::gaussian(&hessian.layout(), seed);
    let product = match numbers.below(2) {
        0 => hessian.apply(&v).unwrap(),
        _ => hessian.apply_probe(&v).unwrap(),
    };
    assert!(matches!(
        product.provenance,
        Provenance::FiniteDifference { .. }
    ));
    let error = product.value.sub(&exact).norm();
    [error, product.error().unwrap(), exact.norm()]
}

#[test]
fn estimates_hold() {
    let cases: Vec<[f64; 3]> = (0..320).map(case).collect();
    let held = cases
        .iter()
        .filter(|[error, estimate, _]| *error <= 3.0 * estimate);
    let share = held.count() as f64 / cases.len() as f64;
    for (seed, [error, estimate, size]) in cases.iter().enumerate() {
        if *error > 3.0 * estimate {
            println!("{seed}: error {error:e}, estimate {estimate:e}, product {size:e}");
        }
    }
    println!("held in {share}");
    assert!(share >= 0.97, "held in {share}");
    // They are not held by being large.
    let mut ratios: Vec<f64> = cases
        .iter()
        .map(|[error, estimate, _]| estimate / error)
        .collect();
    ratios.sort_by(f64::total_cmp);
    println!("median of estimate over error {}", ratios[160]);
    assert!(ratios[160] < 100.0, "median {}", ratios[160]);
}
