//! A training under the strategy ends with the weights of a hand-written loop, bit for bit.

use crate::common::{Net, alone, assert_identical, device, learner, quiet, train_loader, weights};
use burn::module::Module;
use burn::optim::{AdamWConfig, SgdConfig};
use burn::tensor::Device;
use burn::train::TrainingStrategy;
use osculate_curvature::Objective;
use osculate_optim::{ClosureOptimizer, Driver, Sam, ShampooConfig, SophiaConfig};
use osculate_problems::digits::DigitsBatch;
use osculate_train::learner::{Osculate, SupervisedModel};

const EPOCHS: usize = 3;
const LR: f64 = 0.01;

/// What a user would write instead of a `Learner`.
fn by_hand(
    mut model: Net,
    mut optimizer: impl ClosureOptimizer<Net>,
    objective: impl Fn(&DigitsBatch) -> Box<dyn Objective<Net>>,
) -> Net {
    let loader = train_loader().to_device(&device());
    for _ in 0..EPOCHS {
        for batch in loader.iter() {
            let batch = batch.unwrap();
            let step = optimizer
                .step(LR, model, objective(&batch).as_ref())
                .unwrap();
            model = step.model;
        }
    }
    model.valid()
}

fn closure(batch: &DigitsBatch) -> Box<dyn Objective<Net>> {
    let batch = batch.clone();
    Box::new(move |net: &Net| net.classify(batch.clone()).loss)
}

fn in_learner(model: Net, strategy: impl Into<TrainingStrategy<Net>>) -> Net {
    let directory = tempfile::tempdir().unwrap();
    let result = quiet(directory.path(), EPOCHS)
        .with_training_strategy(strategy.into())
        .launch(learner(model, LR));
    assert!(result.error.is_none(), "{:?}", result.error);
    assert!(result.interrupted.is_none());
    result.model
}

fn moved(model: &Net) {
    let (before, after) = (weights(&Net::plain(&device())), weights(model));
    assert!(before[0].1.as_bytes() != after[0].1.as_bytes());
}

fn adamw() -> Driver {
    Driver::from(AdamWConfig::new().init())
}

#[test]
fn adamw_equals_the_hand_written_loop_and_burns_own() {
    let _alone = alone();
    let under_strategy = in_learner(Net::plain(&device()), Osculate::new(adamw()));
    moved(&under_strategy);
    assert_identical(
        &under_strategy,
        &by_hand(Net::plain(&device()), adamw(), closure),
    );
    let burns = in_learner(
        Net::plain(&device()),
        burn::train::ExecutionStrategy::single(device()),
    );
    assert_identical(&under_strategy, &burns);
}

/// Trains both ways.
fn check<O: ClosureOptimizer<Net> + 'static>(
    net: fn(&Device) -> Net,
    optimizer: impl Fn() -> O,
    strategy: fn(O) -> Osculate<Net>,
    objective: fn(&DigitsBatch) -> Box<dyn Objective<Net>>,
) {
    let under_strategy = in_learner(net(&device()), strategy(optimizer()));
    moved(&under_strategy);
    let by_hand = by_hand(net(&device()), optimizer(), objective);
    assert_identical(&under_strategy, &by_hand);
}

#[test]
fn sam_equals_the_hand_written_loop() {
    let _alone = alone();
    let base = || SgdConfig::new().init();
    let sam = || Sam::new(0.1).over(base()).unwrap();
    check(Net::plain, sam, Osculate::new, closure);
}

#[test]
fn dropout_and_batch_norm_see_one_mask_and_move_once() {
    let _alone = alone();
    let sam = || Sam::new(0.05).over(AdamWConfig::new().init()).unwrap();
    check(Net::noisy, sam, Osculate::new, closure);
}

#[test]
fn sophia_h_equals_the_hand_written_loop() {
    let _alone = alone();
    let sophia = || SophiaConfig::h().init().unwrap();
    check(Net::plain, sophia, Osculate::new, closure);
}

#[test]
fn sophia_h_with_exact_products_equals_the_hand_written_loop() {
    let _alone = alone();
    let sophia = || SophiaConfig::h().init().unwrap();
    check(Net::plain, sophia, Osculate::supervised, Net::supervised);
}

#[test]
fn sophia_g_equals_the_hand_written_loop() {
    let _alone = alone();
    let sophia = || SophiaConfig::g().init().unwrap();
    check(Net::plain, sophia, Osculate::supervised, Net::supervised);
}

#[test]
fn shampoo_equals_the_hand_written_loop() {
    let _alone = alone();
    let shampoo = || ShampooConfig::new().init().unwrap();
    check(Net::plain, shampoo, Osculate::new, closure);
}
