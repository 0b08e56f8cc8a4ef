//! Influence, unlearning and Laplace's approximation against the things themselves, on logistic
//! regression of handwritten digits.
//!
//! `cargo run --release -p influence`
#![allow(clippy::print_stdout, reason = "an example shows its results")]

use burn::nn::{Linear, LinearConfig};
use burn::tensor::{DType, Device, Int, Tensor};
use osculate::curvature::{
    Agreement, Criterion, CurvatureError, CurvatureOperator, DampedInverse, DensePosterior,
    DiagonalPosterior, GaussNewton, GradientOracle, LanczosConfig, LaplaceConfig, LowRankPosterior,
    ParamVec, Posterior, RemovalConfig, Shifted, SolveConfig, SupervisedBatch, assign,
    conjugate_gradient, dense_diagonal, fit_prior, influence, lanczos, leave_one_out,
    output_jacobian, predictive_covariance, probit, removal_step, sample_gradients,
};
use osculate_problems::digits::{CLASSES, Digits, PIXELS};
use osculate_problems::modules::cast;

/// Number of training images.
const COUNT: usize = 200;
/// Decay of the mean loss.
const DECAY: f64 = 0.01;

type Task = SupervisedBatch<Tensor<2>, fn(&Linear, &Tensor<2>) -> Tensor<2>>;

fn task(images: Tensor<2>, labels: Tensor<1, Int>) -> Task {
    let forward: fn(&Linear, &Tensor<2>) -> Tensor<2> = |model, x| model.forward(x.clone());
    SupervisedBatch::new(images, forward, Criterion::cross_entropy(labels))
}

/// Images and labels of the training set at these positions.
fn rows(positions: &[usize], device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
    let digits = Digits::load().unwrap_or_else(|error| panic!("{error}"));
    let batch = digits.train().batch(positions, device);
    (batch.images.cast(DType::F64), batch.labels)
}

fn tight(damping: f64) -> SolveConfig {
    SolveConfig {
        damping,
        tolerance: 1e-8,
        steps: 600,
        ..SolveConfig::default()
    }
}

/// Newton's method on `share · mean loss + decay/2 |θ|²`. For logits that are linear in the weights
/// the Gauss-Newton matrix is the Hessian.
fn train(mut model: Linear, task: &Task, share: f64) -> Result<Linear, CurvatureError> {
    for _ in 0..20 {
        let oracle = GradientOracle::new(&model, task);
        let weights = oracle.parameters()?.clone();
        let gradient = oracle.clean()?.gradient.scale(share).axpy(DECAY, &weights);
        if gradient.norm() < 1e-9 {
            break;
        }
        // `(share G + decay) d = g`, divided by the share.
        let right = gradient.scale(1.0 / share);
        let operator = GaussNewton::new(&oracle)?;
        let step = conjugate_gradient(&operator, &right, None, &tight(DECAY / share))?.solved()?;
        drop(operator);
        model = assign(model, &weights.sub(&step));
    }
    Ok(model)
}

fn loss(model: &Linear, task: &Task) -> Result<f64, CurvatureError> {
    let loss = GradientOracle::new(model, task).clean()?.loss.clone();
    Ok(loss.into_data().iter::<f64>().sum())
}

fn without(removed: &[usize]) -> Vec<usize> {
    (0..COUNT)
        .filter(|position| !removed.contains(position))
        .collect()
}

