//! What each optimizer of this crate must do, against numbers worked out by hand.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::tanh;
use burn::tensor::{DType, Device, Tensor, TensorData};
use osculate_optim::{
    ClosureOptimizer, Driver, PerParameter, Sam, Select, StateRecord, StatefulOptimizer,
};
use osculate_outside::{AfterRise, ClippedNewtonConfig, LayerNorms, TailMean};
use osculate_tests::model::wave;
use osculate_tests::pack::entries_of;
use osculate_tests::subject::sgd;

fn device() -> Device {
    Device::flex().autodiff()
}

fn newton() -> Driver {
    ClippedNewtonConfig::new().init().expect("valid")
}

fn layers() -> Driver {
    Driver::of_blocks(LayerNorms { beta: 0.9 })
}

fn tail_mean() -> Driver {
    Driver::from(sgd()).with_averaging(TailMean { start: 2 })
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
        bias.map(|bias| bias.iter::<f64>().collect())
            .unwrap_or_default(),
    ]
}

/// `H` is diagonal, with 3 for the weight and 0.5 for the bias: probes of signs find it exactly.
#[test]
fn newton_divides_by_its_own_curvature() {
    let config = ClippedNewtonConfig::new().with_weight_decay(0.1);
    let mut optimizer = config.init().expect("valid");
    let start = layer(true);
    let step = optimizer
        .step(0.5, start.clone(), &parabola)
        .expect("a step");
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
    let beside = layers().for_selected(vectors, newton()).unwrap();
    for pristine in [
        layers(),
        beside,
        Sam::new(0.05).over(layers()).expect("valid"),
    ] {
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
        let step = optimizer
            .step(0.01, changed, &network_loss)
            .expect("a step");
        let mut paths: Vec<&str> = step
            .report
            .fresh()
            .iter()
            .map(|fresh| &*fresh.path)
            .collect();
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
        model = optimizer
            .step(0.05, model, &parabola)
            .expect("a step")
            .model;
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
    let first = optimizer
        .step(0.01, layer(true), &parabola)
        .expect("a step");
    assert_eq!(first.report.step_size_factor(), Some(1.0));
    let doubled = |layer: &Linear| parabola(layer).mul_scalar(2.0);
    let second = optimizer.step(0.01, layer(true), &doubled).expect("a step");
    let factor = second.report.step_size_factor().expect("a policy");
    // A relative rise of 1.
    assert!((factor - 1.0 / 3.0).abs() < 1e-9, "{factor}");
}

/// A bias that comes makes a new block with its weight, and nothing is left of the weight's own.
#[test]
fn a_block_that_grows_leaves_nothing_behind() {
    let device = device();
    let mut optimizer = layers();
    let mut start = Network::new(&device);
    let bias = start.second.bias.take();
    let mut half = advance(&mut optimizer, start, 2);
    half.second.bias = bias;
    let mut model = advance(&mut optimizer, half, 1);
    let names = entries_of(&optimizer.to_record(), "second.weight");
    let alone = |name: &&String| name.starts_with("second.weight#");
    assert_eq!(names.iter().filter(alone).count(), 0, "{names:?}");

    // Gone again: the weight does not find the momentum that it had before.
    model.second.bias = None;
    let before = model.second.weight.val();
    let after = advance(&mut optimizer, model.clone(), 1)
        .second
        .weight
        .val();
    let mut fresh = layers();
    let want = advance(&mut fresh, model, 1).second.weight.val();
    assert_ne!(before.to_data(), after.to_data());
    assert_eq!(after.to_data(), want.to_data());
}
