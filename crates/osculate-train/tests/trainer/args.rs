use std::path::Path;

use clap::Parser;
use osculate_optim::NonFinitePolicy;
use osculate_optim::registry::OptimizerKind;
use osculate_train::trainer::{Length, ScheduleKind, TrainerArgs, TrainerConfig, TrainerError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::task::{DigitsTask, Events, numbers};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    run: TrainerArgs,
    #[arg(long)]
    width: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Config {
    trainer: TrainerConfig,
    width: usize,
}

fn parse(flags: &str) -> Result<Cli, String> {
    Cli::try_parse_from(["program"].into_iter().chain(flags.split_whitespace()))
        .map_err(|error| error.to_string())
}

fn configure(flags: &str) -> Result<Config, TrainerError> {
    let cli = parse(flags).unwrap();
    let default = || Config {
        trainer: TrainerConfig::new(OptimizerKind::ADAMW),
        width: 8,
    };
    cli.run.configure(default, |config| {
        config.width = cli.width.unwrap_or(config.width);
        cli.run.apply(&mut config.trainer)
    })
}

#[test]
fn flags_reach_the_configuration() {
    let config = configure(
        "--optimizer soap --set beta_2=0.9 --set policy.non_finite=Error --lr 0.01 \
         --schedule one-cycle --warmup 0.2 --steps 70 --max-minutes 2 --max-gradients 500 \
         --accumulate 4 --clip-norm 1.5 --seed 11 --checkpoint-every 9 --sharpness-every 5 --width 3",
    )
    .unwrap();
    let trainer = &config.trainer;
    assert_eq!(config.width, 3);
    assert_eq!(trainer.optimizer.kind(), OptimizerKind::SOAP);
    assert_eq!(trainer.optimizer.settings()["beta_2"], json!(0.9));
    assert_eq!(
        trainer.optimizer.settings()["policy"]["non_finite"],
        json!("Error")
    );
    assert_eq!(trainer.lr, Some(0.01));
    assert_eq!(trainer.schedule.kind, ScheduleKind::OneCycle);
    assert_eq!(trainer.schedule.warmup, Some(0.2));
    assert_eq!(trainer.length, Length::Steps(70));
    assert_eq!(trainer.max_seconds, Some(120.0));
    assert_eq!(trainer.max_gradients, Some(500.0));
    assert_eq!(trainer.accumulate, 4);
    assert_eq!(trainer.clip_norm, Some(1.5));
    assert_eq!(trainer.seed, 11);
    assert_eq!(trainer.checkpoint_every, 9);
    assert_eq!(trainer.sharpness.every, 5);
}

#[test]
fn without_flags_the_default_stands_and_names_its_rate() {
    let config = configure("").unwrap();
    let mut default = TrainerConfig::new(OptimizerKind::ADAMW);
    default.lr = Some(OptimizerKind::ADAMW.learning_rate());
    assert_eq!(config.trainer, default);
    let soap = configure("--optimizer soap").unwrap();
    assert_eq!(soap.trainer.lr, Some(OptimizerKind::SOAP.learning_rate()));
}

#[test]
fn a_file_names_an_optimizer_and_flags_go_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("muon.toml");
    let text = "optimizer = \"muon\"\nlr = 0.05\n[settings]\nrest_lr = 0.5\n[settings.muon]\nmomentum = 0.8\n";
    std::fs::write(&path, text).unwrap();
    let file = format!("--optimizer-file {}", path.display());
    let config = configure(&format!("{file} --set muon.momentum=0.7")).unwrap();
    let recipe = &config.trainer.optimizer;
    assert_eq!(recipe.kind(), OptimizerKind::MUON);
    assert_eq!(recipe.settings()["rest_lr"], json!(0.5));
    assert_eq!(recipe.settings()["muon"]["momentum"], json!(0.7));
    assert_eq!(config.trainer.lr, Some(0.05));
    let clipped = configure(&format!("{file} --clip-norm 2")).unwrap();
    assert_eq!(clipped.trainer.clip_norm, Some(2.0));
}

#[test]
fn what_is_unknown_is_answered_with_what_is_known() {
    let Err(error) = parse("--optimizer abacus") else {
        panic!("accepted");
    };
    assert!(
        error.contains("abacus") && error.contains("psgd-kron"),
        "{error}"
    );
    let error = configure("--set betta=1").unwrap_err();
    assert!(matches!(error, TrainerError::Optimizer(_)), "{error}");
    assert!(
        error.to_string().contains("betta") && error.to_string().contains("beta_1"),
        "{error}"
    );
    let error = configure("--set beta_1").unwrap_err();
    assert!(error.to_string().contains("KEY=VALUE"), "{error}");
    for flags in [
        "--epochs 1 --steps 2",
        "--max-seconds 1 --max-minutes 1",
        "--resume --overwrite",
    ] {
        assert!(parse(flags).is_err(), "{flags}");
    }
}

