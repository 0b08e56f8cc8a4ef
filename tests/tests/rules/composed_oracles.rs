//! MoMo, MoMo-Adam, MoMo* and Schedule-Free on P3 against numbers that were computed independently.

use burn::optim::{AdamConfig, ModuleOptimizer, SgdConfig};
use burn::tensor::{DType, Device};
use osculate_optim::{
    AveragedGradientConfig, ClosureOptimizer, DecayForm, Driver, KeepDtype, Momo, ScheduleFree,
    WeightDecay,
};
use osculate_problems::closed_form::{ClosedForm, P3, P3Point, TensorProblem};
use osculate_tests::matrix::trajectories;
use osculate_tests::on_every_backend;

fn expected(name: &str) -> Vec<Vec<f64>> {
    trajectories(include_str!("../../data/composed.json"))[name].clone()
}

fn near(got: &[f64], want: &[f64], dtype: DType, what: &str) {
    // burn keeps the settings of its optimizers in single precision.
    let tolerance = if dtype == DType::F64 { 1e-5 } else { 1e-4 };
    for (got, want) in got.iter().zip(want) {
        assert!(
            (got - want).abs() <= tolerance,
            "{what}: {got} instead of {want}"
        );
    }
}

/// Follows the training weights, and those of evaluation where there are any expected.
fn follow(name: &str, mut driver: Driver, lr: f64, (device, dtype): (&Device, DType)) {
    let mut point = P3.point(&P3.start(), device, dtype);
    let evaluated = name.strip_suffix("_y").map(|name| format!("{name}_x"));
    for (step, want) in expected(name).iter().enumerate() {
        // Moved up, so that the smallest loss is above the bound of 0.
        let loss = |point: &P3Point| P3.tensor_loss(point).add_scalar(1.0);
        point = driver.step(lr, point, &loss).expect("a step").model;
        let what = format!("{name}, step {}", step + 1);
        near(&P3.flatten(&point), want, dtype, &what);
        if let Some(x) = evaluated
            .as_ref()
            .filter(|x| x.ends_with("sgd_x") || x.ends_with("adam_x"))
        {
            let average = driver.evaluation_model(&point).expect("an average");
            near(&P3.flatten(&average), &expected(x)[step], dtype, &what);
        }
    }
}

macro_rules! oracle {
    ($name:ident, $lr:literal, $driver:expr) => {
        mod $name {
            use super::*;
            on_every_backend!(|device: &Device, dtype: DType| {
                follow(stringify!($name), $driver, $lr, (device, dtype));
            });
        }
    };
}

fn averaged() -> AveragedGradientConfig {
    AveragedGradientConfig::new().with_beta(0.9)
}

fn adam() -> Driver {
    ModuleOptimizer::from(KeepDtype(AdamConfig::new().with_epsilon(1e-8).build())).into()
}

fn adam_without_momentum() -> Driver {
    let config = AdamConfig::new().with_beta_1(0.0).with_epsilon(1e-8);
    ModuleOptimizer::from(KeepDtype(config.build())).into()
}

fn decayed(driver: Driver, form: DecayForm) -> Driver {
    driver
        .with_weight_decay(WeightDecay::new(0.01, form))
        .unwrap()
}

fn for_adam() -> Momo {
    Momo::new().with_bias_correction(true)
}

oracle!(
    momo,
    1.0,
    Momo::new().over(averaged().init().unwrap()).unwrap()
);
oracle!(momo_decay, 1.0, {
    let base = decayed(averaged().init().unwrap(), DecayForm::Proximal);
    Momo::new().over(base).unwrap()
});
oracle!(momo_bias, 1.0, {
    let base = averaged().with_bias_correction(true).init().unwrap();
    Momo::new().with_bias_correction(true).over(base).unwrap()
});
oracle!(momo_star, 1.0, {
    let momo = Momo::new().with_estimate_bound(true);
    momo.over(averaged().init().unwrap()).unwrap()
});
oracle!(momo_star_low, 1.0, {
    let momo = Momo::new().with_estimate_bound(true).with_lower_bound(-2.0);
    momo.over(averaged().init().unwrap()).unwrap()
});
oracle!(momo_adam, 1.0, for_adam().over(adam()).unwrap());
oracle!(momo_adam_small, 0.01, for_adam().over(adam()).unwrap());
oracle!(momo_adam_decay, 1.0, {
    for_adam()
        .over(decayed(adam(), DecayForm::Proximal))
        .unwrap()
});
oracle!(momo_adam_star, 1.0, {
    let momo = for_adam().with_estimate_bound(true).with_lower_bound(-2.0);
    momo.over(adam()).unwrap()
});
oracle!(
    schedule_free_sgd_y,
    0.1,
    ScheduleFree::new().over(SgdConfig::new().init()).unwrap()
);
oracle!(
    schedule_free_adam_y,
    0.1,
    ScheduleFree::new().over(adam_without_momentum()).unwrap()
);
oracle!(schedule_free_warm_y, 0.1, {
    let base = decayed(SgdConfig::new().init().into(), DecayForm::Together);
    ScheduleFree::new().with_warmup(2).over(base).unwrap()
});