fn main() -> Result<(), CurvatureError> {
    let device = Device::flex().autodiff();
    device.seed(3);
    let fresh: Linear = cast(LinearConfig::new(PIXELS, CLASSES).init(&device), DType::F64);
    let all: Vec<usize> = (0..COUNT).collect();
    let (images, labels) = rows(&all, &device);
    let whole = task(images, labels);
    let model = train(fresh, &whole, 1.0)?;
    let oracle = GradientOracle::new(&model, &whole);
    let hessian = Shifted::new(GaussNewton::new(&oracle)?, DECAY);
    println!(
        "{COUNT} images, {} parameters",
        hessian.layout().num_elements()
    );

    // The query: an image of the training file that was not trained on.
    let (image, label) = rows(&[COUNT + 17], &device);
    let query = task(image, label);
    let towards = GradientOracle::new(&model, &query)
        .clean()?
        .gradient
        .clone();
    let gradients = sample_gradients(&oracle, &all)?;
    let inverse = DampedInverse::new(&hessian, tight(0.0))?;
    let found = influence(&inverse, &towards, &gradients, COUNT)?;
    let order = found.ranking();
    let chosen: Vec<usize> = order[..5]
        .iter()
        .chain(&order[COUNT - 5..])
        .copied()
        .collect();
    let share = (COUNT - 1) as f64 / COUNT as f64;
    let mut newton = Vec::new();
    let check = leave_one_out(&found.scores, &chosen, loss(&model, &query)?, |sample| {
        let (images, labels) = rows(&without(&[sample]), &device);
        let retrained = train(model.clone(), &task(images, labels), share)?;
        let step = removed(&model, &hessian, &[sample], &gradients, &device)?;
        let moved = assign(model.clone(), &oracle.parameters()?.add(&step));
        newton.push(loss(&moved, &query)? - loss(&model, &query)?);
        loss(&retrained, &query)
    })?;
    println!("\nleaving one out: first order {:?}", check.agreement);
    println!(
        "leaving one out: Newton step and one forward pass {:?}",
        Agreement::between(&newton, &check.measured)?
    );
    for (index, sample) in chosen.iter().enumerate() {
        println!(
            "sample {sample:>3}: first order {:+.6}, Newton {:+.6}, retrained {:+.6}",
            check.predicted[index], newton[index], check.measured[index]
        );
    }
    assert!(check.agreement.spearman >= 0.9);

    // Unlearning one image in twenty.
    let forgotten: Vec<usize> = (0..COUNT).step_by(20).collect();
    let (kept_images, kept_labels) = rows(&without(&forgotten), &device);
    let kept = task(kept_images, kept_labels);
    let (gone_images, gone_labels) = rows(&forgotten, &device);
    let gone = task(gone_images, gone_labels);
    let share = 1.0 - forgotten.len() as f64 / COUNT as f64;
    let retrained = train(model.clone(), &kept, share)?;
    let step = removed(&model, &hessian, &forgotten, &gradients, &device)?;
    let weights = oracle.parameters()?;
    let exact = ParamVec::of_module(&retrained, weights.layout()).sub(weights);
    let unlearnt = assign(model.clone(), &weights.add(&step));
    let error = step.sub(&exact).norm() / exact.norm();
    println!(
        "\nunlearning {} images: distance to retrained {error:.3} of the change",
        forgotten.len()
    );
    for (name, model) in [
        ("trained", &model),
        ("unlearnt", &unlearnt),
        ("retrained", &retrained),
    ] {
        println!(
            "{name:>10}: loss of removed {:.4}, of kept {:.4}",
            loss(model, &gone)?,
            loss(model, &kept)?
        );
    }
    assert!(error < 0.5);

    laplace(&model, &whole, &device)
}

/// The Newton step that removes these samples.
fn removed(
    model: &Linear,
    hessian: &dyn CurvatureOperator,
    samples: &[usize],
    gradients: &[ParamVec],
    device: &Device,
) -> Result<ParamVec, CurvatureError> {
    let (images, labels) = rows(samples, device);
    let own = task(images, labels);
    let oracle = GradientOracle::new(model, &own);
    let part = 1.0 / samples.len() as f64;
    let zero = gradients[0].scale(0.0);
    let mean = samples
        .iter()
        .fold(zero, |sum, index| sum.axpy(part, &gradients[*index]));
    let config = RemovalConfig {
        share: samples.len() as f64 / COUNT as f64,
        solve: tight(0.0),
    };
    removal_step(hessian, &GaussNewton::new(&oracle)?, &mean, &config)?.solved()
}