#[test]
fn unreadable_configurations_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.json");
    let flags = format!("--config {}", path.display());
    let error = configure(&flags).unwrap_err();
    assert!(matches!(error, TrainerError::Config { .. }), "{error}");
    for wrong in ["", "{", "{\"trainer\": {}, \"width\": 3}"] {
        std::fs::write(&path, wrong).unwrap();
        let error = configure(&flags).unwrap_err().to_string();
        assert!(error.contains("other.json"), "{error}");
    }
    let error = configure(&format!("--resume --out {}", folder.path().display())).unwrap_err();
    assert!(
        matches!(error, TrainerError::NothingToResume { .. }),
        "{error}"
    );
}

#[test]
fn an_optimizer_goes_over_another_by_flag_and_file() {
    let config =
        configure("--optimizer sam(soap) --set rho=0.1 --set base.soap.beta_1=0.9").unwrap();
    let optimizer = &config.trainer.optimizer;
    assert_eq!(optimizer.to_string(), "sam(soap)");
    assert_eq!(optimizer.settings()["rho"], json!(0.1));
    assert_eq!(optimizer.settings()["base"]["soap"]["beta_1"], json!(0.9));
    assert_eq!(config.trainer.lr, Some(OptimizerKind::SOAP.learning_rate()));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ema.toml");
    std::fs::write(
        &path,
        "optimizer = \"ema(sam(soap))\"\n[settings]\ndecay = 0.9\n",
    )
    .unwrap();
    let flags = format!("--optimizer-file {}", path.display());
    let file = configure(&flags).unwrap();
    assert_eq!(file.trainer.optimizer.to_string(), "ema(sam(soap))");
    assert_eq!(file.trainer.optimizer.settings()["decay"], json!(0.9));

    // The same optimizer by name keeps the settings of a configuration, another does not.
    let saved = folder.path().join("config.json");
    std::fs::write(&saved, serde_json::to_string(&config).unwrap()).unwrap();
    let again = |name: &str| configure(&format!("--config {} --optimizer {name}", saved.display()));
    assert_eq!(again("sam(soap)").unwrap(), config);
    let other = again("sam(adamw)").unwrap();
    assert_eq!(other.trainer.optimizer.settings()["rho"], json!(0.05));

    for (name, part) in [
        ("soap(sam)", "goes over no other"),
        ("sam(soap", "not closed"),
    ] {
        let error = parse(&format!("--optimizer {name}")).err().unwrap();
        assert!(error.contains(part), "{name}: {error}");
    }
}

/// The first configurations of Muon have the policy among its own settings.
#[test]
fn a_policy_among_muons_settings_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let old = at("old.json");
    std::fs::write(&old, include_str!("../data/muon-with-policy.json")).unwrap();
    let old = format!("--config {}", old.display());
    let policy = configure(&old).unwrap().trainer.optimizer.build(0).unwrap();
    let policy = policy.policy();
    assert_eq!(
        (policy.clip_norm, policy.non_finite),
        (Some(0.5), NonFinitePolicy::Error)
    );

    let new = r#"--optimizer muon --set muon.momentum=0.9 --set rest={"sgd":{}} --set rest_lr=0.5
        --set policy.non_finite=Error --lr 0.02 --steps 4 --seed 3"#;
    let clipped = train(&old, &at("old")).unwrap();
    let set = format!("{new} --set policy.clip_norm=0.5");
    assert_eq!(clipped, train(&set, &at("new")).unwrap());
    // The flag goes before either.
    let harder = train(&format!("{old} --clip-norm 0.25"), &at("harder")).unwrap();
    assert_eq!(
        harder,
        train(&format!("{set} --clip-norm 0.25"), &at("set")).unwrap()
    );
    assert_ne!(harder, clipped);
}

fn train(flags: &str, out: &Path) -> Result<Vec<burn::tensor::TensorData>, TrainerError> {
    let flags = format!("{flags} --no-progress --out {}", out.display());
    let config = configure(&flags)?;
    let task = DigitsTask::new(Events::default());
    let run = parse(&flags).unwrap().run;
    let finished = run.trainer(&task, &config.trainer, &config)?.run()?;
    Ok(numbers(&finished.model))
}

/// A run repeated from another's `config.json`, and one resumed from its own without any flag, are
/// that run, although its numbers are no short decimals.
#[test]
fn a_configuration_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let flags = "--optimizer sophia-g --steps 9 --checkpoint-every 4 --lr 0.0012345678901234567 --clip-norm 0.9990000128746033";
    let first = train(flags, &at("a")).unwrap();
    let config = at("a").join("config.json");
    let again = train(&format!("--config {}", config.display()), &at("b")).unwrap();
    assert_eq!(again, first);
    assert_eq!(
        std::fs::read(&config).unwrap(),
        std::fs::read(at("b").join("config.json")).unwrap()
    );

    std::fs::remove_dir_all(at("a").join("checkpoints/step-000000009")).unwrap();
    assert_eq!(train("--resume", &at("a")).unwrap(), first);
    assert_eq!(
        train("--resume --max-seconds 1000 --checkpoint-every 2", &at("a")).unwrap(),
        first
    );
    let error = train("--resume --lr 0.1", &at("a")).unwrap_err();
    assert!(matches!(error, TrainerError::OtherConfig { .. }), "{error}");
    let error = train(flags, &at("a")).unwrap_err();
    assert!(matches!(error, TrainerError::OutputInUse { .. }), "{error}");
    assert_eq!(
        train(&format!("{flags} --overwrite"), &at("a")).unwrap(),
        first
    );
}
