//! The shared suites over the optimizers of this crate, and what each of them must do by itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::tanh;
use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_optim::registry::{OptimizerKind, OptimizerSpec};
use osculate_optim::{
    ClosureOptimizer, Driver, Hutchinson, MuonConfig, ParameterGroup, PerParameter, Sam, Select, SoapConfig,
    SophiaConfig, StateRecord, StatefulOptimizer, StepPolicy,
};
use osculate_outside::{
    AfterRise, ClippedNewtonConfig, LayerNorms, Normalised, PastExtragradient, SeveralProbes,
    TailMean, register,
};
use osculate_tests::model::{Batch, Fault, Ranked, wave};
use osculate_tests::pack::entries_of;
use osculate_tests::subject::{Subject, adamw, sgd};
use osculate_tests::{on_backend, suite};

fn subject(driver: Driver, policy: StepPolicy) -> Subject {
    Box::new(driver.with_policy(policy).expect("valid"))
}

fn newton() -> Driver {
    ClippedNewtonConfig::new().init().expect("valid")
}

fn layers() -> Driver {
    Driver::of_blocks(LayerNorms { beta: 0.9 })
}

fn normalised() -> Driver {
    Driver::of_vectors(Normalised)
}

fn extragradient() -> Driver {
    Driver::from(adamw()).with_gradient(PastExtragradient { distance: 0.02 })
}

fn probes() -> Driver {
    let sophia = SophiaConfig::h().with_period(3).init().expect("valid");
    sophia.with_curvature(SeveralProbes { probes: 2 })
}

fn after_rise() -> Driver {
    let muon = MuonConfig::new().init().expect("valid");
    muon.with_step_size(AfterRise { strength: 2.0 })
}

fn tail_mean() -> Driver {
    Driver::from(sgd()).with_averaging(TailMean { start: 2 })
}

/// All roles at once.
fn all() -> Driver {
    newton()
        .with_gradient(PastExtragradient { distance: 0.02 })
        .with_step_size(AfterRise { strength: 2.0 })
        .with_averaging(TailMean { start: 2 })
}

/// Theirs over ours, and another update for vectors.
fn mixed() -> Driver {
    let sam = Sam::new(0.05).over(newton()).expect("valid");
    sam.for_matrices(layers())
}

macro_rules! shared {
    ($($name:ident)*) => {
        $(mod $name {
            use super::*;

            fn make(policy: StepPolicy) -> Subject {
                subject(super::$name(), policy)
            }

            mod resumes {
                use super::*;
                on_backend!(flex_f32, Flex, F32, |device: &Device, dtype: DType| {
                    suite::resumes(make, device, dtype)
                });
                on_backend!(flex_f64, Flex, F64, |device: &Device, dtype: DType| {
                    suite::resumes(make, device, dtype)
                });
            }

            mod robust {
                use super::*;
                on_backend!(flex_f32, Flex, F32, |device: &Device, dtype: DType| {
                    suite::survives(make, false, device, dtype);
                    suite::survives(make, true, device, dtype);
                    suite::refuses(make, false, device, dtype);
                    suite::starts_over(make, false, device, dtype);
                });
            }
        })*
    };
}

shared!(newton layers normalised extragradient probes after_rise tail_mean all mixed);

fn device() -> Device {
    Device::flex().autodiff()
}

/// The weights after some steps on the suites' model.
fn trained(driver: &mut Driver, steps: usize) -> Ranked {
    let mut model = Ranked::new(&device(), DType::F32);
    for step in 0..steps {
        let batch = Batch::new(&model, step, true, Fault::None);
        model = driver.step(0.01, model, &batch).expect("a step").model;
    }
    model
}

fn same(mut a: Driver, mut b: Driver, told: &str) {
    let bits = |model: Ranked| -> Vec<u64> { model.values().into_iter().map(f64::to_bits).collect() };
    assert_eq!(bits(trained(&mut a, 5)), bits(trained(&mut b, 5)), "{told}");
}

