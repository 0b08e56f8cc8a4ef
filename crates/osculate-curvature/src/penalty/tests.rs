use burn::module::{Module, Param, ParamGroup, ParamId};
use burn::tensor::{DType, Device, Tensor, TensorData};

use super::*;
use crate::error::CurvatureError;
use crate::objective::{Batched, Objective};
use crate::operator::{DenseOperator, DiagonalOperator, Structure};
use crate::oracle::GradientOracle;
use crate::params::ParamVec;
use crate::testing::assert_close;

/// One vector and one matrix.
#[derive(Module, Debug)]
struct Point {
    x: Param<Tensor<1>>,
}

#[derive(Module, Debug)]
struct Layers {
    head: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

fn parameter<const D: usize>(values: &[f64], shape: [usize; D]) -> Param<Tensor<D>> {
    let device = Device::flex().autodiff();
    let data = TensorData::new(values.to_vec(), shape);
    let tensor = Tensor::<D>::from_data(data, (&device, DType::F64)).require_grad();
    Param::initialized(ParamId::new(), tensor)
}

fn constant<const D: usize>(values: &[f64], shape: [usize; D]) -> Tensor<D> {
    let device = Device::flex().autodiff();
    Tensor::from_data(
        TensorData::new(values.to_vec(), shape),
        (&device, DType::F64),
    )
}

type Quartic = Batched<(Tensor<2>, Tensor<2>), fn(&Point, &(Tensor<2>, Tensor<2>)) -> Tensor<1>>;

/// `½ xᵀ A x - cᵀ x + 0.1 Σ x⁴`.
fn quartic(a: &[f64; 9], c: &[f64; 3]) -> Quartic {
    let loss: fn(&Point, &(Tensor<2>, Tensor<2>)) -> Tensor<1> = |point, (a, c)| {
        let x = point.x.val().reshape([3, 1]);
        let quadratic = (x.clone() * a.clone().matmul(x.clone())).sum() * 0.5;
        let square = x.clone() * x.clone();
        quadratic - (c.clone() * x).sum() + (square.clone() * square).sum() * 0.1
    };
    Batched::new((constant(a, [3, 3]), constant(c, [3, 1])), loss)
}

const A: [f64; 9] = [3.0, 1.0, 0.5, 1.0, 2.0, 0.3, 0.5, 0.3, 1.0];
const C: [f64; 3] = [1.0, -1.0, 0.5];
const START: [f64; 3] = [1.0, -2.0, 0.5];

fn first() -> Quartic {
    quartic(&A, &C)
}

fn second() -> Quartic {
    let mut a = A;
    a[0] += 1.0;
    a[8] -= 0.2;
    quartic(&a, &[0.0, 1.0, -0.5])
}

fn at(x: &[f64; 3]) -> Point {
    Point {
        x: parameter(x, [3]),
    }
}

fn gradient(penalty: &dyn Penalty<Point>) -> Vec<f64> {
    penalty.evaluate(&at(&START)).unwrap().gradient.to_values()
}

/// Compares the gradient with central differences of the value.
fn agrees_with_differences(penalty: &dyn Penalty<Point>, tolerance: f64) {
    let found = gradient(penalty);
    let expected: Vec<f64> = (0..3)
        .map(|k| {
            let value = |by: f64| {
                let mut x = START;
                x[k] += by;
                penalty.evaluate(&at(&x)).unwrap().value
            };
            (value(1e-4) - value(-1e-4)) / 2e-4
        })
        .collect();
    assert_close(&found, &expected, tolerance);
}

#[test]
fn gradient_norm_penalties_are_the_oracles() {
    let loss = first();
    let half = GradientNormPenalty::new(&loss, GradientNorm::HalfSquared);
    assert_close(&gradient(&half), &[-2.345, -33.705, -1.255], 1e-10);
    agrees_with_differences(&half, 1e-6);
    let norm = GradientNormPenalty::new(&loss, GradientNorm::Norm);
    let expected = [-0.460534877032207, -6.619329650477842, -0.246469625021501];
    assert_close(&gradient(&norm), &expected, 1e-10);
    agrees_with_differences(&norm, 1e-6);
}

#[test]
fn the_trace_penalty_is_the_oracles() {
    let loss = first();
    let penalty = TracePenalty::new(&loss, 3, 1).unwrap();
    // The third derivatives of the problem are diagonal, so every probe gives the exact gradient.
    assert_close(&gradient(&penalty), &[2.4, -4.8, 1.2], 1e-6);
    let many = TracePenalty::new(&loss, 400, 5).unwrap();
    let value = many.evaluate(&at(&START)).unwrap().value;
    assert!((value - 12.3).abs() < 0.5, "{value}");
    assert!(TracePenalty::new(&loss, 0, 0).is_err());
}

#[test]
fn the_sharpness_penalty_is_the_oracles() {
    let loss = first();
    let config = crate::LanczosConfig {
        tolerance: 1e-12,
        ..crate::LanczosConfig::default()
    };
    let penalty = SharpnessPenalty::new(&loss).with_lanczos(config);
    let found = penalty.evaluate(&at(&START)).unwrap();
    assert!((found.value - 7.174084919906892).abs() < 1e-8);
    let expected = [0.2601737291844125, -4.251859862087018, 0.006948169886038609];
    assert_close(&found.gradient.to_values(), &expected, 1e-5);
    agrees_with_differences(&penalty, 1e-5);
}

#[test]
fn the_alignment_penalty_is_the_oracles() {
    let (first, second) = (first(), second());
    let domains: Vec<&dyn Objective<Point>> = vec![&first, &second];
    let penalty = AlignmentPenalty::new(domains.clone(), AlignmentConfig::default()).unwrap();
    let found = penalty.evaluate(&at(&START)).unwrap();
    assert!(
        (found.value - 115.19849999999998).abs() < 1e-9,
        "{}",
        found.value
    );
    let expected = [126.63, -99.352, 5.138];
    assert_close(&found.gradient.to_values(), &expected, 1e-6);
    agrees_with_differences(&penalty, 1e-5);
    assert!(found.cost.backwards > 0);
    assert!(AlignmentPenalty::new(domains[..1].to_vec(), AlignmentConfig::default()).is_err());
}

/// A loss of two parameters whose cross derivatives do not vanish.
type Product = Batched<Tensor<2>, fn(&Layers, &Tensor<2>) -> Tensor<1>>;

fn product(data: &[f64; 4]) -> Product {
    let loss: fn(&Layers, &Tensor<2>) -> Tensor<1> = |layers, x| {
        let hidden = x.clone().matmul(layers.head.val());
        let shifted = hidden + layers.bias.val().reshape([1, 2]);
        burn::tensor::activation::tanh(shifted.clone())
            .square()
            .mean()
            + shifted.square().mean()
    };
    Batched::new(constant(data, [2, 2]), loss)
}

fn layers(x: &[f64; 6]) -> Layers {
    Layers {
        head: parameter(&x[..4], [2, 2]),
        bias: parameter(&x[4..], [2]),
    }
}

#[test]
fn alignment_of_one_group_has_the_gradient_of_its_value() {
    let (first, second) = (
        product(&[1.0, -0.5, 0.3, 0.8]),
        product(&[-0.2, 0.9, 1.1, 0.4]),
    );
    let config = AlignmentConfig {
        group: Some(ParamGroup::from_path("head")),
        ..AlignmentConfig::default()
    };
    let penalty = AlignmentPenalty::new(vec![&first, &second], config).unwrap();
    let start = [0.4, -0.3, 0.7, 0.2, 0.1, -0.6];
    let found = penalty
        .evaluate(&layers(&start))
        .unwrap()
        .gradient
        .to_values();
    let expected: Vec<f64> = (0..6)
        .map(|k| {
            let value = |by: f64| {
                let mut x = start;
                x[k] += by;
                penalty.evaluate(&layers(&x)).unwrap().value
            };
            (value(1e-4) - value(-1e-4)) / 2e-4
        })
        .collect();
    assert_close(&found, &expected, 1e-6);
}

#[test]
fn sums_with_a_penalty_have_its_value_and_gradient() {
    let loss = first();
    let point = at(&START);
    let penalty = GradientNormPenalty::new(&loss, GradientNorm::HalfSquared);
    let own = penalty.evaluate(&point).unwrap();
    let sum = Penalised::new(loss.clone(), penalty, 0.3).unwrap();
    let (alone, both) = (
        GradientOracle::new(&point, &loss),
        GradientOracle::new(&point, &sum),
    );
    let (alone, both) = (alone.clean().unwrap(), both.clean().unwrap());
    let value = |x: &Tensor<1>| x.clone().into_data().iter::<f64>().sum::<f64>();
    let expected = value(&alone.loss) + 0.3 * own.value;
    assert!((value(&both.loss) - expected).abs() < 1e-10);
    let expected = alone.gradient.axpy(0.3, &own.gradient);
    assert!(both.gradient.sub(&expected).norm() < 1e-10);
    let nan = GradientNormPenalty::new(&loss, GradientNorm::Norm);
    assert!(Penalised::new(loss.clone(), nan, f64::NAN).is_err());
}

/// Least squares of the oracle, split into two tasks.
const X: [[f64; 2]; 6] = [
    [1.0, 0.0],
    [0.0, 1.0],
    [1.0, 1.0],
    [2.0, -1.0],
    [-1.0, 0.5],
    [0.5, 2.0],
];
const Y: [f64; 6] = [1.0, -1.0, 0.5, 2.0, 0.0, 1.0];

fn gram(rows: std::ops::Range<usize>, decay: f64) -> Vec<f64> {
    let count = rows.len() as f64;
    let sum = |k: usize| rows.clone().map(|i| X[i][k / 2] * X[i][k % 2]).sum::<f64>() / count;
    (0..4)
        .map(|k| sum(k) + if k % 3 == 0 { decay } else { 0.0 })
        .collect()
}

/// Solves the two equations `(A + B) w = b`.
fn solve(a: &[f64], b: &[f64; 2]) -> [f64; 2] {
    let determinant = a[0] * a[3] - a[1] * a[2];
    [
        (a[3] * b[0] - a[1] * b[1]) / determinant,
        (a[0] * b[1] - a[2] * b[0]) / determinant,
    ]
}

#[test]
fn quadratics_remember_a_task_as_the_oracle_says() {
    let right = |rows: std::ops::Range<usize>| -> [f64; 2] {
        let sum = |k: usize| rows.clone().map(|i| X[i][k] * Y[i]).sum::<f64>() / 3.0;
        [sum(0), sum(1)]
    };
    let (first, second) = (gram(0..3, 0.1), gram(3..6, 0.0));
    let learnt = solve(&first, &right(0..3));
    let device = Device::flex().autodiff();
    let data = X[3..].as_flattened();
    let inputs = Tensor::<2>::from_data(
        TensorData::new(data.to_vec(), [3, 2]),
        (&device, DType::F64),
    );
    let targets = constant(&Y[3..], [3]);
    // The second task, half mean squares.
    let task = Batched::new(
        (inputs, targets),
        |point: &Point, (x, y): &(Tensor<2>, Tensor<1>)| {
            let output = x.clone().matmul(point.x.val().reshape([2, 1])).reshape([3]);
            (output - y.clone()).square().mean() * 0.5
        },
    );
    let layout = {
        let point = Point {
            x: parameter(&learnt, [2]),
        };
        GradientOracle::new(&point, &task).layout().unwrap()
    };
    let whole = DenseOperator::new(
        layout.clone(),
        first.clone(),
        Structure::PositiveSemidefinite,
    )
    .unwrap();
    let diagonal = ParamVec::from_values(&layout, &[first[0], first[3]]);
    let diagonal = DiagonalOperator::new(diagonal);
    let centre = ParamVec::from_values(&layout, &learnt);
    let b = right(3..6);
    // The minimum of the second task with the memory of the first, in closed form, must have no
    // gradient; the oracle's values.
    let joint = [0.7937976300603498, -0.013655786088718517];
    let forgetful = [0.8736155250013065, -0.014612269303835867];
    let found = Penalised::new(
        task.clone(),
        QuadraticPenalty::new(whole, centre.clone()).unwrap(),
        1.0,
    )
    .unwrap();
    let norm = |objective: &dyn Objective<Point>, w: [f64; 2]| {
        let point = Point {
            x: parameter(&w, [2]),
        };
        GradientOracle::new(&point, objective)
            .clean()
            .unwrap()
            .gradient
            .norm()
    };
    assert!(norm(&found, joint) < 1e-10);
    let all: Vec<f64> = first.iter().zip(&second).map(|(a, b)| a + b).collect();
    let sum = right(0..3);
    assert_close(&solve(&all, &[sum[0] + b[0], sum[1] + b[1]]), &joint, 1e-12);
    let ewc = QuadraticPenalty::new(diagonal, centre).unwrap();
    let found = Penalised::new(task, ewc, 1.0).unwrap();
    assert!(norm(&found, forgetful) < 1e-10);
}

#[test]
fn spectral_norms_and_their_gradients() {
    // Singular values 5 and 1 along known axes.
    let (c, s) = (0.6, 0.8);
    let matrix = [
        5.0 * c * c + s * s,
        4.0 * c * s,
        4.0 * c * s,
        5.0 * s * s + c * c,
    ];
    let mut x = [0.0; 6];
    x[..4].copy_from_slice(&matrix);
    x[4] = 9.0;
    let found = SpectralPenalty::new().evaluate(&layers(&x)).unwrap();
    assert!((found.value - 5.0).abs() < 1e-10, "{}", found.value);
    assert_close(
        &found.gradient.to_values(),
        &[c * c, c * s, c * s, s * s],
        1e-10,
    );
    let none = SpectralPenalty::new().with_group(ParamGroup::from_path("bias"));
    let error = none.evaluate(&layers(&x)).unwrap_err();
    assert!(
        matches!(error, CurvatureError::EmptySelection { available: 1, .. }),
        "{error}"
    );
    assert!(SpectralPenalty::new().with_iterations(0).is_err());
}

#[test]
fn departures_from_linearity_are_measured_and_differentiated() {
    // The loss of a sample is (w x)³, so that the departure at x = 1 is |3 δ² + δ³| w³.
    let losses = |layers: &Layers, x: Tensor<1>| {
        let w = layers.head.val().reshape([4]).slice(0..1);
        (x * w).powi_scalar(3)
    };
    let delta = 0.2;
    let penalty =
        LocalLinearity::new(constant(&[1.0], [1]), constant(&[delta], [1]), 1e-4, losses).unwrap();
    let w = 0.7;
    let model = layers(&[w, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let oracle = GradientOracle::new(&model, &penalty);
    let clean = oracle.clean().unwrap();
    let departure = 3.0 * delta * delta + delta.powi(3);
    let value = clean.loss.clone().into_data().iter::<f64>().sum::<f64>();
    assert!((value - departure * w.powi(3)).abs() < 1e-8, "{value}");
    let slope = clean.gradient.to_values()[0];
    assert!((slope - 3.0 * departure * w * w).abs() < 1e-7, "{slope}");
    let wrong = LocalLinearity::new(
        constant(&[1.0, 2.0], [2]),
        constant(&[delta], [1]),
        1e-4,
        losses,
    );
    assert!(wrong.is_err());
}
