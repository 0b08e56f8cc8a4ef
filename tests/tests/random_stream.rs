//! Noise that a program draws never repeats, whatever steps, products and spectra come between, and
//! follows from the program's own seed.
//!
//! The CPU backends have one random generator for the whole program, so these tests are a program of
//! their own and take turns.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails"
)]

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::optim::{AdamWConfig, SgdConfig};
use burn::tensor::activation::{relu, softplus};
use burn::tensor::{DType, Device, Distribution, Tensor};
use osculate_curvature::{
    Batched, CurvatureOperator, GradientOracle, Hessian, HessianConfig, HvpMode, LanczosConfig,
    ParamVec, Provenance, lanczos,
};
use osculate_optim::{
    AdaHessianConfig, ClosureOptimizer, Driver, Sam, SoapConfig, StateRecord, StatefulOptimizer,
    StepPolicy,
};
use osculate_problems::modules::{cast, seeded};
use osculate_tests::on_every_backend;

static GENERATOR: Mutex<()> = Mutex::new(());

const ROUNDS: usize = 12;
const WIDTH: usize = 6;

/// The bits of a batch of noise.
type Noise = Vec<u64>;

fn noise_like(device: &Device, dtype: DType) -> Tensor<2> {
    Tensor::random([4, WIDTH], Distribution::Normal(0.0, 1.0), (device, dtype))
}

fn bits(noise: &Tensor<2>) -> Noise {
    let values = noise.clone().without_autodiff().into_data();
    values.iter::<f64>().map(f64::to_bits).collect()
}

fn layer(device: &Device, dtype: DType, seed: u64) -> Linear {
    cast(
        seeded(LinearConfig::new(WIDTH, WIDTH).init(device), seed),
        dtype,
    )
}

fn adamw() -> Driver {
    osculate_tests::subject::adamw().into()
}

fn assert_distinct(noises: &[Noise], what: &str) {
    let distinct: HashSet<_> = noises.iter().collect();
    assert_eq!(distinct.len(), noises.len(), "{what}: noise repeats");
    // Not even numbers of one stream stand at another place of another.
    let numbers: HashSet<u64> = noises.iter().flatten().copied().collect();
    let all: usize = noises.iter().map(Vec::len).sum();
    assert!(
        numbers.len() * 10 > all * 9,
        "{what}: {} of {all}",
        numbers.len()
    );
}

/// Every loss of this module is of a model and a batch of noise.
fn loss(model: &Linear, noise: &Tensor<2>) -> Tensor<1> {
    softplus(model.forward(noise.clone()), 1.0).mean()
}

/// A generator and a critic with an optimizer each: latents are drawn before either's step.
fn gan(device: &Device, dtype: DType, make: fn() -> Driver) -> Vec<Noise> {
    let (mut generator, mut critic) = (layer(device, dtype, 1), layer(device, dtype, 2));
    let (mut first, mut second) = (make(), make());
    let mut noises = Vec::new();
    for _ in 0..ROUNDS {
        let latent = noise_like(device, dtype);
        noises.push(bits(&latent));
        let fake = generator.forward(latent).detach();
        let real = noise_like(device, dtype);
        noises.push(bits(&real));
        let judged = |critic: &Linear| loss(critic, &fake) - loss(critic, &real);
        critic = second.step(1e-2, critic, &judged).unwrap().model;

        let latent = noise_like(device, dtype);
        noises.push(bits(&latent));
        let fooled = |generator: &Linear| loss(&critic, &generator.forward(latent.clone()));
        generator = first.step(1e-2, generator, &fooled).unwrap().model;
    }
    noises
}

fn a_gan(device: &Device, dtype: DType) {
    let _turn = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let sam = || {
        Sam::new(0.05)
            .over(AdamWConfig::new().init())
            .expect("valid")
    };
    for (make, what) in [
        (adamw as fn() -> Driver, "adamw"),
        (sam, "sam"),
        (|| AdaHessianConfig::new().init().unwrap(), "adahessian"),
        (|| SoapConfig::new().init().unwrap(), "soap"),
        (|| adamw().with_seed(3), "one seed for both"),
    ] {
        device.seed(1);
        let one = gan(device, dtype, make);
        assert_distinct(&one, what);
        device.seed(2);
        let both = [one.clone(), gan(device, dtype, make)].concat();
        assert_distinct(&both, "two device seeds");
        device.seed(1);
        assert_eq!(
            one,
            gan(device, dtype, make),
            "{what}: a seed does not repeat a run"
        );
    }
}