/// What does nothing changes nothing, bit for bit.
#[test]
fn identities() {
    let soap = || SoapConfig::new().init().expect("valid");
    let bases: [(&str, Driver); 5] = [
        ("adamw", Driver::from(adamw())),
        ("soap", soap()),
        ("newton", newton()),
        ("layers", layers()),
        ("normalised", normalised()),
    ];
    for (name, base) in bases {
        let told = |role: &str| format!("{role} over {name}");
        let still = PastExtragradient { distance: 0.0 };
        same(base.clone().with_gradient(still), base.clone(), &told("no distance"));
        let given = AfterRise { strength: 0.0 };
        same(base.clone().with_step_size(given), base.clone(), &told("a factor of 1"));
        let mean = TailMean { start: 0 };
        same(base.clone().with_averaging(mean), base.clone(), &told("an average"));
        let group = |name, select| ParameterGroup::new(name, select).with_lr_factor(1.0);
        let grouped = base
            .clone()
            .with_groups([
                group("low", Select::rank(..3)),
                group("high", Select::rank(3..)),
            ])
            .expect("valid");
        same(grouped, base, &told("two groups alike"));
    }
}

/// What does something changes something.
#[test]
fn no_role_is_left_out() {
    let values = |mut driver: Driver| trained(&mut driver, 5).values();
    let plain = values(Driver::from(adamw()));
    assert_ne!(values(extragradient()), plain);
    let slowed = Driver::from(adamw()).with_step_size(AfterRise { strength: 1e3 });
    assert_ne!(values(slowed), plain);
    let muon = MuonConfig::new().init().expect("valid");
    assert_ne!(values(after_rise()), values(muon));
    let more = newton().with_curvature(SeveralProbes { probes: 4 });
    assert_ne!(values(more), values(newton()));
    let theirs = newton().with_curvature(Hutchinson::rademacher());
    assert_ne!(values(theirs), values(newton()));
    assert_eq!(all().name(), "tail-mean(after-rise(past-extragradient(clipped-newton)))");
    assert_eq!(mixed().name(), "sam(hybrid)");
}

/// A linear layer, the loss of which is a parabola in every element of weight and bias.
fn layer(bias: bool) -> Linear {
    let config = LinearConfig::new(3, 2).with_bias(bias);
    let device = device();
    let mut layer: Linear = config.init(&device);
    let tensor = |n: usize, phase: f64, shape: Vec<usize>| {
        let data = TensorData::new(wave(n, phase), shape);
        Tensor::from_data(data, (&device, DType::F64))
    };
    let weight: Tensor<2> = tensor(6, 0.2, vec![3, 2]);
    layer.weight = layer.weight.map(|_| weight.require_grad());
    layer.bias = layer.bias.map(|bias| {
        let values = TensorData::new(wave(2, 0.3), [2]);
        let values = Tensor::<1>::from_data(values, (&device, DType::F64)).require_grad();
        bias.map(|_| values)
    });
    layer
}

fn parabola(layer: &Linear) -> Tensor<1> {
    let weight = layer.weight.val().square().sum().mul_scalar(1.5);
    match &layer.bias {
        Some(bias) => weight + bias.val().square().sum().mul_scalar(0.25),
        None => weight,
    }
}

fn numbers(layer: &Linear) -> [Vec<f64>; 2] {
    let weight = layer.weight.val().into_data().iter::<f64>().collect();
    let bias = layer.bias.as_ref().map(|bias| bias.val().into_data());
    [
        weight,
        bias.map(|bias| bias.iter::<f64>().collect()).unwrap_or_default(),
    ]
}

/// `H` is diagonal, with 3 for the weight and 0.5 for the bias: probes of signs find it exactly.
#[test]
fn newton_divides_by_its_own_curvature() {
    let config = ClippedNewtonConfig::new().with_weight_decay(0.1);
    let mut optimizer = config.init().expect("valid");
    let start = layer(true);
    let step = optimizer.step(0.5, start.clone(), &parabola).expect("a step");
    for (before, after) in numbers(&start).iter().zip(numbers(&step.model)) {
        for (before, after) in before.iter().zip(after) {
            // m / h = 0.1 θ, below the clip, and the decay before it.
            let want = before * (1.0 - 0.5 * 0.1) - 0.5 * 0.1 * before;
            assert!((after - want).abs() < 1e-6, "{after} instead of {want}");
        }
    }
    assert_eq!(step.report.curvature_age(), Some(0));
    let error = PerParameter::new(config.rule().expect("valid"));
    let error = error.expect_err("it wants curvature").to_string();
    assert!(error.contains("curvature"), "{error}");
}

