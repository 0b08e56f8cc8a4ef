//! Loops of optimizer steps, each step from the model of the one before: burn's own, and that of a closure optimizer.

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use osculate_curvature::Objective;
use osculate_optim::ClosureOptimizer;

/// How many steps a unit of work makes, at which rate.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Steps of a unit.
    pub steps: usize,
    /// Learning rate.
    pub lr: f64,
}

/// Steps in burn's own loop, without any of this project's code but the objective.
pub fn burn_loop<'a, M: Module>(
    pace: Pace,
    mut optimizer: ModuleOptimizer,
    model: &M,
    objective: &'a dyn Objective<M>,
) -> impl FnMut() + use<'a, M> {
    units(pace, model, move |model| {
        let loss = objective.loss(&model).expect("a loss");
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        optimizer.step(pace.lr, model, gradients)
    })
}

/// Steps of a closure optimizer.
pub fn closure_loop<'a, M: Module, O: ClosureOptimizer<M>>(
    pace: Pace,
    mut optimizer: O,
    model: &M,
    objective: &'a dyn Objective<M>,
) -> impl FnMut() + use<'a, M, O> {
    units(pace, model, move |model| {
        let step = optimizer.step(pace.lr, model, objective);
        step.expect("a step").model
    })
}

fn units<M: Module, F: FnMut(M) -> M>(
    pace: Pace,
    model: &M,
    mut step: F,
) -> impl FnMut() + use<M, F> {
    let mut model = Some(model.clone());
    move || {
        for _ in 0..pace.steps {
            model = model.take().map(&mut step);
        }
    }
}
