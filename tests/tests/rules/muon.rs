//! Muon against numbers that were computed independently, and its limits.

use burn::tensor::{DType, Device, Tensor};
use osculate_optim::{ClosureOptimizer, MuonConfig, MuonOrthogonalizer, MuonScale};
use osculate_tests::matrix::trajectories;
use osculate_tests::on_every_backend;
use osculate_tests::single::{GRADIENTS, START, Single, linear};

fn expected(name: &str) -> Vec<Vec<f64>> {
    let all = trajectories(include_str!("../../data/muon.json"));
    all.get(name).expect("a known entry").clone()
}

fn assert_near(got: &[f64], want: &[f64], dtype: DType) {
    let tolerance = if dtype == DType::F64 { 1e-5 } else { 1e-4 };
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= tolerance, "{got} instead of {want}");
    }
}

mod trajectory {
    use super::*;

    on_every_backend!(|device: &Device, dtype: DType| {
        let config = MuonConfig::new()
            .with_orthogonalizer(MuonOrthogonalizer::NewtonSchulz)
            .with_weight_decay(0.1);
        let mut optimizer = config.init().expect("valid");
        let mut model = Single::<2>::new([2, 3], &START, (device, dtype));
        for (gradient, want) in GRADIENTS.iter().zip(expected("muon")) {
            let loss = |model: &Single<2>| linear(model, gradient);
            model = optimizer.step(0.02, model, &loss).expect("a step").model;
            assert_near(&model.values(), &want, dtype);
        }
    });
}

mod newton_schulz {
    use super::*;

    on_every_backend!(|device: &Device, dtype: DType| {
        let config = MuonConfig::new()
            .with_orthogonalizer(MuonOrthogonalizer::NewtonSchulz)
            .with_momentum(0.0);
        let mut optimizer = config.init().expect("valid");
        let model = Single::<2>::new([2, 3], &[0.0; 6], (device, dtype));
        let loss = |model: &Single<2>| linear(model, &GRADIENTS[0]);
        let model = optimizer.step(1.0, model, &loss).expect("a step").model;
        let direction: Vec<f64> = model.values().iter().map(|x| -x).collect();
        assert_near(&direction, &expected("quintic_newton_schulz")[0], dtype);
    });
}

/// The update of a parameter of any rank is an orthogonal matrix, scaled.
fn moves_by<const D: usize>(shape: [usize; D], scale: MuonScale, want: f64, dtype: DType) {
    let device = Device::flex().autodiff();
    let n: usize = shape.iter().product();
    let config = MuonConfig::new().with_iterations(20).with_scale(scale);
    let mut optimizer = config.init().expect("valid");
    let model = Single::<D>::new(shape, &vec![0.0; n], (&device, dtype));
    let numbers: Vec<f64> = (0..n)
        .map(|i| ((i * i) as f64 * 0.77 + 0.3).sin())
        .collect();
    let loss = |model: &Single<D>| {
        let w = model.weight.val();
        let data = burn::tensor::TensorData::new(numbers.clone(), w.shape());
        let gradient = Tensor::<D>::from_data(data, (&w.device(), w.dtype()));
        (w * gradient).sum()
    };
    let model = optimizer.step(1.0, model, &loss).expect("a step").model;
    let length = model.values().iter().map(|x| x * x).sum::<f64>().sqrt();
    assert!((length - want).abs() < 1e-3 * want, "{shape:?}: {length}");
}

#[test]
fn every_rank_moves_by_an_orthogonal_matrix() {
    // The Frobenius norm of an orthogonal matrix is the root of its shorter side.
    moves_by([1], MuonScale::Shape, 1.0, DType::F64);
    moves_by([7], MuonScale::Shape, 7f64.sqrt(), DType::F64);
    moves_by([6, 3], MuonScale::Shape, 6f64.sqrt(), DType::F64);
    moves_by([3, 6], MuonScale::Shape, 3f64.sqrt(), DType::F64);
    moves_by([4, 2, 3], MuonScale::Shape, 2.0, DType::F64);
    moves_by(
        [2, 3, 2, 2],
        MuonScale::MatchAdam,
        0.2 * 24f64.sqrt(),
        DType::F64,
    );
    moves_by(
        [3, 1, 2, 1, 2, 1, 1, 1],
        MuonScale::Shape,
        3f64.sqrt(),
        DType::F32,
    );
}
