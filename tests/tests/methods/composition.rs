//! Every role goes with every other: gradient sources, methods, step sizes, averages and groups, sampled so
//! that each pair occurs.

use std::collections::BTreeSet;

use burn::tensor::{DType, Device};
use osculate_optim::registry::{OptimizerSpec, settings_of};
use osculate_optim::{
    AdaHessianConfig, Asam, Awp, ClosureOptimizer, Driver, Ema, FriendlySam, Gam, Gsam,
    KlShampooConfig, LookSam, Momo, MuonConfig, ParameterGroup, PsgdKronConfig, RefreshSchedule,
    Sam, ScheduleFree, Select, ShampooConfig, SoapConfig, SophiaConfig, StateRecord,
    StatefulOptimizer, StepPolicy,
};
use osculate_tests::model::{Batch, Fault, Ranked};
use osculate_tests::subject::{adamw, sgd};

const STEPS: usize = 5;
const LR: f64 = 0.01;

const SOURCES: [&str; 8] = [
    "clean",
    "sam",
    "asam",
    "gsam",
    "looksam",
    "gam",
    "awp",
    "friendly-sam",
];
const METHODS: [&str; 10] = [
    "adamw",
    "sgd",
    "adahessian",
    "sophia-h",
    "sophia-g",
    "shampoo",
    "soap",
    "kl-shampoo",
    "psgd-kron",
    "muon",
];
const STEP_SIZES: [&str; 2] = ["given", "momo"];
const AVERAGES: [&str; 3] = ["none", "schedule-free", "ema"];
const GROUPS: [usize; 2] = [1, 3];

/// One choice of every role, by position.
#[derive(Debug, Clone, Copy)]
struct Choice {
    source: usize,
    method: usize,
    step_size: usize,
    average: usize,
    groups: usize,
}

/// Choices in which each pair of choices occurs.
fn choices() -> Vec<Choice> {
    let mut choices = Vec::new();
    for source in 0..SOURCES.len() {
        for method in 0..METHODS.len() {
            let index = source * METHODS.len() + method;
            choices.push(Choice {
                source,
                method,
                step_size: (source + method) % 2,
                average: (index + source) % 3,
                groups: (index / 3 + source / 2) % 2,
            });
        }
    }
    choices
}

#[test]
fn each_pair_of_choices_occurs() {
    let sizes = [SOURCES.len(), METHODS.len(), 2, 3, 2];
    let mut seen = BTreeSet::new();
    for choice in choices() {
        let values = [
            choice.source,
            choice.method,
            choice.step_size,
            choice.average,
            choice.groups,
        ];
        for (a, x) in values.iter().enumerate() {
            for (b, y) in values.iter().enumerate().skip(a + 1) {
                seen.insert((a, b, *x, *y));
            }
        }
    }
    for a in 0..5 {
        for b in a + 1..5 {
            for x in 0..sizes[a] {
                for y in 0..sizes[b] {
                    assert!(seen.contains(&(a, b, x, y)), "{a} {b}: {x} {y}");
                }
            }
        }
    }
}

fn method(choice: Choice) -> Driver {
    let every_second = RefreshSchedule::Every { period: 2 };
    match METHODS[choice.method] {
        "adamw" => adamw().into(),
        "sgd" => sgd().into(),
        "adahessian" => AdaHessianConfig::new().with_period(2).init().unwrap(),
        "sophia-h" => SophiaConfig::h().with_period(2).init().unwrap(),
        "sophia-g" => SophiaConfig::g().with_period(2).init().unwrap(),
        "shampoo" => {
            let config = ShampooConfig::new().with_period(2).with_start(2);
            config.init().unwrap()
        }
        "soap" => SoapConfig::new().with_refresh(every_second).init().unwrap(),
        "kl-shampoo" => {
            let config = KlShampooConfig::new().with_refresh(every_second);
            config.init().unwrap()
        }
        "psgd-kron" => PsgdKronConfig::new().init().unwrap(),
        "muon" => MuonConfig::new().init().unwrap(),
        other => panic!("{other}"),
    }
}

