//! What is asserted of every model.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_curvature::{
    CurvatureOperator, GaussNewton, GradientOracle, Hessian, HessianConfig, HvpMode, Objective,
    ParamVec, Product, Provenance, Scheme, StepRule, dense_matrix,
};

#[expect(
    deprecated,
    reason = "ndarray is the second backend that runs without an accelerator"
)]
pub fn devices() -> [Device; 2] {
    [Device::flex().autodiff(), Device::ndarray().autodiff()]
}

/// Deterministic numbers in -1..1.
pub fn numbers(n: usize, seed: usize) -> Vec<f64> {
    (0..n)
        .map(|k| (((k + 1) * (seed + 3)) as f64 * 0.734_51).sin())
        .collect()
}

pub fn tensor<const D: usize>(
    shape: [usize; D],
    seed: usize,
    device: &Device,
    dtype: DType,
) -> Tensor<D> {
    let n = shape.iter().product();
    Tensor::from_data(TensorData::new(numbers(n, seed), shape), (device, dtype))
}

fn config(mode: HvpMode) -> HessianConfig {
    HessianConfig {
        mode,
        // The error of a Richardson extrapolation in `f64` is far below the tolerance.
        scheme: Scheme::Richardson,
        step: StepRule::Fixed { length: 1e-3 },
        estimate_error: false,
        ..HessianConfig::default()
    }
}

pub fn exact<'a, M: Module>(oracle: &'a GradientOracle<'a, M>) -> Hessian<'a, M> {
    Hessian::with_config(oracle, config(HvpMode::Exact)).unwrap()
}

pub fn differences<'a, M: Module>(oracle: &'a GradientOracle<'a, M>) -> Hessian<'a, M> {
    Hessian::with_config(oracle, config(HvpMode::FiniteDifference)).unwrap()
}

fn assert_as_anew(what: &str, got: &Product, expected: &Product) {
    assert_eq!(got.provenance, Provenance::Exact);
    let error = distance(&got.value.to_values(), &expected.value.to_values());
    assert!(error < 1e-12, "{what}: kept and made anew {error:e} apart");
}

/// Products of which what they share is kept, one by one and side by side, against products made
/// anew.
pub fn assert_kept<M: Module>(what: &str, oracle: &GradientOracle<'_, M>) {
    let made = |keep_within| {
        let config = HessianConfig {
            keep_within,
            ..config(HvpMode::Exact)
        };
        Hessian::with_config(oracle, config).unwrap()
    };
    let (anew, kept) = (made(0.0), made(f64::INFINITY));
    let layout = anew.layout();
    let probes: Vec<ParamVec> = (7..11).map(|k| ParamVec::gaussian(&layout, k)).collect();
    kept.apply(&probes[0]).unwrap();
    assert!(kept.kept().is_none(), "{what}: kept for one product");
    let abreast = kept.apply_many(&probes).unwrap();
    let memory = kept.kept();
    let memory = memory.unwrap_or_else(|| panic!("{what}: nothing is kept"));
    assert!(memory.kept <= memory.peak && memory.gradient > 0);
    for (v, abreast) in probes.iter().zip(abreast) {
        let expected = anew.apply(v).unwrap();
        let alone = kept.apply(v).unwrap();
        assert!(alone.cost.gradient_evaluations() < expected.cost.gradient_evaluations());
        for got in [alone, abreast] {
            assert_as_anew(what, &got, &expected);
        }
    }
    assert!(anew.kept().is_none());
}

/// The same of the Gauss-Newton matrix.
pub fn assert_kept_ggn<M: Module>(what: &str, oracle: &GradientOracle<'_, M>) {
    let made = |within| {
        let made = GaussNewton::with_mode(oracle, HvpMode::Exact).unwrap();
        made.with_keep_within(within).unwrap()
    };
    let (anew, kept) = (made(0.0), made(f64::INFINITY));
    let layout = anew.layout();
    let probes: Vec<ParamVec> = (7..11).map(|k| ParamVec::gaussian(&layout, k)).collect();
    kept.apply(&probes[0]).unwrap();
    assert!(kept.kept().is_none(), "{what}: kept for one product");
    let abreast = kept.apply_many(&probes).unwrap();
    assert!(kept.kept().is_some(), "{what}: nothing is kept");
    for (v, abreast) in probes.iter().zip(abreast) {
        let expected = anew.apply(v).unwrap();
        for got in [kept.apply(v).unwrap(), abreast] {
            assert_as_anew(what, &got, &expected);
        }
        let forms = (anew.quadratic_form(v), kept.quadratic_form(v));
        let (expected, got) = (forms.0.unwrap(), forms.1.unwrap());
        assert!((got - expected).abs() <= 1e-12 * expected.abs());
    }
}

