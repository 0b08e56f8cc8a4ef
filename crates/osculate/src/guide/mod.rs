//! How to choose, compose and extend the optimizers: one page for each task, with examples that run.
//!
//! | to | read |
//! |---|---|
//! | choose an optimizer | [`choosing`] |
//! | give parts of a model other settings | [`groups`] |
//! | put optimizers over each other | [`composing`] |
//! | save a training and go on with it | [`resuming`] |
//! | train fast without a GPU | [`fast_on_a_cpu`] |
//! | add a rule that works on blocks of parameters | [`block_rule`] |
//! | add a rule that sees the whole model | [`vector_rule`] |
//! | add a place at which the gradient is taken | [`gradient_source`] |
//! | add an estimator of curvature | [`estimator`] |
//! | add a workload to the benchmark | the page of `osculate_bench::workload`, which has a whole one |
//! | add a rule for exact derivatives | the page `osculate_jvp::guide` |
//!
//! The last two are in the crates that they are about, on which this one does not depend.

pub mod block_rule;
pub mod choosing;
pub mod composing;
pub mod estimator;
pub mod fast_on_a_cpu;
pub mod gradient_source;
pub mod groups;
pub mod resuming;
pub mod vector_rule;