/// One norm for weight and bias, whose gradients are 3 θ and 0.5 θ.
#[test]
fn a_block_spans_weight_and_bias() {
    let start = layer(true);
    let [weight, bias] = numbers(&start);
    let gradient: Vec<f64> = weight.iter().map(|w| 3.0 * w).collect();
    let whole = gradient.iter().copied().chain(bias.iter().map(|b| 0.5 * b));
    let norm = whole.map(|g| g * g).sum::<f64>().sqrt();
    let mut optimizer = layers();
    let step = optimizer.step(0.1, start, &parabola).expect("a step");
    let [new_weight, new_bias] = numbers(&step.model);
    let close = |new: &[f64], old: &[f64], slope: f64| {
        for (new, old) in new.iter().zip(old) {
            let want = old - 0.1 * slope * old / norm;
            assert!((new - want).abs() < 1e-12, "{new} instead of {want}");
        }
    };
    close(&new_weight, &weight, 3.0);
    close(&new_bias, &bias, 0.5);
    let record = optimizer.to_record();
    let names: Vec<&str> = record.tensor_names().collect();
    assert_eq!(names, ["weight+bias#0.momentum"]);

    // Without a bias the weight is a block of its own.
    let start = layer(false);
    let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    let step = layers().step(0.1, start, &parabola).expect("a step");
    let [new_weight, _] = numbers(&step.model);
    for (new, old) in new_weight.iter().zip(&weight) {
        let want = old - 0.1 * 3.0 * old / norm;
        assert!((new - want).abs() < 1e-12, "{new} instead of {want}");
    }
}

/// Two layers with biases and one without.
#[derive(Module, Debug)]
struct Network {
    first: Linear,
    second: Linear,
    last: Linear,
}

impl Network {
    fn new(device: &Device) -> Self {
        device.seed(3);
        Self {
            first: LinearConfig::new(3, 4).init(device),
            second: LinearConfig::new(4, 4).init(device),
            last: LinearConfig::new(4, 2).with_bias(false).init(device),
        }
    }

    /// The same weights under new identities.
    fn rebuilt(&self, device: &Device) -> Self {
        let again = |layer: &Linear| {
            let [inputs, outputs] = layer.weight.dims();
            let config = LinearConfig::new(inputs, outputs).with_bias(layer.bias.is_some());
            let mut new: Linear = config.init(device);
            let weight = layer.weight.val().detach().require_grad();
            new.weight = new.weight.map(|_| weight);
            new.bias = new.bias.zip(layer.bias.as_ref()).map(|(new, old)| {
                let old = old.val().detach().require_grad();
                new.map(|_| old)
            });
            new
        };
        Self {
            first: again(&self.first),
            second: again(&self.second),
            last: again(&self.last),
        }
    }

    fn values(&self) -> Vec<f64> {
        let layers = [&self.first, &self.second, &self.last];
        layers.into_iter().flat_map(numbers).flatten().collect()
    }
}

fn network_loss(model: &Network) -> Tensor<1> {
    let device = model.first.weight.device();
    let x = TensorData::new(wave(15, 0.4), [5, 3]);
    let x = Tensor::<2>::from_data(x, (&device, DType::F32));
    let hidden = tanh(model.second.forward(tanh(model.first.forward(x))));
    model.last.forward(hidden).square().mean()
}

fn advance(optimizer: &mut Driver, mut model: Network, steps: usize) -> Network {
    for _ in 0..steps {
        let step = optimizer.step(0.01, model, &network_loss).expect("a step");
        model = step.model;
    }
    model
}

fn reloaded(optimizer: &Driver, pristine: Driver) -> Driver {
    let bytes = optimizer.to_record().to_bytes().expect("a record");
    let mut second = pristine;
    let record = StateRecord::from_bytes(bytes).expect("a record");
    second.load_record(record).expect("its own record");
    second
}

/// Blocks over several parameters resume at every step, alone and beside other updates.
#[test]
fn joined_blocks_resume() {
    let device = device();
    let vectors = Select::paths(["first"]);
    let beside = layers().for_selected(vectors, newton());
    for pristine in [layers(), beside, Sam::new(0.05).over(layers()).expect("valid")] {
        let start = Network::new(&device);
        let mut whole = pristine.clone();
        let want = advance(&mut whole, start.clone(), 6).values();
        for cut in 0..6 {
            let mut first = pristine.clone();
            let half = advance(&mut first, start.clone(), cut);
            let mut second = reloaded(&first, pristine.clone());
            assert_eq!(second.to_record(), first.to_record(), "cut at {cut}");
            let got = advance(&mut second, half.rebuilt(&device), 6 - cut);
            assert_eq!(got.values(), want, "{}, cut at {cut}", pristine.name());
            assert_eq!(second.to_record(), whole.to_record(), "cut at {cut}");
        }
    }
}

