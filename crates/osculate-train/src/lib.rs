//! Training with osculate: optimizers that evaluate a loss several times a step, in burn's `Learner` and in a loop of
//! their own whose runs resume bit for bit.
//!
//! | to | there is |
//! |---|---|
//! | train any model under burn's `Learner` | [`learner::Osculate`], a training strategy |
//! | train on several devices, or in burn's own loops | [`learner::InStep`], a wrapper of the model |
//! | save and restore the optimizer's state there | [`learner::Checkpoints`] |
//! | see what the steps do, as metrics of the dashboard | [`learner::Monitor`] with a [`learner::Quantity`] |
//! | measure curvature along the way | [`learner::CurvatureProbe`] |
//! | give methods the model's outputs | [`learner::SupervisedModel`] |
//! | write a program with data of one's own | [`trainer::Task`], run by a [`trainer::Trainer`] |
//! | give it the usual flags and a file of settings | [`trainer::TrainerArgs`] and [`trainer::TrainerConfig`] |
//! | read its log | [`trainer::Line`] |
//!
//! Either fails with one error type, [`learner::LearnerError`] or [`trainer::TrainerError`], whose sentence names the
//! file, the value and what was expected.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod idle;
pub mod learner;
pub mod trainer;
