//! PSGD against numbers that were computed independently, through the public API.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor};
use osculate_curvature::{HessianConfig, ParamVec, StepRule};
use osculate_optim::{
    ClosureOptimizer, Driver, Hutchinson, PsgdDenseConfig, PsgdFit, PsgdGeometry, PsgdKronConfig,
    PsgdLraConfig, RefreshSchedule, SpectralNorm, StateRecord, StatefulOptimizer,
};
use osculate_tests::matrix::trajectories;
use osculate_tests::on_every_backend;
use osculate_tests::single::{GRADIENTS, START, Single, linear, record_with};

fn expected(name: &str) -> Vec<Vec<f64>> {
    let all = trajectories(include_str!("../../data/psgd.json"));
    all.get(name).expect("a known entry").clone()
}

fn assert_near(got: &[f64], want: &[f64], dtype: DType, what: &str) {
    let tolerance = if dtype == DType::F64 { 1e-5 } else { 1e-4 };
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        assert!(
            (got - want).abs() <= tolerance * want.abs().max(1.0),
            "{what}: {got} instead of {want}"
        );
    }
}

const PROBES: [[f64; 6]; 3] = [
    [0.7, -1.1, 0.3, -0.4, 0.9, 1.3],
    [-0.2, 0.5, 1.0, 1.2, -0.6, 0.1],
    [0.8, 0.1, -0.9, 0.3, -1.4, 0.6],
];

/// No clipping, no damping, no momentum, an exact norm, and identity for the first factors.
fn plain() -> PsgdKronConfig {
    PsgdKronConfig::new()
        .with_momentum(0.0)
        .with_lr_preconditioner(0.5)
        .with_damping(0.0)
        .with_init_scale(Some(1.0))
        .with_max_skew(f64::MAX)
        .with_clip_rms(None)
        .with_clip_element(None)
        .with_norm(SpectralNorm::Exact)
        .with_update_first(false)
}

/// Makes three updates without moving, then one step of unit length on the fourth gradient, before
/// its own update.
fn preconditioned(
    optimizer: &mut Driver,
    gradients: &[[f64; 6]; 3],
    objective: impl Fn(&Single<2>, &[f64; 6]) -> Tensor<1>,
    at: (&Device, DType),
) -> Vec<f64> {
    let mut model = Single::<2>::new([2, 3], &START, at);
    for gradient in gradients {
        let loss = |model: &Single<2>| objective(model, gradient);
        model = optimizer.step(0.0, model, &loss).expect("a step").model;
    }
    let before = model.values();
    let loss = |model: &Single<2>| objective(model, &GRADIENTS[3]);
    let after = optimizer.clone().step(1.0, model, &loss).expect("a step");
    let after = after.model.values();
    before.iter().zip(after).map(|(b, a)| b - a).collect()
}