/// How a part of a choice is changed for a comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Variant {
    AsChosen,
    /// Without a gradient source.
    Clean,
    /// The source at radius 0.
    NoRadius,
    /// Without a step-size policy.
    GivenRate,
    /// MoMo that has nothing to say.
    NoBound,
    /// Groups that all say the same.
    SameGroups,
    /// Without groups.
    OneGroup,
}

fn build(choice: Choice, variant: Variant) -> Driver {
    let base = method(choice);
    let burns =
        METHODS[choice.method].len() <= 5 && ["adamw", "sgd"].contains(&METHODS[choice.method]);
    let rho = |rho: f64| {
        if variant == Variant::NoRadius {
            0.0
        } else {
            rho
        }
    };
    let alpha = |alpha: f64| {
        if variant == Variant::NoRadius {
            0.0
        } else {
            alpha
        }
    };
    let source = match variant {
        Variant::Clean => "clean",
        _ => SOURCES[choice.source],
    };
    let driver = match source {
        "sam" => Sam::new(rho(0.05)).over(base).unwrap(),
        "asam" => Asam::new(rho(0.5)).over(base).unwrap(),
        "gsam" => {
            let gsam = Gsam::new(rho(0.05)).with_alpha(alpha(0.4));
            gsam.over(base).unwrap()
        }
        "looksam" => {
            let looksam = LookSam::new(rho(0.05))
                .with_alpha(alpha(0.7))
                .with_period(2);
            looksam.over(base).unwrap()
        }
        "gam" => {
            let gam = Gam::new(rho(0.1)).with_alpha(alpha(0.1));
            gam.over(base).unwrap()
        }
        "awp" => Awp::new(rho(0.01)).over(base).unwrap(),
        "friendly-sam" => FriendlySam::new(rho(0.05)).over(base).unwrap(),
        _ => base,
    };
    let momo = Momo::new().with_beta(0.8);
    let driver = match (STEP_SIZES[choice.step_size], variant) {
        (_, Variant::NoBound) => momo
            .with_lower_bound(f64::NEG_INFINITY)
            .over(driver)
            .unwrap(),
        (_, Variant::GivenRate) | ("given", _) => driver,
        _ => momo.over(driver).unwrap(),
    };
    let driver = match AVERAGES[choice.average] {
        "schedule-free" => ScheduleFree::new().over(driver).unwrap(),
        "ema" => Ema::new(0.9).over(driver).unwrap(),
        _ => driver,
    };
    let group = |name: &str, ranks: std::ops::RangeInclusive<usize>| {
        ParameterGroup::new(name, Select::rank(ranks))
    };
    let groups = match (GROUPS[choice.groups], variant) {
        (_, Variant::OneGroup) => Vec::new(),
        (_, Variant::SameGroups) => vec![
            group("vectors", 0..=1),
            group("matrices", 2..=2).with_lr_factor(1.0),
            group("others", 3..=8),
        ],
        (1, _) => Vec::new(),
        _ => {
            let mut groups = vec![
                group("vectors", 0..=1).with_lr_factor(0.5),
                group("matrices", 2..=2).with_lr_factor(2.0),
                group("others", 3..=8),
            ];
            if !burns {
                // burn's optimizers decay inside.
                groups[2] = groups[2].clone().with_weight_decay(0.1);
            }
            groups
        }
    };
    let policy = StepPolicy::new().with_seed(5);
    let driver = driver.with_policy(policy).unwrap();
    driver.with_groups(groups).unwrap()
}

