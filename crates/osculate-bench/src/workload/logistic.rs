use std::sync::OnceLock;

use burn::tensor::Device;
use faer::Mat;
use faer::linalg::solvers::Solve;
use osculate::prelude::Objective;
use osculate_problems::closed_form::{ClosedForm, LogisticRegression, VectorPoint};

use super::closed_form::{gap, objective, start};
use super::{About, Metric, Workload, WorkloadError};

/// Logistic regression on features whose scales spread over three decades.
#[derive(Debug, Clone, Copy)]
pub struct Logistic;

/// Size of the noise that a seed adds to the start, which is the origin.
const NOISE: f64 = 0.5;
/// Newton steps to the minimum; it converges in far fewer.
const NEWTON_STEPS: usize = 100;

/// The problem and its least loss.
struct Solved {
    problem: LogisticRegression,
    least: f64,
}

fn solved() -> Result<&'static Solved, WorkloadError> {
    static SOLVED: OnceLock<Result<Solved, WorkloadError>> = OnceLock::new();
    SOLVED
        .get_or_init(|| {
            let problem =
                LogisticRegression::new(500, 30, 1e3, 1e-6, 0).map_err(WorkloadError::new)?;
            let least = least(&problem);
            Ok(Solved { problem, least })
        })
        .as_ref()
        .map_err(Clone::clone)
}

/// The least loss, by Newton's method with halved steps: the loss is strictly convex.
fn least(problem: &LogisticRegression) -> f64 {
    let mut x = problem.start();
    let mut loss = problem.loss(&x);
    for _ in 0..NEWTON_STEPS {
        let hessian = problem.hessian(&x);
        let n = problem.dim();
        let hessian = Mat::from_fn(n, n, |i, j| hessian.get(i, j));
        let gradient = problem.gradient(&x);
        let step = Mat::from_fn(n, 1, |i, _| gradient[i]);
        let step = hessian.partial_piv_lu().solve(&step);
        let tried = (0..40)
            .map(|halvings| 0.5_f64.powi(halvings))
            .find_map(|part| {
                let there: Vec<f64> = (0..n).map(|i| x[i] - part * step[(i, 0)]).collect();
                let loss_there = problem.loss(&there);
                (loss_there < loss).then_some((there, loss_there))
            });
        match tried {
            Some((there, loss_there)) => (x, loss) = (there, loss_there),
            None => break,
        }
    }
    loss
}

impl Workload for Logistic {
    type Model = VectorPoint;

    fn about(&self) -> About {
        About::new(
            "logistic",
            "Logistic regression, 30 features over three decades of scale",
            Metric::loss("loss above the minimum"),
            600,
        )
        .because("convex and badly scaled: rewards invariance to the scale of each weight")
        .on("500 random rows, one label in ten flipped, all in one batch; every seed starts elsewhere")
    }

    fn model(&self, seed: u64, device: &Device) -> Result<VectorPoint, WorkloadError> {
        Ok(start(&solved()?.problem, NOISE, seed, device))
    }

    fn batch(
        &self,
        _seed: u64,
        _step: usize,
        _device: &Device,
    ) -> Result<Box<dyn Objective<VectorPoint>>, WorkloadError> {
        Ok(objective(&solved()?.problem))
    }

    fn measure(&self, point: &VectorPoint, _device: &Device) -> Result<f64, WorkloadError> {
        let solved = solved()?;
        gap(&solved.problem, point, solved.least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loss_is_a_minimum() {
        let solved = solved().unwrap();
        let start = solved.problem.start();
        assert!(solved.least < solved.problem.loss(&start));
        // The loss is convex: nothing below the minimum on the way down the gradient from the start.
        let gradient = solved.problem.gradient(&start);
        for rate in [1e-3, 1e-1, 1.0, 10.0] {
            let there: Vec<f64> = start
                .iter()
                .zip(&gradient)
                .map(|(x, g)| x - rate * g)
                .collect();
            assert!(solved.problem.loss(&there) > solved.least);
        }
    }
}
