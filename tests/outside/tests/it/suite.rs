//! The shared suites over the optimizers of this crate.

use burn::tensor::{DType, Device};
use osculate_optim::registry::{OptimizerKind, OptimizerSpec};
use osculate_optim::{
    ClosureOptimizer, Driver, Hutchinson, MuonConfig, ParameterGroup, Sam, Select, SoapConfig,
    SophiaConfig, StatefulOptimizer, StepPolicy,
};
use osculate_outside::{
    AfterRise, ClippedNewtonConfig, LayerNorms, Normalised, PastExtragradient, SeveralProbes,
    TailMean, register,
};
use osculate_tests::model::{Batch, Fault, Ranked};
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
    sam.for_matrices(layers()).expect("a method alone")
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
    let bits =
        |model: Ranked| -> Vec<u64> { model.values().into_iter().map(f64::to_bits).collect() };
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
        same(
            base.clone().with_gradient(still),
            base.clone(),
            &told("no distance"),
        );
        let given = AfterRise { strength: 0.0 };
        same(
            base.clone().with_step_size(given),
            base.clone(),
            &told("a factor of 1"),
        );
        let mean = TailMean { start: 0 };
        same(
            base.clone().with_averaging(mean),
            base.clone(),
            &told("an average"),
        );
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
    assert_eq!(
        all().name(),
        "tail-mean(after-rise(past-extragradient(clipped-newton)))"
    );
    assert_eq!(mixed().name(), "sam(hybrid)");
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