/// Latents are drawn inside of the loss; one of them between steps to look at a sample.
fn vae(device: &Device, dtype: DType, make: fn() -> Driver) -> (Vec<Noise>, Vec<f64>) {
    let mut model = layer(device, dtype, 1);
    let mut optimizer = make();
    let seen = RefCell::new(Vec::new());
    let mut sampled = Vec::new();
    for _ in 0..ROUNDS {
        let drawing = |model: &Linear| {
            let latent = noise_like(device, dtype);
            seen.borrow_mut().push(bits(&latent));
            loss(model, &latent)
        };
        model = optimizer.step(1e-2, model, &drawing).unwrap().model;
        sampled.push(bits(&noise_like(device, dtype)));
    }
    let mut seen = seen.into_inner();
    // All passes of a step see one noise.
    seen.dedup();
    assert_eq!(seen.len(), ROUNDS);
    (
        [seen, sampled].concat(),
        model.weight.val().into_data().iter().collect(),
    )
}

fn a_vae(device: &Device, dtype: DType) {
    let _turn = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let sam = || {
        Sam::new(0.05)
            .over(AdamWConfig::new().init())
            .expect("valid")
    };
    for make in [adamw as fn() -> Driver, sam] {
        device.seed(1);
        let (one, weights) = vae(device, dtype, make);
        device.seed(2);
        let (two, others) = vae(device, dtype, make);
        assert_distinct(&[one.clone(), two].concat(), "two device seeds");
        assert_ne!(weights, others);
        device.seed(1);
        assert_eq!(vae(device, dtype, make), (one, weights));
    }
}

/// A seed that was chosen decides the noise of the steps, whatever the device's is.
fn a_chosen_seed(device: &Device, dtype: DType) {
    let _turn = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let seeded = [
        (|| adamw().with_seed(0)) as fn() -> Driver,
        || adamw().with_seed(5),
        || {
            adamw()
                .with_policy(StepPolicy::new().with_seed(5))
                .expect("valid")
        },
    ];
    let [zero, five, policy] = seeded.map(|make| {
        device.seed(1);
        let one = vae(device, dtype, make).1;
        device.seed(2);
        assert_eq!(one, vae(device, dtype, make).1);
        one
    });
    assert_ne!(zero, five);
    assert_eq!(five, policy);
}

/// Times and noise are drawn for each batch before the step, and dropout masks in it.
fn diffusion(device: &Device, dtype: DType) {
    let _turn = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let dropout = DropoutConfig::new(0.3).init();
    let run = |seed| {
        device.seed(seed);
        let mut model = layer(device, dtype, 1);
        let mut optimizer = adamw();
        let mut noises = Vec::new();
        for _ in 0..ROUNDS {
            let unit = Distribution::Uniform(0.0, 1.0);
            let time = Tensor::<2>::random([4, WIDTH], unit, (device, dtype));
            let noise = noise_like(device, dtype);
            noises.extend([bits(&time), bits(&noise)]);
            let denoised = |model: &Linear| {
                let noisy = dropout.forward(noise.clone() * time.clone());
                (model.forward(noisy) - noise.clone()).square().mean()
            };
            model = optimizer.step(1e-2, model, &denoised).unwrap().model;
        }
        noises
    };
    let both = [run(1), run(2)].concat();
    assert_distinct(&both, "a diffusion loss");
    assert_eq!(run(1), run(1));
}

/// Two optimizers whose losses draw see other noise, also in their first steps.
fn two_optimizers(device: &Device, dtype: DType) {
    let _turn = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(1);
    let seen = RefCell::new(Vec::new());
    let drawing = |model: &Linear| {
        let latent = noise_like(device, dtype);
        seen.borrow_mut().push(bits(&latent));
        loss(model, &latent)
    };
    let mut optimizers = [adamw(), adamw(), Driver::from(SgdConfig::new().init())];
    for _ in 0..ROUNDS {
        for optimizer in &mut optimizers {
            let model = layer(device, dtype, 1);
            optimizer.step(1e-2, model, &drawing).unwrap();
        }
    }
    assert_distinct(&seen.into_inner(), "two optimizers");
}