/// The relative distance of two vectors.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    difference / norm(&mut b.iter().copied()).max(1e-30)
}

/// The dense Hessian by exact products against the one by finite differences, and its symmetry.
pub fn assert_dense<M: Module>(model: &M, objective: &dyn Objective<M>) {
    let oracle = GradientOracle::new(model, objective);
    let hessian = exact(&oracle);
    let layout = hessian.layout();
    let n = layout.num_elements();
    let dense = dense_matrix(&hessian).unwrap();
    let expected = dense_matrix(&differences(&oracle)).unwrap();
    let error = distance(&dense, &expected);
    assert!(error < 1e-6, "relative distance {error:e} to differences");
    let transposed: Vec<f64> = (0..n * n).map(|k| dense[(k % n) * n + k / n]).collect();
    let error = distance(&dense, &transposed);
    assert!(error < 1e-10, "asymmetry {error:e}");
}

/// Exact products along random directions against finite differences, for models whose dense
/// Hessian would take long; forward-only curvature; provenance.
pub fn assert_products<M: Module>(model: &M, objective: &dyn Objective<M>) {
    let oracle = GradientOracle::new(model, objective);
    let (exact, differences) = (exact(&oracle), differences(&oracle));
    let layout = exact.layout();
    let probes: Vec<ParamVec> = (0..2).map(|k| ParamVec::gaussian(&layout, k)).collect();
    let mut products = Vec::new();
    for v in &probes {
        let product = exact.apply(v).unwrap();
        assert_eq!(product.provenance, Provenance::Exact);
        let expected = differences.apply(v).unwrap().value;
        let error = distance(&product.value.to_values(), &expected.to_values());
        assert!(error < 1e-6, "relative distance {error:e} to differences");

        let form = v.to_compute_dtype().dot(&product.value);
        let forward = exact.quadratic_form(v).unwrap();
        let error = (forward - form).abs() / (1.0 + form.abs());
        assert!(error < 1e-10, "forward-only {forward}, by products {form}");
        products.push(product.value);
    }
    let (uhv, vhu) = (probes[0].dot(&products[1]), probes[1].dot(&products[0]));
    assert!(
        (uhv - vhu).abs() < 1e-10 * (1.0 + uhv.abs()),
        "asymmetry: {uhv} and {vhu}"
    );
    assert_kept("products", &oracle);
    if objective.supervised().is_some() {
        assert_kept_ggn("products", &oracle);
    }
}

/// Exact products against the best of several central differences, to 1e-8; symmetry to 1e-12;
/// forward-only curvature; provenance. For networks whose kinks leave few steps to choose from.
pub fn assert_exact<M: Module>(what: &str, model: &M, objective: &dyn Objective<M>) {
    let oracle = GradientOracle::new(model, objective).with_seed(5);
    let hessian = exact(&oracle);
    let layout = hessian.layout();
    let probes: Vec<ParamVec> = (0..2).map(|k| ParamVec::gaussian(&layout, k)).collect();
    let mut products = Vec::new();
    for v in &probes {
        let product = hessian.apply(v).unwrap();
        assert_eq!(product.provenance, Provenance::Exact, "{what}");
        let got = product.value.to_values();
        let best = [1e-2, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5]
            .map(|length| {
                let config = HessianConfig {
                    mode: HvpMode::FiniteDifference,
                    scheme: Scheme::Richardson,
                    step: StepRule::Fixed { length },
                    estimate_error: false,
                    ..HessianConfig::default()
                };
                let differences = Hessian::with_config(&oracle, config).unwrap();
                distance(&got, &differences.apply(v).unwrap().value.to_values())
            })
            .into_iter()
            .fold(f64::INFINITY, f64::min);
        assert!(best < 1e-8, "{what}: {best:e} from the best difference");
        let form = v.dot(&product.value);
        let forward = hessian.quadratic_form(v).unwrap();
        let error = (forward - form).abs() / (1.0 + form.abs());
        assert!(error < 1e-10, "{what}: forward-only {forward} and {form}");
        products.push(product.value);
    }
    let (uhv, vhu) = (probes[0].dot(&products[1]), probes[1].dot(&products[0]));
    let scale = probes[0].norm() * products[1].norm();
    let defect = (uhv - vhu).abs() / scale;
    assert!(defect < 1e-12, "{what}: asymmetry {defect:e}");
    assert_kept(what, &oracle);
    if objective.supervised().is_some() {
        assert_kept_ggn(what, &oracle);
    }
}
