use burn::nn::Linear;

use super::*;

fn overridden(method: OptimizerKind, overrides: Value) -> Result<OptimizerSpec, SpecError> {
    OptimizerSpec::new(method).with_overrides(&overrides)
}

fn message(method: OptimizerKind, overrides: Value) -> String {
    match overridden(method, overrides) {
        Ok(recipe) => panic!("accepted: {}", recipe.settings()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_method_is_made_from_its_defaults_and_found_by_its_name() {
    for &method in OptimizerKind::BUILT_IN {
        assert_eq!(method.name().parse::<OptimizerKind>().unwrap(), method);
        let recipe = OptimizerSpec::new(method);
        let optimizer = recipe.make::<Linear>(3).unwrap();
        assert!(!optimizer.name().is_empty());
        let text = serde_json::to_string(&recipe).unwrap();
        assert_eq!(
            serde_json::from_str::<OptimizerSpec>(&text).unwrap(),
            recipe
        );
    }
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let error = "adma".parse::<OptimizerKind>().unwrap_err().to_string();
    assert!(error.contains("`adma`") && error.contains("adamw") && error.contains("psgd-kron"));
}

#[test]
fn overrides_reach_nested_settings_and_leave_the_others() {
    let recipe = overridden(
        OptimizerKind::SAM,
        json!({ "policy": { "clip_norm": 1.5 } }),
    )
    .unwrap();
    assert_eq!(recipe.settings()["policy"]["clip_norm"], json!(1.5));
    assert_eq!(recipe.settings()["policy"]["non_finite"], json!("Skip"));
    assert_eq!(recipe.settings()["rho"], json!(0.05));
}

#[test]
fn another_base_takes_the_place_of_the_first_with_its_own_defaults() {
    let base = json!({ "base": { "adamw": { "beta_1": 0.8 } } });
    let recipe = overridden(OptimizerKind::ASAM, base).unwrap();
    let base = recipe.settings()["base"].as_object().unwrap();
    assert_eq!(base.len(), 1);
    assert_eq!(base["adamw"]["beta_1"], json!(0.8));
    assert_eq!(base["adamw"]["weight_decay"], json!(0.01));
}

#[test]
fn methods_with_a_momentum_of_their_own_are_over_sgd_without_one() {
    for kind in [OptimizerKind::SCHEDULE_FREE, OptimizerKind::ENTROPY_SGD] {
        let base = OptimizerSpec::new(kind).settings()["base"]["sgd"].clone();
        assert_eq!(base["momentum"], Value::Null, "{kind}: {base}");
    }
    let sam = OptimizerSpec::new(OptimizerKind::SAM).settings()["base"]["sgd"].clone();
    assert_eq!(sam["momentum"]["momentum"], json!(0.9));
}

#[test]
fn a_base_that_stays_keeps_what_was_set_before() {
    let first = json!({ "base": { "sgd": { "weight_decay": { "penalty": 0.1 } } } });
    let recipe = overridden(OptimizerKind::SAM, first).unwrap();
    let second = json!({ "base": { "sgd": { "momentum": { "momentum": 0.5 } } } });
    let recipe = recipe.with_overrides(&second).unwrap();
    let base = &recipe.settings()["base"]["sgd"];
    assert_eq!(base["weight_decay"]["penalty"], json!(0.1));
    assert_eq!(base["momentum"]["momentum"], json!(0.5));
}

#[test]
fn another_variant_takes_the_place_of_the_first() {
    let grafting = json!({ "grafting": { "AdaGrad": { "epsilon": 1e-9 } } });
    let recipe = overridden(OptimizerKind::SHAMPOO, grafting.clone()).unwrap();
    assert_eq!(recipe.settings()["grafting"], grafting["grafting"]);
    let period = overridden(
        OptimizerKind::SOAP,
        json!({ "refresh": { "Every": { "period": 7 } } }),
    )
    .unwrap();
    assert_eq!(period.settings()["refresh"]["Every"]["period"], json!(7));
}

#[test]
fn a_key_that_is_not_there_is_named_with_its_neighbours() {
    let error = message(OptimizerKind::SAM, json!({ "policy": { "clip": 1.0 } }));
    assert!(
        error.contains("`policy.clip`") && error.contains("clip_norm"),
        "{error}"
    );
    let error = message(
        OptimizerKind::SAM,
        json!({ "base": { "adamw": { "beta1": 0.8 } } }),
    );
    assert!(
        error.contains("`base.adamw.beta1`") && error.contains("beta_1"),
        "{error}"
    );
    let error = message(OptimizerKind::SAM, json!({ "base": { "adamax": {} } }));
    assert!(
        error.contains("`adamax`") && error.contains("adamw"),
        "{error}"
    );
}

#[test]
fn wrong_types_and_values_are_errors() {
    let error = message(OptimizerKind::SOAP, json!({ "beta_1": "much" }));
    assert!(
        error.contains("SoapConfig") && error.contains("much"),
        "{error}"
    );
    let error = message(OptimizerKind::SOAP, json!({ "beta_1": 1.5 }));
    assert!(error.contains("beta_1") && error.contains("1.5"), "{error}");
    assert!(message(OptimizerKind::SGD, json!(3)).contains("expected an object"));
    assert!(message(OptimizerKind::SAM, json!({ "base": 1 })).contains("`base` = 1"));
    assert!(message(OptimizerKind::SGD, json!({ "policy": 3 })).contains("StepPolicy"));
    assert!(message(OptimizerKind::MUON, json!({ "muon": 1 })).contains("MuonConfig"));
    assert!(message(OptimizerKind::MUON, json!({ "rest": [] })).contains("`rest`"));
    let shapeless = json!({ "method": "soap", "settings": [] });
    let shapeless: OptimizerSpec = serde_json::from_value(shapeless).unwrap();
    assert!(shapeless.make::<Linear>(0).is_err());
}

/// Every number of every method of the crate, below zero: refused with its value, or one of those that may be so.
#[test]
fn numbers_below_zero_are_refused_with_their_values() {
    let mut accepted = Vec::new();
    for &kind in OptimizerKind::BUILT_IN {
        // burn's own take whatever they are given.
        if kind.text().contains("(burn's)") {
            continue;
        }
        let mut fields = OptimizerSpec::new(kind).settings().clone();
        for other in ["base", "rest", "policy", "groups"] {
            fields.as_object_mut().unwrap().remove(other);
        }
        let fields = fields.as_object().unwrap();
        for (field, _) in fields.iter().filter(|(_, value)| value.is_number()) {
            match overridden(kind, json!({ field: -1.0 })) {
                Ok(_) => accepted.push(format!("{kind}.{field}")),
                Err(error) => {
                    let error = error.to_string();
                    let told = error.contains("-1");
                    assert!(told, "{kind}.{field}: {error}");
                }
            }
        }
    }
    let may = ["fast-gam.beta_2", "momo.lower_bound", "sania.lower_bound"];
    assert_eq!(accepted, may);
}

#[test]
fn any_seed_is_accepted() {
    for &method in OptimizerKind::BUILT_IN {
        let recipe = OptimizerSpec::new(method);
        assert!(recipe.make::<Linear>(u64::MAX).is_ok(), "{method}");
    }
}

#[test]
fn a_rate_to_start_from_is_the_bases_but_where_it_is_a_factor() {
    let rate = |text: &str| text.parse::<OptimizerSpec>().unwrap().learning_rate();
    assert_eq!(rate("mars(soap)"), rate("soap"));
    assert_eq!(rate("prodigy(soap)"), 1.0);
    assert_eq!(rate("prodigy(adamw)"), 1.0);
}
