//! What no optimizer can step: frozen models, devices without autodiff, rates that are none, the state of
//! another; and parameters without elements, which are no trouble. The same typed errors everywhere.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_curvature::{
    Accumulated, Criterion, CurvatureError, Drawing, Objective, SupervisedBatch,
};
use osculate_optim::registry::{OptimizerKind, OptimizerSpec};
use osculate_optim::{
    ClosureOptimizer, Driver, RecordError, StateRecord, StatefulOptimizer, StepErrorCause,
};
use osculate_tests::model::wave;

const ROWS: usize = 4;
const COLUMNS: usize = 3;

#[derive(Module, Debug)]
struct Net {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
    nothing: Param<Tensor<1>>,
}

fn param<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    let n = shape.iter().product();
    let data = TensorData::new(wave(n, n as f64), shape);
    let tensor = Tensor::<D>::from_data(data, (device, DType::F32));
    let tensor = match tensor.is_autodiff() {
        true => tensor.require_grad(),
        false => tensor,
    };
    Param::initialized(ParamId::new(), tensor)
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            weight: param([ROWS, COLUMNS], device),
            bias: param([COLUMNS], device),
            nothing: param([0], device),
        }
    }

    fn frozen(self) -> Self {
        self.no_grad()
    }

    fn values(&self) -> Vec<f64> {
        let weight = self
            .weight
            .val()
            .into_data()
            .iter::<f64>()
            .collect::<Vec<_>>();
        weight
            .into_iter()
            .chain(self.bias.val().into_data().iter::<f64>())
            .collect()
    }
}

fn device() -> Device {
    Device::flex().autodiff()
}

/// A batch, with others for who draws them.
fn batch(device: &Device) -> Drawing<'static, Net> {
    let (own, device) = (Box::new(one_batch(device)), device.clone());
    Drawing::new(own, move |_| Ok(Box::new(one_batch(&device))))
}

fn one_batch(device: &Device) -> impl Objective<Net> + 'static {
    let at = (device, DType::F32);
    let inputs = TensorData::new(wave(6 * ROWS, 0.4), [6, ROWS]);
    let targets = Tensor::<2>::full([6, COLUMNS], 0.5, at);
    SupervisedBatch::new(
        Tensor::<2>::from_data(inputs, at),
        |model: &Net, x: &Tensor<2>| {
            let bias = model.bias.val().unsqueeze::<2>();
            let nothing = model.nothing.val().sum().reshape([1, 1]);
            x.clone().matmul(model.weight.val()) + bias + nothing
        },
        Criterion::mse(targets),
    )
}

fn all() -> impl Iterator<Item = (OptimizerKind, Driver)> {
    let kinds = OptimizerKind::all().into_iter();
    // The orthogonal gradient refuses a squared error.
    let kinds = kinds.filter(|kind| *kind != OptimizerKind::PERP_GRAD);
    kinds.map(|kind| (kind, OptimizerSpec::new(kind).build(1).unwrap()))
}

/// The step fails, and gives the model back as it was.
fn fails(
    kind: OptimizerKind,
    optimizer: &mut Driver,
    lr: f64,
    model: Net,
    objective: &dyn Objective<Net>,
) -> StepErrorCause {
    let (values, before) = (model.values(), optimizer.to_record());
    let error = optimizer
        .step(lr, model, objective)
        .map(|_| ())
        .expect_err(kind.name());
    assert_eq!(error.model.values(), values, "{kind}");
    assert_eq!(optimizer.to_record(), before, "{kind}");
    assert!(!error.to_string().is_empty());
    error.cause
}

#[test]
fn frozen_models_and_devices_without_autodiff_have_no_gradient() {
    let plain = Device::flex();
    for (kind, mut optimizer) in all() {
        let frozen = Net::new(&device()).frozen();
        let cause = fails(kind, &mut optimizer, 0.1, frozen, &batch(&device().inner()));
        assert!(
            matches!(cause, StepErrorCause::Curvature(CurvatureError::NoGradient)),
            "{kind}: {cause}"
        );
        let cause = fails(kind, &mut optimizer, 0.1, Net::new(&plain), &batch(&plain));
        assert!(
            matches!(cause, StepErrorCause::Curvature(CurvatureError::NoGradient)),
            "{kind}: {cause}"
        );
    }
}

