use std::sync::Arc;

use burn::tensor::{DType, Device, Int, Tensor};
use osculate_curvature::{
    Criterion, CurvatureError, CurvatureOperator, Fisher, FisherKind, GaussNewton, GradientOracle,
    Hessian, HessianConfig, HutchinsonConfig, HvpMode, ParamLayout, ParamVec, Product, Provenance,
    Structure, SupervisedBatch, dense_diagonal, dense_matrix, hutchinson_diagonal,
    hutchinson_trace,
};

use crate::checks::{devices, distance, exact, tensor};
use crate::models::{Mlp, fill};

fn objective(
    device: &Device,
) -> SupervisedBatch<Tensor<2>, impl Fn(&Mlp, &Tensor<2>) -> Tensor<2> + use<>> {
    SupervisedBatch::new(
        tensor([4, 3], 11, device, DType::F64),
        |model: &Mlp, x: &Tensor<2>| model.forward(x.clone()),
        Criterion::cross_entropy(Tensor::<1, Int>::from_data([0, 2, 1, 1], device)),
    )
}

#[test]
fn gauss_newton_products_are_exact() {
    let device = Device::flex().autodiff();
    let model = fill(Mlp::new(true, [3, 4, 3], &device), DType::F64);
    let objective = objective(&device);
    let oracle = GradientOracle::new(&model, &objective);
    let exact = GaussNewton::with_mode(&oracle, HvpMode::Exact).unwrap();
    let differences = GaussNewton::with_mode(&oracle, HvpMode::FiniteDifference).unwrap();
    let v = ParamVec::gaussian(&exact.layout(), 1);
    let product = exact.apply(&v).unwrap();
    assert_eq!(product.provenance, Provenance::Exact);
    let expected = differences.apply(&v).unwrap().value.to_values();
    assert!(distance(&product.value.to_values(), &expected) < 1e-6);
    let form = exact.quadratic_form(&v).unwrap();
    assert!((form - v.dot(&product.value)).abs() < 1e-12 * form);
    assert!(form > 0.0);
}

#[test]
fn fisher_products_are_exact() {
    let device = Device::flex().autodiff();
    let model = fill(Mlp::new(true, [3, 4, 3], &device), DType::F64);
    let objective = objective(&device);
    let oracle = GradientOracle::new(&model, &objective);
    for kind in [FisherKind::Empirical, FisherKind::Sampled { seed: 3 }] {
        let exact = Fisher::with_mode(&oracle, kind, HvpMode::Exact).unwrap();
        let differences = Fisher::with_mode(&oracle, kind, HvpMode::FiniteDifference).unwrap();
        let v = ParamVec::gaussian(&exact.layout(), 1);
        let product = exact.apply(&v).unwrap();
        assert_eq!(product.provenance, Provenance::Exact);
        let expected = differences.apply(&v).unwrap().value.to_values();
        assert!(distance(&product.value.to_values(), &expected) < 1e-6);
    }
}

#[test]
fn the_dense_diagonal_is_that_of_the_matrix() {
    let device = Device::flex().autodiff();
    let model = fill(Mlp::new(true, [3, 2, 3], &device), DType::F64);
    let objective = objective(&device);
    let oracle = GradientOracle::new(&model, &objective);
    let hessian = exact(&oracle);
    let n = hessian.layout().num_elements();
    let matrix = dense_matrix(&hessian).unwrap();
    let expected: Vec<f64> = (0..n).map(|k| matrix[k * n + k]).collect();
    let diagonal = dense_diagonal(&hessian).unwrap().to_values();
    assert!(distance(&diagonal, &expected) < 1e-14);
}

#[test]
fn products_made_at_once_are_those_made_one_by_one() {
    for device in devices() {
        let model = fill(Mlp::new(true, [3, 4, 3], &device), DType::F64);
        let objective = objective(&device);
        let oracle = GradientOracle::new(&model, &objective);
        let hessian = exact(&oracle);
        let layout = hessian.layout();
        let mut vectors: Vec<ParamVec> = (0..5).map(|k| ParamVec::gaussian(&layout, k)).collect();
        vectors.push(ParamVec::zeros(&layout));
        let before = oracle.cost();
        let products = hessian.apply_many(&vectors).unwrap();
        let spent = oracle.cost().since(before);
        let told = products.iter().map(|product| product.cost).sum();
        assert_eq!(spent, told);
        for (v, product) in vectors.iter().zip(products) {
            let alone = hessian.apply(v).unwrap();
            assert_eq!(product.provenance, Provenance::Exact);
            assert_eq!(product.value.to_values(), alone.value.to_values());
        }
        assert!(hessian.apply_many(&[]).unwrap().is_empty());
    }
}