fn geometries() -> [(&'static str, PsgdGeometry); 7] {
    [
        ("eq", PsgdGeometry::Eq),
        ("qep", PsgdGeometry::Qep),
        ("qeq", PsgdGeometry::Qeq),
        ("q05eq15", PsgdGeometry::Q05Eq15),
        ("quad", PsgdGeometry::Quad),
        ("quad4p", PsgdGeometry::Quad4p),
        ("pro4p", PsgdGeometry::Pro4p),
    ]
}

/// Products by differences of a fixed step, with these probes.
fn products(probes: fn(u64) -> Vec<f64>) -> Hutchinson {
    Hutchinson::gaussian()
        .with_hessian(HessianConfig {
            step: StepRule::Fixed { length: 1.0 },
            ..HessianConfig::default()
        })
        .with_probes(Arc::new(move |layout: &_, step: u64| {
            ParamVec::from_values(layout, &probes(step))
        }))
}

/// The factor that is stored in full.
fn stored_factor(optimizer: &impl StatefulOptimizer, index: usize) -> Vec<f64> {
    let record = optimizer.to_record();
    state_of(&record, &format!("q{index}"))
}

fn state_of(record: &StateRecord, field: &str) -> Vec<f64> {
    let data = record.tensor(&format!("weight#0.{field}"));
    data.expect("a state tensor").iter::<f64>().collect()
}

mod whitening {
    use super::*;

    on_every_backend!(|device: &Device, dtype: DType| {
        for (name, geometry) in geometries() {
            let probes = Arc::new(|_: &_, step: u64, _| PROBES[step as usize % 3].to_vec());
            let optimizer = plain()
                .with_geometry(geometry)
                .rule()
                .expect("valid")
                .with_probes(probes);
            let mut optimizer = Driver::of_blocks(optimizer);
            let first = [GRADIENTS[0], GRADIENTS[1], GRADIENTS[2]];
            let direction = preconditioned(&mut optimizer, &first, linear, (device, dtype));
            let want = expected(&format!("whiten_{name}"));
            assert_near(&direction, &want[2], dtype, name);
            let in_full = !matches!(
                geometry,
                PsgdGeometry::Eq | PsgdGeometry::Quad | PsgdGeometry::Quad4p
            );
            if in_full {
                assert_near(&stored_factor(&optimizer, 0), &want[0], dtype, name);
                assert_near(&stored_factor(&optimizer, 1), &want[1], dtype, name);
            }
        }
    });
}

mod newton {
    use super::*;

    /// A quadratic with the Hessian `A1 ⊗ A2` whose gradient at the start is the given one.
    pub(super) fn quadratic(model: &Single<2>, gradient: &[f64; 6]) -> Tensor<1> {
        let w = model.weight.val();
        let at = (&w.device(), w.dtype());
        let a1 = Tensor::<2>::from_data([[2.0, 0.5], [0.5, 1.0]], at);
        let a2 = Tensor::<2>::from_data([[1.0, 0.2, 0.0], [0.2, 2.0, 0.3], [0.0, 0.3, 0.5]], at);
        let start = Tensor::<1>::from_data(START, at).reshape([2, 3]);
        let away = w - start;
        let bent = away.clone() * a1.matmul(away.clone()).matmul(a2);
        let tilt = Tensor::<1>::from_data(*gradient, at).reshape([2, 3]);
        bent.sum().mul_scalar(0.5) + (away * tilt).sum()
    }

    on_every_backend!(|device: &Device, dtype: DType| {
        for (name, geometry) in geometries() {
            let mut optimizer = plain()
                .with_fit(PsgdFit::Newton)
                .with_geometry(geometry)
                .init()
                .expect("valid")
                .with_curvature(products(|step| PROBES[step as usize % 3].to_vec()));
            let same = [GRADIENTS[3]; 3];
            let direction = preconditioned(&mut optimizer, &same, quadratic, (device, dtype));
            assert_near(
                &direction,
                &expected(&format!("newton_{name}"))[0],
                dtype,
                name,
            );
        }
    });
}

/// Steps on the four gradients.
fn follow(name: &str, config: &PsgdKronConfig, at: (&Device, DType)) {
    let mut optimizer = config.init().expect("valid");
    let mut model = Single::<2>::new([2, 3], &START, at);
    let mut module = config.module_optimizer(&model).expect("valid");
    let mut by_burn = model.clone();
    for (gradient, want) in GRADIENTS.iter().zip(expected(name)) {
        let loss = |model: &Single<2>| linear(model, gradient);
        let gradients = linear(&by_burn, gradient).backward();
        let gradients = burn::optim::GradientsParams::from_grads(gradients, &by_burn);
        by_burn = module.step(0.1, by_burn, gradients);
        model = optimizer.step(0.1, model, &loss).expect("a step").model;
        assert_near(&model.values(), &want, at.1, name);
        assert_near(&by_burn.values(), &want, at.1, name);
    }
}

mod kron_whiten {
    use super::*;

    fn config() -> PsgdKronConfig {
        PsgdKronConfig::new()
            .with_geometry(PsgdGeometry::Q05Eq15)
            .with_lr_preconditioner(0.1)
            .with_damping(0.0)
            .with_norm(SpectralNorm::Exact)
    }

    on_every_backend!(|device: &Device, dtype: DType| {
        follow(
            "kron_whiten",
            &config().with_init_scale(Some(1.0)),
            (device, dtype),
        );
        let last = config()
            .with_init_scale(Some(2.0))
            .with_update_first(false)
            .with_fit(PsgdFit::WhiteningMomentum);
        follow("kron_whiten_momentum_last", &last, (device, dtype));
    });
}

mod first_scale {
    use super::*;

    on_every_backend!(|device: &Device, dtype: DType| {
        // A vector has one diagonal factor, which is `s` before its first update.
        let mut optimizer = plain()
            .with_init_scale(None)
            .with_max_skew(0.0)
            .with_schedule(RefreshSchedule::Every { period: 5 })
            .with_lr_preconditioner(1e-9)
            .init()
            .expect("valid");
        let model = Single::<1>::new([6], &START, (device, dtype));
        let loss = |model: &Single<1>| linear(model, &GRADIENTS[0]);
        optimizer.step(0.1, model, &loss).expect("a step");
        let want = vec![expected("first_scale")[0][0]; 6];
        assert_near(&stored_factor(&optimizer, 0), &want, dtype, "scale");
    });
}

mod low_rank {
    use super::*;

    on_every_backend!(|device: &Device, dtype: DType| {
        let u = vec![
            0.1, -0.05, 0.02, 0.08, -0.06, 0.03, 0.04, 0.01, -0.02, -0.07, 0.05, 0.06,
        ];
        let v = vec![
            0.03, 0.07, -0.08, 0.02, 0.01, -0.04, 0.06, 0.05, 0.02, -0.01, -0.03, 0.09,
        ];
        let tensors = [("d", vec![1.0; 6]), ("u", u), ("v", v)];
        let rest = [("lipschitz", vec![0.0; 3]), ("count", vec![0.0])];
        let tensors = tensors
            .into_iter()
            .chain(rest)
            .map(|(field, values)| (format!("weight#0.{field}"), values))
            .collect();
        let counts = ["next_slot", "steps", "weight#slot", "weight#steps"];
        let counts = counts.map(|name| (name.to_string(), u64::from(name == "next_slot")));
        let probes = Arc::new(|_: &_, step: u64, _| PROBES[step as usize % 3].to_vec());
        let optimizer = PsgdLraConfig::new()
            .with_rank(2)
            .with_momentum(0.0)
            .with_lr_preconditioner(0.5)
            .with_damping(0.0)
            // Too small to change the diagonal of the record.
            .with_init_scale(Some(f64::MIN_POSITIVE))
            .with_clip_rms(None)
            .with_clip_element(None)
            .with_update_first(false)
            .rule()
            .expect("valid")
            .with_probes(probes);
        let mut optimizer = Driver::of_blocks(optimizer);
        let record = record_with("psgd-lra", tensors, counts.to_vec(), dtype);
        optimizer.load_record(record).expect("a record");
        let first = [GRADIENTS[0], GRADIENTS[1], GRADIENTS[2]];
        let direction = preconditioned(&mut optimizer, &first, linear, (device, dtype));
        let want = expected("lra");
        let record = optimizer.to_record();
        assert_near(&state_of(&record, "d"), &want[0], dtype, "d");
        assert_near(&state_of(&record, "u"), &want[1], dtype, "u");
        assert_near(&state_of(&record, "v"), &want[2], dtype, "v");
        assert_near(&direction, &want[3], dtype, "low rank");
    });
}

mod dense {
    use super::*;

    /// Hessian of P3 without its quartic part.
    const HESSIAN: [[f64; 3]; 3] = [[3.0, 1.0, 0.5], [1.0, 2.0, 0.3], [0.5, 0.3, 1.0]];
    const DIRECTIONS: [[f64; 3]; 3] = [[0.7, -1.1, 0.3], [-0.4, 0.9, 1.3], [1.2, 0.5, -0.6]];
    /// The gradient that is preconditioned, at the weights where all steps are made.
    const GRADIENT: [f64; 3] = [1.0, -1.0, 0.5];

    fn quadratic(model: &Single<1>) -> Tensor<1> {
        let w = model.weight.val();
        let at = (&w.device(), w.dtype());
        let column = w.clone().reshape([3, 1]);
        let bent = Tensor::<2>::from_data(HESSIAN, at).matmul(column.clone()) * column;
        bent.sum().mul_scalar(0.5) + (w * Tensor::<1>::from_data(GRADIENT, at)).sum()
    }

    on_every_backend!(|device: &Device, dtype: DType| {
        for (name, geometry) in geometries() {
            let mut optimizer = PsgdDenseConfig::new()
                .with_geometry(geometry)
                .with_momentum(0.0)
                .with_lr_preconditioner(0.5)
                .with_damping(0.0)
                .with_init_scale(Some(1.0))
                .with_clip_rms(None)
                .with_clip_element(None)
                .with_norm(SpectralNorm::Exact)
                .with_update_first(false)
                .init()
                .expect("valid")
                .with_curvature(products(|step| DIRECTIONS[step as usize % 3].to_vec()));
            let mut model = Single::<1>::new([3], &[0.0; 3], (device, dtype));
            for _ in 0..3 {
                model = optimizer
                    .step(0.0, model, &quadratic)
                    .expect("a step")
                    .model;
            }
            model = optimizer
                .step(1.0, model, &quadratic)
                .expect("a step")
                .model;
            let direction: Vec<f64> = model.values().iter().map(|x| -x).collect();
            let want = expected(&format!("dense_{name}"));
            assert_near(&direction, &want[0], dtype, name);
        }
    });
}