/// Test likelihood with and without the uncertainty of the weights, and variances off the data.
fn laplace(model: &Linear, whole: &Task, device: &Device) -> Result<(), CurvatureError> {
    let oracle = GradientOracle::new(model, whole);
    let operator = GaussNewton::new(&oracle)?;
    let config = LaplaceConfig {
        scale: COUNT as f64,
        prior_precision: COUNT as f64 * DECAY,
    };
    let dense = DensePosterior::new(&operator, &config)?;
    let diagonal = DiagonalPosterior::new(&dense_diagonal(&operator)?, &config)?;
    let top = LanczosConfig {
        largest: 20,
        steps: 120,
        ..LanczosConfig::default()
    };
    let top = lanczos(&operator, &top)?.largest;
    let low = LowRankPosterior::new(operator.layout(), &top, &config)?;

    let digits = Digits::load().unwrap_or_else(|error| panic!("{error}"));
    let positions: Vec<usize> = (0..60).collect();
    let batch = digits.test().batch(&positions, device);
    let (images, labels) = (batch.images.cast(DType::F64), batch.labels);
    let truth: Vec<usize> = labels
        .to_data()
        .iter::<i64>()
        .map(|label| label as usize)
        .collect();
    let test = task(images.clone(), labels.clone());
    let negative = task(images.neg() + 1.0, labels);
    let test = GradientOracle::new(model, &test);
    let negative = GradientOracle::new(model, &negative);
    let outputs: Vec<f64> = test.outputs_at(None)?.to_data().iter::<f64>().collect();
    println!(
        "\nLaplace, {} test images: log loss, mean variance of logits, of negatives",
        truth.len()
    );
    let mut spread = Vec::new();
    let posteriors: [(&str, &dyn Posterior); 3] = [
        ("dense", &dense),
        ("diagonal", &diagonal),
        ("rank 20", &low),
    ];
    for (name, posterior) in posteriors {
        let (mut moderated, mut plain, mut inside, mut outside) = (0.0, 0.0, 0.0, 0.0);
        for (row, &label) in truth.iter().enumerate() {
            let logits = &outputs[row * CLASSES..(row + 1) * CLASSES];
            let variances = variances(posterior, &test, row)?;
            let n = truth.len() as f64;
            moderated -= probit(logits, &variances)?[label].ln() / n;
            plain -= probit(logits, &[0.0; CLASSES])?[label].ln() / n;
            let width = (CLASSES * truth.len()) as f64;
            inside += variances.iter().sum::<f64>() / width;
            if row < 20 {
                let off = self::variances(posterior, &negative, row)?;
                outside += off.iter().sum::<f64>() / (20 * CLASSES) as f64;
            }
        }
        println!("{name:>10}: {moderated:.4} (without {plain:.4}), {inside:.3}, {outside:.3}");
        assert!(outside > inside);
        spread.push(inside);
    }
    // Directions that the low rank drops have the whole variance of the prior.
    assert!(spread[2] > spread[0]);

    // Which prior the data want, at these weights.
    let eigenvalues = dense.eigenvalues()?;
    let determinant = |tau: f64| eigenvalues.iter().map(|x| (x / tau).ln_1p()).sum::<f64>();
    let weights = oracle.parameters()?;
    let likelihood = -(COUNT as f64) * loss(model, whole)?;
    let fit = fit_prior(determinant, likelihood, weights.dot(weights), (1e-3, 1e4))?;
    println!(
        "prior precision {:.2} in training, {:.2} by the evidence ({:.1})",
        config.prior_precision, fit.prior_precision, fit.log_evidence
    );
    assert!(fit.interior);
    Ok(())
}

fn variances(
    posterior: &dyn Posterior,
    oracle: &GradientOracle<'_, Linear>,
    row: usize,
) -> Result<Vec<f64>, CurvatureError> {
    let jacobian = output_jacobian(oracle, row)?;
    let covariance = predictive_covariance(posterior, &jacobian)?;
    Ok((0..CLASSES).map(|class| covariance[class][class]).collect())
}
