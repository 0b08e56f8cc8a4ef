use burn::module::Module;
use osculate_curvature::{
    CurvatureError, CurvatureOperator, GaussNewton, GradientOracle, Hessian, HessianConfig,
    HutchinsonConfig, HvpMode, Objective, PowerIterationConfig, hutchinson_trace, power_iteration,
};

/// When and how finely the curvature is measured along a training, for
/// [`Quantity::Sharpness`](super::Quantity::Sharpness) and [`Quantity::Trace`](super::Quantity::Trace).
///
/// Measured is the batch of the step, the first where batches are accumulated, at the weights after it: the Gauss-Newton matrix for a
/// [`SupervisedModel`](super::SupervisedModel), the Hessian by finite differences for any other. On networks with kinks
/// (ReLU, max pooling) the Hessian by finite differences is that of a smoothed loss, and its trace
/// can be several times larger than the Gauss-Newton matrix's.
///
/// - Cost of a measurement: about `2 (iterations + probes)` gradient evaluations.
/// - The weights, the optimizer and the noise of its steps are not touched. The device's random generator
///   goes on from another seed: batches that draw augmentations on the device differ from those of a
///   training without a probe.
/// - A measurement that fails is left out, with a `tracing` warning; training goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurvatureProbe {
    /// Steps between two measurements, the first at the first step. Values below 1 count as 1.
    pub every: usize,
    /// Power iterations for the sharpness. Default 10: two digits where the two largest eigenvalues
    /// are well apart.
    pub iterations: usize,
    /// Random probes for the trace. Default 4.
    pub probes: usize,
    /// Seed of the starting vector and the probes. Default 0.
    pub seed: u64,
}

impl CurvatureProbe {
    /// A measurement every so many steps.
    pub fn every(steps: usize) -> Self {
        Self {
            every: steps,
            iterations: 10,
            probes: 4,
            seed: 0,
        }
    }

    pub(super) fn due(&self, step: usize) -> bool {
        step.is_multiple_of(self.every.max(1))
    }

    /// Sharpness and trace at a model's weights.
    pub(super) fn measure<M: Module>(
        &self,
        model: &M,
        objective: &dyn Objective<M>,
    ) -> Result<(f64, f64), CurvatureError> {
        let oracle = GradientOracle::new(model, objective).with_seed(self.seed);
        let operator: Box<dyn CurvatureOperator + '_> = if objective.supervised().is_some() {
            Box::new(GaussNewton::new(&oracle)?)
        } else {
            // A training step cannot be recorded: there is nothing to try, and nothing to warn of.
            let config = HessianConfig {
                mode: HvpMode::FiniteDifference,
                ..HessianConfig::default()
            };
            Box::new(Hessian::with_config(&oracle, config)?)
        };
        let config = PowerIterationConfig {
            iterations: self.iterations,
            seed: self.seed,
            ..PowerIterationConfig::default()
        };
        let sharpness = power_iteration(operator.as_ref(), &config)?.pair.value;
        let config = HutchinsonConfig {
            probes: self.probes,
            seed: self.seed,
            ..HutchinsonConfig::default()
        };
        let trace = hutchinson_trace(operator.as_ref(), &config)?.value;
        Ok((sharpness, trace))
    }
}