fn advance(
    driver: &mut Driver,
    mut model: Ranked,
    steps: std::ops::Range<usize>,
    context: &str,
) -> Ranked {
    for step in steps {
        let batch = Batch::new(&model, step, true, Fault::None);
        model = driver.step(LR, model, &batch).expect(context).model;
    }
    model
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The weights of training and of evaluation after a run.
fn run(choice: Choice, variant: Variant) -> (Vec<u64>, Vec<u64>) {
    let device = Device::flex().autodiff();
    let context = format!("{choice:?}, {variant:?}");
    let mut driver = build(choice, variant);
    let model = advance(
        &mut driver,
        Ranked::new(&device, DType::F32),
        0..STEPS,
        &context,
    );
    let evaluated = driver.evaluation_model(&model).expect(&context);
    (bits(&model.values()), bits(&evaluated.values()))
}

#[test]
fn without_a_radius_every_source_is_its_base() {
    for choice in choices() {
        let base = run(choice, Variant::Clean);
        assert_eq!(run(choice, Variant::NoRadius), base, "{choice:?}");
    }
}

#[test]
fn a_bound_of_minus_infinity_is_the_given_rate() {
    for choice in choices() {
        let given = run(choice, Variant::GivenRate);
        assert_eq!(run(choice, Variant::NoBound), given, "{choice:?}");
    }
}

#[test]
fn groups_that_say_the_same_are_one_group() {
    for choice in choices() {
        let one = run(choice, Variant::OneGroup);
        assert_eq!(run(choice, Variant::SameGroups), one, "{choice:?}");
    }
}

/// Cuts a run at every step, saves and loads it there, and compares with the whole one.
fn resumes(context: &str, make: &dyn Fn() -> Driver) {
    let device = Device::flex().autodiff();
    let start = || Ranked::new(&device, DType::F32);
    let mut whole = make();
    let expected = advance(&mut whole, start(), 0..STEPS, context);
    let evaluated = whole.evaluation_model(&expected).expect(context).values();
    for cut in 0..STEPS {
        let mut first = make();
        let half = advance(&mut first, start(), 0..cut, context);
        let bytes = first.to_record().to_bytes().expect(context);
        let mut second = make();
        let record = StateRecord::from_bytes(bytes).expect(context);
        second.load_record(record).expect(context);
        let half = half.rebuilt(&device, DType::F32);
        let resumed = advance(&mut second, half, cut..STEPS, context);
        assert_eq!(
            bits(&resumed.values()),
            bits(&expected.values()),
            "{context}, cut at {cut}"
        );
        let again = second.evaluation_model(&resumed).expect(context).values();
        assert_eq!(bits(&again), bits(&evaluated), "{context}, cut at {cut}");
        assert_eq!(
            second.to_record(),
            whole.to_record(),
            "{context}, cut at {cut}"
        );
    }
}

#[test]
fn every_composition_resumes_bit_for_bit() {
    for choice in choices() {
        resumes(&format!("{choice:?}"), &|| build(choice, Variant::AsChosen));
    }
}

const FAULTS: [Fault; 7] = [
    Fault::Zero,
    Fault::Tiny,
    Fault::Huge,
    Fault::Spike(2),
    Fault::Nan(2),
    Fault::Inf(3),
    Fault::Missing(4),
];

/// A batch with a fault leaves what it spoils as it was, and training goes on.
fn survives(context: &str, supervised: bool, fault: Fault, make: &dyn Fn() -> Driver) {
    let device = Device::flex().autodiff();
    for good in [0, 2] {
        let context = format!("{context}, {fault:?} after {good}");
        let mut driver = make();
        let mut model = Ranked::new(&device, DType::F32);
        for step in 0..good {
            let batch = Batch::new(&model, step, supervised, Fault::None);
            model = driver.step(LR, model, &batch).expect(&context).model;
        }
        let before = model.clone();
        let batch = Batch::new(&model, good, supervised, fault);
        let step = driver.step(LR, model, &batch).expect(&context);
        model = step.model;
        if let (Fault::Nan(rank) | Fault::Inf(rank), false) = (fault, supervised) {
            let skipped = step.report.skipped();
            let path = format!("rank{rank}");
            assert!(skipped.iter().any(|skip| skip.path == path), "{context}");
            assert_eq!(
                model.values_of_rank(rank),
                before.values_of_rank(rank),
                "{context}"
            );
        }
        for step in 0..3 {
            let batch = Batch::new(&model, step, supervised, Fault::None);
            model = driver.step(LR, model, &batch).expect(&context).model;
        }
        let evaluated = driver.evaluation_model(&model).expect(&context);
        let finite = |model: &Ranked| model.values().iter().all(|x| x.is_finite());
        assert!(finite(&model) && finite(&evaluated), "{context}");
    }
}

#[test]
fn every_composition_survives_faults() {
    for choice in choices() {
        let supervised = METHODS[choice.method] == "sophia-g";
        for fault in FAULTS {
            let make = || build(choice, Variant::AsChosen);
            survives(&format!("{choice:?}"), supervised, fault, &make);
        }
    }
}

/// A sample of what [`choices`] leaves out: each filter, source, policy and average that is not among its own,
/// each method that is not, several deep, as they go by name.
const SAMPLE: [&str; 18] = [
    "gam(soap)",
    "perp-grad(muon)",
    "awp(sophia-g)",
    "fast-gam(normuon)",
    "amp(centralised(shampoo))",
    "mars(psgd-kron)",
    "entropy-sgd(sgdw)",
    "perp-grad(adaptive-clip(kl-soap))",
    "momo(perp-grad(sam(soap)))",
    "sania(friendly-sam(adagrad-sqr))",
    "armijo(amp(induced-metric))",
    "prodigy(perp-grad(optimistic-amsgrad))",
    "random-scale(gam(averaged-gradient))",
    "lookahead(fast-gam(soap))",
    "momentum-sam(adaptive-clip(shampoo))",
    "momentum-sam(momo(perp-grad(muon)))",
    "hyperball(awp(soap))",
    "ema(armijo(newton-cg))",
];

/// One of the [`SAMPLE`], with settings as in [`settings_of`].
fn named(text: &str, settings: &[&str]) -> Driver {
    let spec: OptimizerSpec = text.parse().expect(text);
    let settings = settings_of(settings).expect(text);
    let spec = spec.with_overrides(&settings).expect(text);
    spec.build(5).expect(text)
}

#[test]
fn sampled_compositions_resume_bit_for_bit() {
    for text in SAMPLE {
        resumes(text, &|| named(text, &[]));
    }
}

#[test]
fn sampled_compositions_survive_faults() {
    for text in SAMPLE {
        let supervised = text.contains("sophia-g");
        for fault in FAULTS {
            survives(text, supervised, fault, &|| named(text, &[]));
        }
    }
}

#[test]
fn sampled_compositions_have_their_identities() {
    let pairs: [(&str, &[&str], &str); 9] = [
        ("gam(soap)", &["rho=0", "alpha=0"], "soap"),
        ("awp(sophia-g)", &["gamma=0"], "sophia-g"),
        (
            "amp(centralised(shampoo))",
            &["rho=0"],
            "centralised(shampoo)",
        ),
        ("mars(psgd-kron)", &["gamma=0", "clip=null"], "psgd-kron"),
        (
            "momentum-sam(adaptive-clip(shampoo))",
            &["rho=0"],
            "adaptive-clip(shampoo)",
        ),
        (
            "momentum-sam(momo(perp-grad(muon)))",
            &["rho=0"],
            "momo(perp-grad(muon))",
        ),
        ("lookahead(soap)", &["alpha=1"], "soap"),
        (
            "sania(friendly-sam(adagrad-sqr))",
            &["base.friendly-sam.rho=0"],
            "sania(adagrad-sqr)",
        ),
        (
            "hyperball(awp(soap))",
            &["base.awp.gamma=0"],
            "hyperball(soap)",
        ),
    ];
    let device = Device::flex().autodiff();
    for (text, settings, base) in pairs {
        let run = |mut driver: Driver| {
            let model = advance(
                &mut driver,
                Ranked::new(&device, DType::F32),
                0..STEPS,
                text,
            );
            let evaluated = driver.evaluation_model(&model).expect(text);
            (bits(&model.values()), bits(&evaluated.values()))
        };
        assert_eq!(run(named(text, settings)), run(named(base, &[])), "{text}");
    }
}