/// A member that changes takes the state of its whole block with it.
#[test]
fn joined_blocks_of_changed_layers_are_fresh() {
    let device = device();
    let wider = |model: Network| Network {
        second: LinearConfig::new(4, 5).init(&device),
        last: LinearConfig::new(5, 2).with_bias(false).init(&device),
        ..model
    };
    let without_bias = |mut model: Network| {
        model.second.bias = None;
        model
    };
    let other_bias = |mut model: Network| {
        model.second.bias = LinearConfig::new(4, 4).init(&device).bias;
        model
    };
    type Change<'a> = &'a dyn Fn(Network) -> Network;
    let changes: [(Change<'_>, &[&str]); 3] = [
        (&wider, &["last.weight", "second.bias", "second.weight"]),
        (&without_bias, &[]),
        (&other_bias, &["second.bias"]),
    ];
    for (change, fresh) in changes {
        let mut optimizer = layers();
        let half = advance(&mut optimizer, Network::new(&device), 3);
        let changed = change(half);
        let before = changed.second.weight.val();
        let step = optimizer.step(0.01, changed, &network_loss).expect("a step");
        let mut paths: Vec<&str> = step.report.fresh().iter().map(|fresh| &*fresh.path).collect();
        paths.sort_unstable();
        assert_eq!(paths, fresh);

        // A fresh block moves by the rate times its own gradient's direction.
        let moved = (step.model.second.weight.val() - before).square().sum();
        let bias = step.model.second.bias.is_some();
        let moved: f64 = moved.into_scalar::<f32>().into();
        assert!(moved.sqrt() <= 0.01 * 1.0001, "{moved}");
        let record = optimizer.to_record();
        assert_eq!(entries_of(&record, "second.bias").is_empty(), !bias);

        let mut second = reloaded(&optimizer, layers());
        let got = advance(&mut second, step.model.rebuilt(&device), 3);
        let want = advance(&mut optimizer, step.model, 3);
        assert_eq!(got.values(), want.values());
        assert_eq!(second.to_record(), optimizer.to_record());
    }
}

/// The model to evaluate has the mean of the weights of the tail.
#[test]
fn the_tail_is_averaged() {
    let mut optimizer = tail_mean();
    let mut model = layer(true);
    let mut tail = Vec::new();
    for step in 0..5 {
        model = optimizer.step(0.05, model, &parabola).expect("a step").model;
        if step >= 2 {
            tail.push(numbers(&model).concat());
        }
    }
    let evaluated = optimizer.evaluation_model(&model).expect("an average");
    for (index, got) in numbers(&evaluated).concat().into_iter().enumerate() {
        let sum: f64 = tail.iter().map(|values: &Vec<f64>| values[index]).sum();
        assert!((got - sum / 3.0).abs() < 1e-12, "{got}");
    }
    assert_ne!(numbers(&evaluated), numbers(&model));
}

/// The rate is cut in a step whose loss is higher than the one before.
#[test]
fn steps_after_a_rise_are_shorter() {
    let mut optimizer = Driver::from(sgd()).with_step_size(AfterRise { strength: 2.0 });
    let first = optimizer.step(0.01, layer(true), &parabola).expect("a step");
    assert_eq!(first.report.step_size_factor(), Some(1.0));
    let doubled = |layer: &Linear| parabola(layer).mul_scalar(2.0);
    let second = optimizer.step(0.01, layer(true), &doubled).expect("a step");
    let factor = second.report.step_size_factor().expect("a policy");
    // A relative rise of 1.
    assert!((factor - 1.0 / 3.0).abs() < 1e-9, "{factor}");
}

/// A registered row goes by name, alone and in compositions.
#[test]
fn by_name() {
    let kind = register().expect("a new name");
    assert_eq!(register().expect("the same row"), kind);
    assert!(OptimizerKind::all().contains(&kind));
    let spec: OptimizerSpec = "sam(clipped-newton)".parse().expect("a composition");
    assert_eq!(spec.to_string(), "sam(clipped-newton)");
    let named = spec.build(7).expect("valid");
    let by_hand = Sam::new(0.05).over(newton()).expect("valid").with_seed(7);
    assert_eq!(named.name(), by_hand.name());
    same(named, by_hand, "by name");
}