#[test]
fn rates_that_are_none_are_refused() {
    for (kind, mut optimizer) in all() {
        for lr in [f64::NAN, f64::INFINITY, -1e-3] {
            let model = Net::new(&device());
            let cause = fails(kind, &mut optimizer, lr, model, &batch(&device().inner()));
            assert!(
                matches!(cause, StepErrorCause::LearningRate { .. }),
                "{kind}: {cause}"
            );
        }
    }
}

#[test]
fn a_rate_of_zero_and_parameters_without_elements_are_no_trouble() {
    for (kind, mut optimizer) in all() {
        let mut model = Net::new(&device());
        let start = model.values();
        model = optimizer
            .step(0.0, model, &batch(&device().inner()))
            .unwrap_or_else(|error| panic!("{}: {error}", kind.name()))
            .model;
        let stood = start.iter().zip(model.values());
        assert!(
            stood.into_iter().all(|(a, b)| (a - b).abs() < 1e-6),
            "{kind}"
        );
        for _ in 0..3 {
            let made = optimizer.step(1e-3, model, &batch(&device().inner()));
            model = made
                .unwrap_or_else(|error| panic!("{}: {error}", kind.name()))
                .model;
        }
        assert_eq!(model.nothing.val().dims(), [0]);
        assert!(model.values().iter().all(|x| x.is_finite()), "{kind}");
        // Prodigy's first steps are shorter than a rounding of the weights.
        if kind != OptimizerKind::PRODIGY {
            assert_ne!(model.values(), start, "{kind}");
        }
        let bytes = optimizer.to_record().to_bytes().unwrap();
        let mut resumed = OptimizerSpec::new(kind).build(1).unwrap();
        resumed
            .load_record(StateRecord::from_bytes(bytes).unwrap())
            .unwrap();
        let on = optimizer.step(1e-3, model.clone(), &batch(&device().inner()));
        let again = resumed.step(1e-3, model, &batch(&device().inner()));
        assert_eq!(on.unwrap().model.values(), again.unwrap().model.values());
    }
}

#[test]
fn nothing_to_accumulate_is_an_error() {
    for (kind, mut optimizer) in all() {
        let empty = [
            Accumulated::new(Vec::new()),
            Accumulated::new(vec![(
                Box::new(batch(&device().inner())) as Box<dyn Objective<Net>>,
                0,
            )]),
        ];
        for objective in empty {
            let cause = fails(kind, &mut optimizer, 0.1, Net::new(&device()), &objective);
            assert!(
                matches!(
                    cause,
                    StepErrorCause::Curvature(CurvatureError::Objective(_))
                ),
                "{kind}: {cause}"
            );
        }
    }
}

#[test]
fn the_state_of_another_optimizer_is_refused() {
    let records: Vec<_> = all()
        .map(|(kind, mut optimizer)| {
            let model = Net::new(&device());
            optimizer
                .step(1e-3, model, &batch(&device().inner()))
                .unwrap_or_else(|error| panic!("{}: {error}", kind.name()));
            (kind, optimizer.name().to_string(), optimizer.to_record())
        })
        .collect();
    for (kind, mut optimizer) in all() {
        let name = optimizer.name().to_string();
        for (other, other_name, record) in &records {
            if *other_name == name {
                continue;
            }
            let before = optimizer.to_record();
            let error = optimizer.load_record(record.clone()).unwrap_err();
            assert!(
                matches!(&error, RecordError::WrongOptimizer { expected, found }
                    if *expected == name && found == other_name),
                "{kind} of {other}: {error}"
            );
            assert_eq!(optimizer.to_record(), before);
        }
    }
}