#[test]
fn an_estimate_does_not_depend_on_how_many_products_are_made_at_once() {
    /// Hides that several products can be made at once.
    struct OneByOne<A>(A);
    impl<A: CurvatureOperator> CurvatureOperator for OneByOne<A> {
        fn layout(&self) -> Arc<ParamLayout> {
            self.0.layout()
        }

        fn structure(&self) -> Structure {
            self.0.structure()
        }

        fn apply(&self, v: &ParamVec) -> Result<Product, CurvatureError> {
            self.0.apply(v)
        }
    }

    let device = Device::flex().autodiff();
    let model = fill(Mlp::new(true, [3, 4, 3], &device), DType::F64);
    let objective = objective(&device);
    let oracle = GradientOracle::new(&model, &objective);
    let hessian = exact(&oracle);
    for relative_tolerance in [None, Some(0.3)] {
        let config = HutchinsonConfig {
            probes: 33,
            relative_tolerance,
            ..HutchinsonConfig::default()
        };
        let trace = hutchinson_trace(&hessian, &config).unwrap();
        let alone = hutchinson_trace(&OneByOne(&hessian), &config).unwrap();
        assert_eq!((trace.value, trace.probes), (alone.value, alone.probes));
        let diagonal = hutchinson_diagonal(&hessian, &config).unwrap();
        let alone = hutchinson_diagonal(&OneByOne(&hessian), &config).unwrap();
        assert_eq!(diagonal.value.to_values(), alone.value.to_values());
        assert_eq!(diagonal.probes, alone.probes);
    }
}

#[test]
fn what_products_share_is_kept_from_the_second_on_and_within_its_bound() {
    let device = Device::flex().autodiff();
    let model = fill(Mlp::new(true, [3, 4, 3], &device), DType::F64);
    let objective = objective(&device);
    let oracle = GradientOracle::new(&model, &objective);
    let hessian = |keep_within| {
        let config = HessianConfig {
            keep_within,
            ..HessianConfig::default()
        };
        Hessian::with_config(&oracle, config)
    };
    let ggn = || GaussNewton::new(&oracle).unwrap();
    for wrong in [-1.0, f64::NAN] {
        let errors = [
            hessian(wrong).err().unwrap(),
            ggn().with_keep_within(wrong).err().unwrap(),
        ];
        for error in errors {
            assert!(error.to_string().contains("keep_within"), "{error}");
        }
    }

    let one = hessian(f64::INFINITY).unwrap();
    let layout = one.layout();
    let v: Vec<ParamVec> = (0..3).map(|k| ParamVec::gaussian(&layout, k)).collect();
    let price = |product: Product| product.cost.gradient_evaluations();
    let prices: Vec<f64> = (0..3).map(|k| price(one.apply(&v[k]).unwrap())).collect();
    // The check of the recording is part of the first, what is kept of the second.
    assert!((prices[0] - 10.0 / 3.0).abs() < 1e-12, "{prices:?}");
    assert!((prices[1] - 8.0 / 3.0).abs() < 1e-12, "{prices:?}");
    assert!((prices[2] - 2.0).abs() < 1e-12, "{prices:?}");

    let several = hessian(f64::INFINITY).unwrap();
    several.apply_many(&v[..2]).unwrap();
    assert!(several.kept().is_none(), "two cost less without");
    let several = hessian(f64::INFINITY).unwrap();
    several.apply_many(&v).unwrap();
    let memory = several.kept().unwrap();

    let tight = hessian(0.9 * memory.peak as f64 / memory.gradient as f64).unwrap();
    let none = hessian(0.0).unwrap();
    for v in &v {
        let (a, b) = (tight.apply(v).unwrap(), none.apply(v).unwrap());
        assert_eq!(a.value.to_values(), b.value.to_values());
        assert_eq!(a.cost, b.cost);
    }
    assert!(tight.kept().is_none() && none.kept().is_none());

    let ggn = ggn().with_keep_within(f64::INFINITY).unwrap();
    let prices: Vec<f64> = (0..3).map(|k| price(ggn.apply(&v[k]).unwrap())).collect();
    assert!((prices[1] - 5.0 / 3.0).abs() < 1e-12, "{prices:?}");
    assert!((prices[2] - 4.0 / 3.0).abs() < 1e-12, "{prices:?}");
    assert!(ggn.kept().is_some());
}
