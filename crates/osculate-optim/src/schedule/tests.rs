use burn::lr_scheduler::{LrScheduler, LrSchedulerRecord};

use super::*;

fn near(schedule: &impl RateSchedule, want: &[f64]) {
    schedule.validate().unwrap();
    let mut scheduler = schedule.scheduler().unwrap();
    for (step, want) in want.iter().enumerate() {
        let (rate, stepped) = (schedule.rate(step as u64), scheduler.step());
        assert!(
            (rate - want).abs() < 1e-12,
            "step {step}: {rate}, not {want}"
        );
        assert_eq!(rate, stepped);
    }
}

/// Computed independently, with PyTorch's formula.
#[test]
fn one_cycle() {
    let cosines = [
        0.04,
        0.52,
        1.0,
        0.9504846320134737,
        0.8117456539497631,
        0.6112620219362893,
        0.38874197806371075,
        0.18825834605023697,
        0.049519367986526286,
        4e-6,
    ];
    near(&OneCycle::new(1.0, 10), &cosines);
    let lines = [
        0.04, 0.52, 1.0, 0.52, 0.04, 0.0320008, 0.0240016, 0.0160024, 0.0080032, 4e-6,
    ];
    let three = OneCycle::new(1.0, 10)
        .with_three_phases(true)
        .with_linear(true);
    near(&three, &lines);
    // It stays where it ends.
    assert_eq!(three.rate(10), three.rate(9));
    assert_eq!(three.rate(u64::MAX), three.rate(9));
    for steps in 1..6 {
        for three in [false, true] {
            let short = OneCycle::new(1.0, steps).with_three_phases(three);
            for step in 0..steps {
                let rate = short.rate(step);
                assert!(rate > 0.0 && rate <= 1.0, "{steps} {step}: {rate}");
            }
        }
    }
}

/// Computed independently: two steps, then four, then eight.
#[test]
fn restarts() {
    let want = [
        1.0,
        0.5,
        1.0,
        0.8535533905932737,
        0.5,
        0.14644660940672627,
        1.0,
        0.9619397662556434,
        0.8535533905932737,
        0.6913417161825449,
        0.5,
        0.30865828381745514,
        0.14644660940672627,
        0.03806023374435663,
    ];
    near(&CosineRestarts::new(1.0, 2), &want);
    let even = CosineRestarts::new(1.0, 2).with_growth(1);
    near(&even, &[1.0, 0.5, 1.0, 0.5, 1.0]);
    assert!(CosineRestarts::new(1.0, 3).rate(u64::MAX).is_finite());
}

#[test]
fn warm_up_stable_decay() {
    let linear = WarmupStableDecay::new(2.0, 8)
        .with_warmup(2)
        .with_decay(4)
        .with_linear(true)
        .with_floor(0.4);
    near(&linear, &[1.0, 2.0, 2.0, 2.0, 1.6, 1.2, 0.8, 0.4, 0.4]);
    let root = WarmupStableDecay::new(1.0, 5).with_decay(4);
    near(
        &root,
        &[1.0, 0.5, 1.0 - 0.5_f64.sqrt(), 1.0 - 0.75_f64.sqrt(), 0.0],
    );
}

#[test]
fn a_scheduler_goes_on_from_its_record() {
    let schedule = OneCycle::new(3.0, 20);
    let mut whole = schedule.scheduler().unwrap();
    for _ in 0..7 {
        whole.step();
    }
    let bytes = whole.to_record().into_bytes().unwrap();
    let mut second = schedule.scheduler().unwrap();
    second.load_record(LrSchedulerRecord::from_bytes(bytes).unwrap());
    for _ in 0..13 {
        assert_eq!(second.step(), whole.step());
    }
    second.load_record(LrSchedulerRecord::new());
    assert_eq!(second.step(), whole.step());
}

/// `|w|²` at a rate `r` keeps `1 - 2 r` of the weight: it falls fastest at a half and grows from 1 on.
#[test]
fn range_tests_tell_where_it_falls_and_grows() {
    use crate::driver::Driver;
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::SgdConfig;
    use burn::tensor::Device;
    use osculate_curvature::{Objective, ObjectiveError};

    let device = Device::flex().autodiff();
    device.seed(2);
    let model: Linear = LinearConfig::new(3, 2).with_bias(false).init(&device);
    let test = RangeTest::new()
        .with_from(1e-3)
        .with_to(100.0)
        .with_steps(60)
        .with_smoothing(0.0);
    let objective = || -> Box<dyn Objective<Linear>> {
        Box::new(|model: &Linear| model.weight.val().square().sum() + 0.1)
    };
    let mut sgd = Driver::from(SgdConfig::new().init());
    let curve = test
        .run(&mut sgd, model.clone(), |_| Ok(objective()))
        .unwrap();
    assert!(curve.diverged && curve.points.len() < 60);
    let steepest = curve.steepest().unwrap();
    assert!((0.02..0.8).contains(&steepest), "{steepest}");
    let largest = curve.largest().unwrap();
    assert!((0.3..1.6).contains(&largest), "{largest}");

    let missing = test.run(&mut sgd, model.clone(), |step| match step {
        0 => Ok(objective()),
        _ => Err(ObjectiveError::new("the loader is gone")),
    });
    let told = missing.unwrap_err().to_string();
    assert!(
        told.contains("step 1") && told.contains("the loader is gone"),
        "{told}"
    );
    let backwards = RangeTest::new().with_from(1.0).with_to(0.5);
    let told = backwards
        .run(&mut sgd, model, |_| Ok(objective()))
        .unwrap_err();
    assert!(matches!(
        told,
        RangeTestError::Config(ConfigError { field: "to", .. })
    ));
}

#[test]
fn settings_out_of_range_are_named() {
    let field = |result: Result<(), ConfigError>| result.unwrap_err().field;
    assert_eq!(field(OneCycle::new(0.0, 10).validate()), "lr");
    assert_eq!(field(OneCycle::new(1.0, 0).validate()), "steps");
    let half = OneCycle::new(1.0, 10).with_three_phases(true);
    assert_eq!(field(half.with_rising(0.6).validate()), "rising");
    let divisor = OneCycle::new(1.0, 10).with_end_divisor(0.5);
    assert_eq!(field(divisor.validate()), "end_divisor");
    assert_eq!(field(CosineRestarts::new(1.0, 0).validate()), "period");
    let floor = CosineRestarts::new(1.0, 3).with_floor(2.0);
    assert_eq!(field(floor.validate()), "floor");
    let long = WarmupStableDecay::new(1.0, 3).with_warmup(2).with_decay(2);
    assert_eq!(field(long.validate()), "warmup + decay");
    assert!(long.scheduler().is_err());
    let decay = normalised_weight_decay(0.025, 128, 50_000, 1500).unwrap();
    assert!((decay - 3.2659863237109046e-5).abs() < 1e-15);
    assert!(normalised_weight_decay(-1.0, 1, 1, 1).is_err());
    assert!(normalised_weight_decay(1.0, 1, 0, 1).is_err());
}