/// Spectra and products between draws, by differences and by recordings that draw masks.
fn an_oracle_between_steps(device: &Device, dtype: DType) {
    let _turn = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let run = |seed| {
        device.seed(seed);
        let mut model = layer(device, dtype, 1);
        let mut optimizer = adamw();
        let mut noises = Vec::new();
        for _ in 0..ROUNDS {
            let noise = noise_like(device, dtype);
            noises.push(bits(&noise));
            let closure = |model: &Linear| loss(model, &noise);
            model = optimizer.step(1e-2, model, &closure).unwrap().model;

            let oracle = GradientOracle::new(&model, &closure);
            let config = HessianConfig {
                mode: HvpMode::FiniteDifference,
                ..HessianConfig::default()
            };
            let hessian = Hessian::with_config(&oracle, config).unwrap();
            lanczos(&hessian, &LanczosConfig::default()).unwrap();
            noises.push(bits(&noise_like(device, dtype)));
            let z = ParamVec::gaussian(&hessian.layout(), 1);
            hessian.apply(&z).unwrap();
            noises.push(bits(&noise_like(device, dtype)));
            hessian.apply(&z).unwrap();
            noises.push(bits(&noise_like(device, dtype)));

            let inputs = noise_like(&device.clone().inner(), dtype);
            noises.push(bits(&inputs));
            let net = Net {
                layer: model.clone(),
                dropout: DropoutConfig::new(0.3).init(),
            };
            let handed = Batched::new(inputs, |net: &Net, x: &Tensor<2>| {
                let hidden = net.dropout.forward(relu(net.layer.forward(x.clone())));
                net.layer.forward(hidden).square().mean()
            });
            let oracle = GradientOracle::new(&net, &handed);
            let hessian = Hessian::new(&oracle).unwrap();
            let product = hessian
                .apply(&ParamVec::gaussian(&hessian.layout(), 1))
                .unwrap();
            assert_eq!(product.provenance, Provenance::Exact);
            noises.push(bits(&noise_like(device, dtype)));
        }
        noises
    };
    let both = [run(1), run(2)].concat();
    assert_distinct(&both, "spectra between draws");
    assert_eq!(run(1), run(1));
}

#[derive(Module, Debug)]
struct Net {
    layer: Linear,
    dropout: Dropout,
}

/// What is drawn after a step that fails, in the loss too, is new as well.
fn failing_steps(device: &Device, dtype: DType) {
    let _turn = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(1);
    let mut optimizer = adamw();
    let mut noises = Vec::new();
    for round in 0..ROUNDS {
        let failing = |model: &Linear| {
            let latent = noise_like(device, dtype);
            assert!(round % 2 == 1, "a loss that fails");
            loss(model, &latent)
        };
        let made = optimizer.step(1e-2, layer(device, dtype, 1), &failing);
        assert_eq!(made.is_ok(), round % 2 == 1);
        noises.push(bits(&noise_like(device, dtype)));
    }
    assert_distinct(&noises, "failing steps");
}

/// A run that goes on from a record makes the same steps, whatever the device's seed; with the device
/// seeded where the run was saved and where it goes on, what is drawn between them is the same as well.
fn a_resumed_run(device: &Device, dtype: DType) {
    let _turn = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let run = |mut model: Linear, optimizer: &mut Driver| {
        let mut between = Vec::new();
        for _ in 0..4 {
            let drawing = |model: &Linear| loss(model, &noise_like(device, dtype));
            model = optimizer.step(1e-2, model, &drawing).unwrap().model;
            between.push(bits(&noise_like(device, dtype)));
        }
        (model, between)
    };
    let weights = |model: &Linear| -> Vec<f64> { model.weight.val().into_data().iter().collect() };
    device.seed(1);
    let mut optimizer = adamw();
    let (model, _) = run(layer(device, dtype, 1), &mut optimizer);
    let saved = optimizer.to_record().to_bytes().unwrap();
    device.seed(9);
    let (whole, between) = run(model.clone(), &mut optimizer);
    for (seed, same) in [(9, true), (10, false)] {
        device.seed(seed);
        let mut resumed = adamw();
        resumed
            .load_record(StateRecord::from_bytes(saved.clone()).unwrap())
            .unwrap();
        let (model, again) = run(model.clone(), &mut resumed);
        assert_eq!(weights(&model), weights(&whole));
        assert_eq!(again == between, same);
        assert_eq!(resumed.to_record(), optimizer.to_record());
    }
}

mod gan_latents {
    use super::*;
    on_every_backend!(|device: &Device, dtype: DType| a_gan(device, dtype));
}

mod vae_latents {
    use super::*;
    on_every_backend!(|device: &Device, dtype: DType| a_vae(device, dtype));
}

mod diffusion_noise {
    use super::*;
    on_every_backend!(|device: &Device, dtype: DType| diffusion(device, dtype));
}

mod two_optimizers_beside {
    use super::*;
    on_every_backend!(|device: &Device, dtype: DType| two_optimizers(device, dtype));
}

mod oracle_between_steps {
    use super::*;
    on_every_backend!(|device: &Device, dtype: DType| an_oracle_between_steps(device, dtype));
}

mod chosen_seed {
    use super::*;
    on_every_backend!(|device: &Device, dtype: DType| a_chosen_seed(device, dtype));
}

mod failed_steps {
    use super::*;
    on_every_backend!(|device: &Device, dtype: DType| failing_steps(device, dtype));
}

mod resumed_run {
    use super::*;
    on_every_backend!(|device: &Device, dtype: DType| a_resumed_run(device, dtype));
}
