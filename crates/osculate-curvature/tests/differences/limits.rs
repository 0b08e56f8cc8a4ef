//! Kinks, noise and parameters that are not finite.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Int, Tensor, activation};
use osculate_curvature::{
    CurvatureError, CurvatureOperator, GradientOracle, Hessian, HutchinsonConfig, LanczosConfig,
    ParamVec, hutchinson_trace, lanczos, symmetry_check,
};

#[derive(Module, Debug)]
struct Weights {
    w: Param<Tensor<1>>,
    other: Param<Tensor<1>>,
}

impl Weights {
    fn new<const A: usize, const B: usize>(
        w: [f64; A],
        other: [f64; B],
        device: &Device,
        dtype: DType,
    ) -> Self {
        let leaf = |tensor: Tensor<1>| {
            let tracked = tensor.is_autodiff();
            let tensor = tensor.set_require_grad(tracked);
            Param::initialized(ParamId::new(), tensor)
        };
        Self {
            w: leaf(Tensor::from_data(w, (device, dtype))),
            other: leaf(Tensor::from_data(other, (device, dtype))),
        }
    }
}

fn flex() -> Device {
    Device::flex().autodiff()
}

#[expect(
    deprecated,
    reason = "ndarray is the backend that computes some activations in `f32`"
)]
fn ndarray() -> Device {
    Device::ndarray().autodiff()
}

#[test]
fn a_spectrum_next_to_a_kink_has_not_converged_or_is_right() {
    for dtype in [DType::F32, DType::F64] {
        let model = Weights::new([1e-5], [0.5], &flex(), dtype);
        let loss = |model: &Weights| {
            let w = model.w.val();
            let kink = activation::relu(w.clone()) + w.square().mul_scalar(0.5);
            (kink + model.other.val().square()).sum()
        };
        let oracle = GradientOracle::new(&model, &loss);
        let hessian = Hessian::new(&oracle).unwrap();
        let config = LanczosConfig {
            largest: 2,
            ..LanczosConfig::default()
        };
        let spectrum = lanczos(&hessian, &config).unwrap();
        let largest: Vec<f64> = spectrum.largest.iter().map(|pair| pair.value).collect();
        let off = (largest[0] - 2.0).abs().max((largest[1] - 1.0).abs());
        assert!(
            off <= 2e-3 || !spectrum.converged,
            "{dtype:?}: {largest:?} converged"
        );
        let error = spectrum.product_error.unwrap();
        assert!(off <= 3.0 * error, "off by {off}, said {error}");
        // The kink lies 1e-5 away: in `f64` there are steps below it.
        if dtype == DType::F64 {
            assert!(spectrum.converged, "{largest:?}");
        }
    }
}

#[test]
fn a_trace_that_kinks_spoil_says_so() {
    let model = Weights::new([1e-4; 8], [0.5], &flex(), DType::F32);
    let loss = |model: &Weights| {
        let w = model.w.val();
        let other = model.other.val().square().sum();
        (activation::relu(w.clone()) + w.square().mul_scalar(0.5)).sum() + other
    };
    let oracle = GradientOracle::new(&model, &loss);
    let trace = hutchinson_trace(
        &Hessian::new(&oracle).unwrap(),
        &HutchinsonConfig::default(),
    )
    .unwrap();
    let off = (trace.value - 10.0).abs();
    assert!(off < 1.0 || !trace.converged, "{trace:?}");
}

#[test]
fn f32_inside_an_f64_model_is_seen() {
    // ndarray computes the sigmoid and its slope in `f32`, whatever the type.
    let model = Weights::new([0.3, -0.7, 0.2], [0.5, 1.5, -0.4], &ndarray(), DType::F64);
    let loss = |model: &Weights| {
        let hidden = activation::sigmoid(model.w.val() * model.other.val());
        (hidden * model.w.val()).sum().square()
    };
    let oracle = GradientOracle::new(&model, &loss);
    let hessian = Hessian::new(&oracle).unwrap();
    let on_flex = Weights::new([0.3, -0.7, 0.2], [0.5, 1.5, -0.4], &flex(), DType::F64);
    let reference = GradientOracle::new(&on_flex, &loss);
    let reference = Hessian::new(&reference).unwrap();
    for seed in 0..4 {
        let v = ParamVec::gaussian(&hessian.layout(), seed).to_values();
        let of = |hessian: &Hessian<'_, Weights>| {
            let v = ParamVec::from_values(&hessian.layout(), &v);
            let product = hessian.apply(&v).unwrap();
            (product.value.to_values(), product.error().unwrap())
        };
        let ((got, said), (expected, _)) = (of(&hessian), of(&reference));
        let size = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
        let pairs = got.iter().zip(&expected);
        let off = pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        assert!(off <= 5e-3 * size, "off by {off} of {size}");
        assert!(off <= 3.0 * said, "off by {off}, said {said}");
    }
}

