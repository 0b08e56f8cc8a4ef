//! Models whose records hold all that their layers have seen.

use burn::module::Module;

/// The model to save: its record has the running statistics of normalisation layers as they are after the
/// last step.
///
/// burn's running statistics hold their last update back until the next forward pass asks for it, and
/// `into_record` does not ask. A training that goes on from such a record has lost one batch's share of
/// the statistics, and evaluates otherwise than the one that was not interrupted.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{BatchNorm, BatchNormConfig};
/// use burn::optim::AdamWConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use osculate_optim::{ClosureOptimizer, Driver, StatefulOptimizer, settled};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let layer = || -> BatchNorm { BatchNormConfig::new(3).init(&device) };
/// let x = Tensor::<3>::random([4, 3, 5], Distribution::Default, &device);
/// let loss = |model: &BatchNorm| model.forward(x.clone()).powi_scalar(4).mean();
/// let mut optimizer = Driver::from(AdamWConfig::new().init());
/// let mut model = layer();
/// for _ in 0..3 {
///     model = optimizer.step(1e-2, model, &loss)?.model;
/// }
///
/// let (weights, state) = (settled(&model).into_record(), optimizer.to_record());
/// let resumed = layer().load_record(weights);
/// let means = |model: &BatchNorm| model.running_mean.value_sync().into_data();
/// assert_eq!(means(&resumed), means(&model));
/// # let mut second = Driver::from(AdamWConfig::new().init());
/// # second.load_record(state)?;
/// # let a = optimizer.step(1e-2, model, &loss)?.model;
/// # let b = second.step(1e-2, resumed, &loss)?.model;
/// # assert_eq!(means(&a), means(&b));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn settled<M: Module>(model: &M) -> M {
    // Going to evaluation asks for what is held back.
    model.valid()
}
