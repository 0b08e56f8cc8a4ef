//! The rate from the noise of batches, and the Hessian-free one, against a sweep.

use osculate::curvature::{GradientOracle, RateEstimate};
use osculate::optim::RangeTest;
use osculate::prelude::ClosureOptimizer;
use osculate_bench::entrant::Entrant;
use osculate_bench::error::BenchError;
use osculate_bench::report::Grid;
use osculate_bench::stats::mean;
use osculate_bench::trial::{RatesSpec, Trainer, Trial, TrialSpec};
use osculate_bench::workload::{Workload, WorkloadError};
use osculate_problems::modules::Mlp;

use crate::runs::{Context, end, lattice, rate};
use crate::workloads::SizedBatches;

const SEEDS: u64 = 3;
const STEPS: usize = 200;
/// The smallest batch, and the others over it.
const UNIT: usize = 2;
const TIMES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Rates of the sweeps, a factor of the root of two apart.
const RATES: usize = 17;
/// Steps of the Hessian-free estimate, and the rate of its walk.
const WALK: usize = 30;
const WALKING: f64 = 0.05;

pub fn run(context: &Context) -> Result<(), BenchError> {
    let sgd: Entrant = "sgd".parse()?;
    let sgd = sgd.with_settings(["momentum=null"])?;
    let adam: Entrant = "adam".parse()?;
    let smallest = sized(1)?;
    let noise = {
        let spec = RatesSpec {
            entrant: sgd.clone(),
            test: RangeTest::new().with_steps(2),
            seed: 0,
            noise: true,
        };
        let trainer: &dyn Trainer = &smallest;
        trainer.rates(&spec, &context.device)?.noise
    };
    let Some(noise) = noise else { return Ok(()) };
    let mut grid = Grid::new([
        "batch",
        "2 / sharpness",
        "largest that trains",
        "best for SGD",
        "Hessian-free",
        "best for Adam",
    ]);
    let mut best = Vec::new();
    for times in TIMES {
        let workload = sized(times)?;
        let swept = sweep(context, &workload, &sgd, lattice(0.0625, 16.0, RATES))?;
        let adams = sweep(context, &workload, &adam, lattice(0.0005, 0.128, RATES))?;
        best.push(Best {
            batch: workload.size,
            rule: noise.sgd(times),
            largest: swept.largest,
            sgd: swept.best,
            adam: adams.best,
        });
        grid.rows.push(vec![
            workload.size.to_string(),
            rate(noise.sgd(times)),
            rate(swept.largest),
            rate(swept.best),
            rate(hessian_free(context, &workload, &sgd)?),
            format!("{:.4}", adams.best),
        ]);
    }
    context.out.tell(format_args!(
        "Digits, MLP 64-64-10, constant rates, {STEPS} steps. Sharpness at the first weights of seed 0: true {:.2}, \
         noise over it from the batch of {:.0} down. Sweeps: {} seeds, rates a factor of 1.41 apart; a rate trains \
         where the loss of all images has fallen with each seed, and is best where it ends least.",
        noise.sharpness(),
        noise.saturation() * UNIT as f64,
        context.seeds(SEEDS).count(),
    ));
    context.show(&grid);
    let exponent = |rate: fn(&Best) -> f64| {
        let points = best
            .iter()
            .map(|best| ((best.batch as f64).ln(), rate(best).ln()));
        slope(&points.collect::<Vec<_>>())
    };
    context.out.tell(format_args!(
        "Over all batch sizes the batch to the power {:.2} fits the rule's rates, {:.2} the largest that train, {:.2} \
         SGD's best and {:.2} Adam's best.",
        exponent(|best| best.rule),
        exponent(|best| best.largest),
        exponent(|best| best.sgd),
        exponent(|best| best.adam),
    ));
    Ok(())
}

/// Rates for a batch size.
struct Best {
    batch: usize,
    rule: f64,
    largest: f64,
    sgd: f64,
    adam: f64,
}

/// Of the line through some points that misses them least.
fn slope(points: &[(f64, f64)]) -> f64 {
    let middle =
        |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
    let (x, y) = (middle(|point| point.0), middle(|point| point.1));
    let along: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    along
        / points
            .iter()
            .map(|point| (point.0 - x).powi(2))
            .sum::<f64>()
}

fn sized(times: usize) -> Result<SizedBatches, BenchError> {
    SizedBatches::new(UNIT * times).map_err(failed)
}

fn failed(source: WorkloadError) -> BenchError {
    BenchError::Workload {
        name: "digits".to_string(),
        source,
    }
}

struct Swept {
    largest: f64,
    best: f64,
}

fn sweep(
    context: &Context,
    trainer: &dyn Trainer,
    entrant: &Entrant,
    rates: Vec<f64>,
) -> Result<Swept, BenchError> {
    let name = trainer.about().name;
    let specs: Vec<TrialSpec> = rates
        .iter()
        .flat_map(|lr| {
            let mut spec = TrialSpec::new(&name, entrant.clone(), *lr, STEPS);
            spec.measurements = 1;
            context.with_seeds(&spec, SEEDS)
        })
        .collect();
    let trials = context.runs(trainer, &specs)?;
    let runs = rates
        .iter()
        .zip(trials.chunks(context.seeds(SEEDS).count()));
    let trained = runs.filter(|(_, trials)| trials.iter().all(has_fallen));
    let trained: Vec<(f64, f64)> = trained
        .filter_map(|(lr, trials)| {
            let ends: Vec<f64> = trials.iter().filter_map(end).collect();
            Some((*lr, mean(&ends)?))
        })
        .collect();
    let best = trained.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    Ok(Swept {
        largest: trained.last().map_or(f64::NAN, |(lr, _)| *lr),
        best: best.map_or(f64::NAN, |(lr, _)| *lr),
    })
}

fn has_fallen(trial: &Trial) -> bool {
    let first = trial.points.first().and_then(|point| point.metric);
    end(trial)
        .zip(first)
        .is_some_and(|(last, first)| last < first)
}

/// The estimate at the end of a short walk of plain SGD, both gradients of a step on its batch.
fn hessian_free(
    context: &Context,
    workload: &SizedBatches,
    sgd: &Entrant,
) -> Result<f64, BenchError> {
    let device = context.device.clone().autodiff();
    let mut model = workload.model(0, &device).map_err(failed)?;
    let mut optimizer = sgd.make::<Mlp>(0)?;
    let mut estimate = RateEstimate::new();
    for step in 0..WALK {
        let batch = workload.batch(0, step, &device).map_err(failed)?;
        let oracle = GradientOracle::new(&model, batch.as_ref());
        let before = oracle.clean()?.gradient.clone();
        let moved = before.scale(-WALKING);
        let after = oracle.evaluate_at(&moved, 1.0)?.gradient;
        estimate.observe(&moved, &after.sub(&before))?;
        let made = optimizer.step(WALKING, model, batch.as_ref());
        let made = made.map_err(|error| BenchError::Step {
            optimizer: sgd.label.clone(),
            message: error.cause.to_string(),
        })?;
        model = made.model;
    }
    Ok(estimate.rate())
}
