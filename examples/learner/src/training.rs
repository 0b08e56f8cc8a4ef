//! The training.

use std::error::Error;
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::optim::SgdConfig;
use burn::tensor::Device;
use burn::train::metric::{AccuracyMetric, LearningRateMetric, LossMetric};
use burn::train::{Interrupter, Learner, LearningResult, SupervisedTraining};
use osculate::optim::registry::words_of;
use osculate::prelude::*;
use osculate_program::{Interrupt, Output};

use crate::args::Args;
use crate::data::Loaders;
use crate::mistake::Mistake;
use crate::model::Net;
use crate::plain::Plain;

/// What the dashboard shows of every step, beside burn's own metrics.
const SHOWN: [Quantity; 6] = [
    Quantity::Sharpness,
    Quantity::Trace,
    Quantity::WinRate,
    Quantity::CurvatureAge,
    Quantity::SkippedParameters,
    Quantity::GradientEvaluations,
];

pub fn train(
    args: &Args,
    device: &Device,
    interrupt: &Interrupt,
    out: &Output,
) -> Result<LearningResult<Net>, Box<dyn Error>> {
    let recipe = recipe(args)?;
    let loaders = Loaders::new(usize::from(args.batch_size), args.seed)?;
    let batches = loaders
        .train
        .num_items()
        .div_ceil(usize::from(args.batch_size));
    let peak = args.lr.unwrap_or(recipe.learning_rate());
    let steps = (args.epochs * batches).max(1);
    let schedule = CosineAnnealingLrSchedulerConfig::new(peak, steps)
        .init()
        .map_err(Mistake::new)?;

    let directory = args.directory();
    let checkpoints = Checkpoints::new(directory.join("checkpoint"));
    let from = starting_point(args, &checkpoints, &directory, out)?;

    // Any optimizer of osculate or burn: the line that changes.
    let optimizer = recipe.make::<Net>(args.seed)?;

    let mut strategy = Osculate::supervised(optimizer).with_checkpoints(&checkpoints);
    if args.curvature > 0 {
        strategy = strategy.with_curvature(CurvatureProbe::every(args.curvature));
    }
    let monitor = strategy.monitor();
    let mut training = SupervisedTraining::new(&directory, loaders.train, loaders.test)
        .num_epochs(args.epochs)
        .metrics((LossMetric::new(), AccuracyMetric::new()))
        .metric_train_numeric(LearningRateMetric::new())
        .with_custom_checkpointers(
            checkpoints.model(),
            checkpoints.optimizer(),
            checkpoints.scheduler(),
        )
        .with_training_strategy(strategy.into())
        .summary();
    for quantity in SHOWN {
        training = training.metric_train_numeric(monitor.metric(quantity));
    }
    if args.plain || !std::io::stdout().is_terminal() {
        training = training.renderer(Box::new(Plain::default()));
    }
    if let Some(epoch) = from {
        training = training.checkpoint(epoch);
    }

    stop_on(interrupt.clone(), training.interrupter());
    let training_device = device.clone().autodiff();
    training_device.seed(args.seed);
    let model = Net::new(&training_device);
    // The strategy's optimizer makes the steps; burn asks for one all the same.
    let result = training.launch(Learner::new(model, SgdConfig::new().init(), schedule));
    match monitor.error() {
        Some(error) => Err(error.into()),
        None => Ok(result),
    }
}

/// Stops the training after the batch under way once the end is asked for.
fn stop_on(interrupt: Interrupt, training: Interrupter) {
    std::thread::spawn(move || {
        while !interrupt.is_set() {
            std::thread::sleep(Duration::from_millis(50));
        }
        training.stop(Some("a signal asked for the end"));
    });
}

fn recipe(args: &Args) -> Result<OptimizerSpec, Box<dyn Error>> {
    if let Some(text) = &args.settings {
        let settings = serde_json::from_str(text);
        let words = settings.map_or(vec!["KEY=VALUE".to_string()], |settings| {
            words_of(&settings)
        });
        let words = words.join(" --set ");
        return Err(Mistake::new(format!("there is no --settings: write --set {words}")).into());
    }
    Ok(args
        .optimizer
        .clone()
        .with_overrides(&settings_of(&args.set)?)?)
}

/// The checkpoint to go on from. A folder that has some is not written over.
fn starting_point(
    args: &Args,
    checkpoints: &Checkpoints,
    directory: &Path,
    out: &Output,
) -> Result<Option<usize>, Box<dyn Error>> {
    let found = checkpoints.latest()?;
    let directory = directory.display();
    match (found, args.resume) {
        (Some(found), true) => {
            out.say(format_args!("going on from {found}"));
            Ok(Some(found.epoch))
        }
        (Some(found), false) => Err(Mistake::new(format!(
            "{directory} holds a training up to epoch {}: add --resume to go on with it, or choose \
             another folder with --dir",
            found.epoch
        ))
        .into()),
        (None, true) => {
            let nothing = format!("{directory} holds no checkpoint to resume from");
            Err(Mistake::new(nothing).into())
        }
        (None, false) => Ok(None),
    }
}