#[test]
fn an_infinite_parameter_leaves_the_others_their_curvature() {
    let device = flex();
    let infinite = f64::NEG_INFINITY;
    let model = Weights::new([1.0, 2.0, 0.5], [0.0, 0.0, infinite], &device, DType::F64);
    let loss = |model: &Weights| {
        let w = model.w.val();
        let logits = w.clone() * w + model.other.val();
        activation::log_softmax(logits.unsqueeze::<2>(), 1)
            .slice([0..1, 0..1])
            .neg()
            .sum()
    };
    let oracle = GradientOracle::new(&model, &loss);
    let hessian = Hessian::new(&oracle).unwrap();
    let v = ParamVec::from_values(&hessian.layout(), &[1.0, -0.5, 0.3, 0.0, 0.0, 0.0]);
    let product = hessian.apply(&v).unwrap().value.to_values();
    // Two logits a = w0², b = w1² are left: L = log(1 + exp(b - a)), p its slope.
    let (w0, w1) = (1.0f64, 2.0f64);
    let p = 1.0 / (1.0 + (w0 * w0 - w1 * w1).exp());
    let q = p * (1.0 - p);
    let direction = 2.0 * w1 * -0.5 - 2.0 * w0;
    let expected = [
        -2.0 * p - 2.0 * w0 * q * direction,
        2.0 * p * -0.5 + 2.0 * w1 * q * direction,
    ];
    for (got, expected) in product.iter().zip(expected) {
        assert!((got - expected).abs() < 1e-6, "{product:?}, {expected}");
    }
}

#[test]
fn what_is_not_a_number_is_not_smooth() {
    let model = Weights::new([0.0, 0.0], [0.0], &flex(), DType::F64);
    let loss = |model: &Weights| {
        let all = model.w.val().abs().powf_scalar(1.5).sum();
        all + model.other.val().abs().powf_scalar(1.5).sum()
    };
    let oracle = GradientOracle::new(&model, &loss);
    let check = symmetry_check(&Hessian::new(&oracle).unwrap(), 0).unwrap();
    assert!(!check.smooth || check.defect.is_finite(), "{check:?}");
}

#[test]
fn small_spaces_converge() {
    for n in 1..4usize {
        let device = flex();
        let leaf = |n: usize| {
            let tensor = Tensor::<1, Int>::arange(1..n as i64 + 1, &device).float();
            Param::initialized(ParamId::new(), tensor.require_grad())
        };
        let model = Weights {
            w: leaf(n),
            other: leaf(1),
        };
        let loss = |model: &Weights| {
            let w = model.w.val();
            (w.clone() * w.clone() * w).sum() + model.other.val().square().sum()
        };
        let oracle = GradientOracle::new(&model, &loss);
        let hessian = Hessian::new(&oracle).unwrap();
        let config = LanczosConfig {
            tolerance: 1e-2,
            ..LanczosConfig::default()
        };
        let spectrum = lanczos(&hessian, &config).unwrap();
        assert!(spectrum.converged, "{n}: {spectrum:?}");
    }
}

#[test]
fn a_model_without_autodiff_is_an_error() {
    let model = Weights::new([0.5], [0.5], &Device::flex(), DType::F32);
    let loss = |model: &Weights| (model.w.val() + model.other.val()).sum();
    let oracle = GradientOracle::new(&model, &loss);
    let error = oracle.clean().unwrap_err();
    assert!(matches!(error, CurvatureError::NoGradient), "{error}");
}
