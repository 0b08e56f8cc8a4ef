use std::error::Error;

use burn::tensor::{DType, Device};
use osculate_problems::closed_form::{MatrixFactorisation, RotatedQuadratic, TensorProblem};

use crate::entrant::{Entrant, Shape};

/// Learning rates of every method.
const RATES: [f64; 7] = [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0];
/// Most steps of a run.
const LIMIT: usize = 3000;
/// The part of the first loss that is the target.
const TARGET: f64 = 1e-5;

/// Steps to the target on a rotated quadratic.
pub fn quadratic(methods: &[Entrant], device: &Device) -> Result<(), Box<dyn Error>> {
    let problem = RotatedQuadratic::new(20, 1e6, 0)?;
    let shape = Shape {
        dense_vectors: true,
        rest_lr: 1.0,
    };
    study(&problem, methods, shape, device)
}

/// Steps to the target on a factorisation.
pub fn factorisation(methods: &[Entrant], device: &Device) -> Result<(), Box<dyn Error>> {
    let problem = MatrixFactorisation::new(20, 15, 3, 0)?;
    let shape = Shape {
        dense_vectors: false,
        rest_lr: 1.0,
    };
    study(&problem, methods, shape, device)
}

fn study<P: TensorProblem>(
    problem: &P,
    methods: &[Entrant],
    shape: Shape,
    device: &Device,
) -> Result<(), Box<dyn Error>> {
    println!(
        "{}: steps until the loss is {TARGET:e} of the first, at most {LIMIT}; f64, constant rates",
        problem.name()
    );
    for &method in methods {
        let mut best: Option<(usize, f64)> = None;
        let mut all = Vec::new();
        for lr in RATES {
            let steps = steps_to_target(problem, method, shape, lr, device)?;
            all.push(steps.map_or("-".to_string(), |steps| steps.to_string()));
            if let Some(steps) = steps
                && best.is_none_or(|(least, _)| steps < least)
            {
                best = Some((steps, lr));
            }
        }
        let best = best.map_or("not reached".to_string(), |(steps, lr)| {
            format!("{steps} at {lr}")
        });
        println!(
            "{:18} {best:18} (by rate: {})",
            method.name(),
            all.join(" ")
        );
    }
    Ok(())
}

fn steps_to_target<P: TensorProblem>(
    problem: &P,
    method: Entrant,
    shape: Shape,
    lr: f64,
    device: &Device,
) -> Result<Option<usize>, Box<dyn Error>> {
    let mut optimizer = method.make::<P::Point>(shape)?;
    let mut point = problem.point(&problem.start(), device, DType::F64);
    let first = problem.loss(&problem.start());
    let objective = |point: &P::Point| problem.tensor_loss(point);
    for step in 0..LIMIT {
        let made = optimizer.step(lr, point, &objective).map_err(|e| e.cause)?;
        let loss = made.report.loss();
        if loss <= TARGET * first {
            return Ok(Some(step));
        }
        if !loss.is_finite() || loss > 1e6 * first {
            return Ok(None);
        }
        point = made.model;
    }
    Ok(None)
}
