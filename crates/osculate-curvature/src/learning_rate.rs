//! Learning rates that curvature suggests: from the change of gradients along a run, and from the sharpness of
//! batches of two sizes.

use burn::module::Module;

use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::objective::Objective;
use crate::operator::Hessian;
use crate::oracle::GradientOracle;
use crate::params::ParamVec;
use crate::spectrum::{LanczosConfig, lanczos};

/// The Hessian-free estimate of a learning rate: how far the weights went for how much their gradient changed.
///
/// ```text
/// ε = sum |θ_2 - θ_1| / sum |g_2 - g_1|            over all elements
/// ε_avg = (1 - share) ε_avg + share ε              from `first` on
/// ```
///
/// It lies between the inverses of the largest and the smallest curvature along the path: a hint for the top of
/// a [1cycle policy](https://arxiv.org/abs/1708.07120), and no bound of stability. Take both gradients on one
/// batch: the noise of two makes it smaller. Cost: one gradient more for each observation, and a read-back.
///
/// Paper: Smith and Topin, *Super-Convergence*, <https://arxiv.org/abs/1708.07120>, section 4, which has weights
/// of three steps of plain SGD in the place of gradients: with momentum only gradients are right.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{GradientOracle, RateEstimate};
/// let device = Device::flex().autodiff();
/// let model: Linear = LinearConfig::new(2, 1).with_bias(false).init(&device);
/// // The Hessian of |W|² is twice the identity.
/// let loss = |model: &Linear| model.weight.val().square().sum();
/// let oracle = GradientOracle::new(&model, &loss);
/// let before = oracle.clean()?.gradient.clone();
/// let moved = before.scale(-0.1);
/// let after = oracle.evaluate_at(&moved, 1.0)?.gradient;
/// let mut estimate = RateEstimate::new();
/// let raw = estimate.observe(&moved, &after.sub(&before))?;
/// assert!((raw.expect("the gradient changed") - 0.5).abs() < 1e-5);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RateEstimate {
    share: f64,
    average: f64,
}

impl Default for RateEstimate {
    fn default() -> Self {
        Self::new()
    }
}

impl RateEstimate {
    /// The authors' average: a tenth of each observation, from 0.1 on.
    pub fn new() -> Self {
        Self {
            share: 0.1,
            average: 0.1,
        }
    }

    /// An average that takes this share of each observation, from `first` on.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for a share outside of `(0, 1]` and a first rate that is not positive.
    pub fn with_average(share: f64, first: f64) -> Result<Self, CurvatureError> {
        let valid = share > 0.0 && share <= 1.0;
        CurvatureError::check(valid, "share", share, "a number in (0, 1]")?;
        let positive = first.is_finite() && first > 0.0;
        CurvatureError::check(positive, "first", first, "a positive finite number")?;
        Ok(Self {
            share,
            average: first,
        })
    }

    /// Takes a move of the weights and the change of the gradient along it in, and gives their ratio; `None`,
    /// and the average as it was, where the gradient did not change.
    ///
    /// # Errors
    /// [`CurvatureError::LayoutMismatch`], and [`CurvatureError::NonFinite`].
    pub fn observe(
        &mut self,
        moved: &ParamVec,
        change: &ParamVec,
    ) -> Result<Option<f64>, CurvatureError> {
        moved.layout().check(change.layout())?;
        let sum = |v: &ParamVec| {
            let v = v.to_compute_dtype().abs();
            v.dot(&v.map(|(_, x)| x.ones_like()))
        };
        let (far, much) = (sum(moved), sum(change));
        for (what, value) in [("the move", far), ("the change of the gradient", much)] {
            if !value.is_finite() {
                return Err(CurvatureError::NonFinite { what, value });
            }
        }
        if much == 0.0 {
            return Ok(None);
        }
        let ratio = far / much;
        self.average = (1.0 - self.share) * self.average + self.share * ratio;
        Ok(Some(ratio))
    }

    /// The average.
    pub fn rate(&self) -> f64 {
        self.average
    }
}

/// How the sharpness of a batch depends on its size, and with it the learning rate.
///
/// The Hessian of a batch of `b` samples is the true one and noise of a variance of `1/b`. Random matrix theory
/// gives its largest eigenvalue as
///
/// ```text
/// λ(b) = λ + c / (b λ)   where λ > sqrt(c / b), the edge of the noise;   2 sqrt(c / b)   otherwise
/// ```
///
/// with the true sharpness `λ` and the noise `c` (parameters times the variance of one element). The largest
/// stable rate of SGD is `2 / λ(b)`: linear in the batch size while noise dominates, and flat from the batch of
/// [`saturation`](Self::saturation) on. [`fit`](Self::fit) takes two measured sharpnesses;
/// [`batch_sharpness`] measures them.
///
/// Sharpness changes in training and rises to meet the rate (the edge of stability): what is measured at the
/// start is an upper bound for a warmed-up run.
///
/// Paper: Granziol et al., *Learning Rates as a Function of Batch Size*, <https://arxiv.org/abs/2006.09092>.
///
/// ```
/// use osculate_curvature::BatchRate;
/// let rate = BatchRate::fit((64, 13.125), (512, 10.390625))?;
/// assert!((rate.sharpness() - 10.0).abs() < 1e-9 && (rate.noise() - 2000.0).abs() < 1e-6);
/// assert!((rate.sgd(32) - 2.0 / 16.25).abs() < 1e-9);
/// assert!((rate.saturation() - 20.0).abs() < 1e-9);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchRate {
    sharpness: f64,
    noise: f64,
}

impl BatchRate {
    /// A true sharpness and a noise that are known.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for one that is negative or not finite, and for both 0.
    pub fn new(sharpness: f64, noise: f64) -> Result<Self, CurvatureError> {
        for (name, value) in [("sharpness", sharpness), ("noise", noise)] {
            let valid = value.is_finite() && value >= 0.0;
            CurvatureError::check(valid, name, value, "a finite number, zero or greater")?;
        }
        let any = sharpness > 0.0 || noise > 0.0;
        CurvatureError::check(any, "sharpness and noise", 0.0, "one of them above zero")?;
        Ok(Self { sharpness, noise })
    }

    /// Sharpness and noise out of the sharpness of batches of a small and a large size, each a mean over a few
    /// batches.
    ///
    /// Where the larger batch is as sharp as the smaller one, there is no noise. Where the noise explains the
    /// small batch's sharpness alone, or the fit has the sharpness below the noise's edge at the smaller batch,
    /// the sharpness is 0: only a larger batch would tell it from the noise, and rates grow as the square root
    /// of the batch size.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] unless `0 < small < large`, and for a sharpness that is not positive.
    pub fn fit(
        (small, of_small): (usize, f64),
        (large, of_large): (usize, f64),
    ) -> Result<Self, CurvatureError> {
        CurvatureError::check_batch_sizes(small, large)?;
        for sharpness in [of_small, of_large] {
            let valid = sharpness.is_finite() && sharpness > 0.0;
            CurvatureError::check(valid, "sharpness", sharpness, "a positive finite number")?;
        }
        let (b, c) = (small as f64, large as f64);
        let over = (of_small - of_large) / (1.0 / b - 1.0 / c);
        if over <= 0.0 {
            return Self::new(of_large, 0.0);
        }
        let sharpness = of_small - over / b;
        let noise = over * sharpness;
        if sharpness > 0.0 && sharpness > (noise / b).sqrt() {
            return Self::new(sharpness, noise);
        }
        Self::new(0.0, b * of_small * of_small / 4.0)
    }

    /// The true sharpness `λ`; 0 where only noise was seen.
    pub fn sharpness(&self) -> f64 {
        self.sharpness
    }

    /// The noise `c`.
    pub fn noise(&self) -> f64 {
        self.noise
    }

    /// The expected sharpness of a batch.
    pub fn sharpness_of(&self, batch: usize) -> f64 {
        let b = batch.max(1) as f64;
        let edge = (self.noise / b).sqrt();
        match self.sharpness > edge {
            true => self.sharpness + self.noise / (b * self.sharpness),
            false => 2.0 * edge,
        }
    }

    /// The largest stable rate of plain SGD on batches of this size, `2 / λ(b)`.
    pub fn sgd(&self, batch: usize) -> f64 {
        self.momentum(batch, 0.0)
    }

    /// The same with heavy-ball momentum `m = momentum m + g`: `2 (1 + momentum) / λ(b)`.
    pub fn momentum(&self, batch: usize, momentum: f64) -> f64 {
        2.0 * (1.0 + momentum) / self.sharpness_of(batch)
    }

    /// Adam's rate on batches of this size from a rate that is good on others: it grows as the square root.
    pub fn adam(&self, batch: usize, (known, rate): (usize, f64)) -> f64 {
        rate * (batch.max(1) as f64 / known.max(1) as f64).sqrt()
    }

    /// The batch size `c / λ²` from which on larger batches bear no larger rate; infinite where only noise was
    /// seen.
    pub fn saturation(&self) -> f64 {
        self.noise / (self.sharpness * self.sharpness)
    }
}

/// The mean of the largest Hessian eigenvalue over several batches at a model's weights, and what it cost.
///
/// Four batches or more: the sharpness of one is what is to be averaged. Cost: a gradient and a Lanczos run of
/// at most 15 products for each.
///
/// # Errors
/// [`CurvatureError::InvalidSetting`] for no batch, and as the products.
pub fn batch_sharpness<M: Module>(
    model: &M,
    batches: &[Box<dyn Objective<M> + '_>],
) -> Result<(f64, Cost), CurvatureError> {
    CurvatureError::check(!batches.is_empty(), "batches", 0, "at least one")?;
    let config = LanczosConfig {
        largest: 1,
        smallest: 0,
        steps: 15,
        ..LanczosConfig::default()
    };
    let (mut sum, mut cost) = (0.0, Cost::ZERO);
    for batch in batches {
        let oracle = GradientOracle::new(model, batch.as_ref());
        let found = lanczos(&Hessian::new(&oracle)?, &config)?;
        let top = found.largest.first().ok_or(CurvatureError::NoGradient)?;
        sum += top.value;
        cost += oracle.cost();
    }
    Ok((sum / batches.len() as f64, cost))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed independently, for a sharpness of 10 and a noise of 2000.
    #[test]
    fn sharpness_and_rate_follow_the_batch_size() {
        let sizes = [1, 2, 8, 32, 128, 512, 4096];
        let want = [
            89.44271909999159,
            63.245553203367585,
            31.622776601683793,
            16.25,
            11.5625,
            10.390625,
            10.048828125,
        ];
        let rate = BatchRate::new(10.0, 2000.0).unwrap();
        for (size, want) in sizes.into_iter().zip(want) {
            assert!((rate.sharpness_of(size) - want).abs() < 1e-9, "{size}");
            assert!((rate.sgd(size) - 2.0 / want).abs() < 1e-12, "{size}");
            assert!(
                (rate.momentum(size, 0.9) - 3.8 / want).abs() < 1e-12,
                "{size}"
            );
        }
        let fitted = BatchRate::fit((64, rate.sharpness_of(64)), (512, rate.sharpness_of(512)));
        let fitted = fitted.unwrap();
        assert!((fitted.sharpness() - 10.0).abs() < 1e-9);
        assert!((fitted.noise() - 2000.0).abs() < 1e-6);
        assert_eq!(rate.adam(256, (64, 0.01)), 0.02);
    }

    #[test]
    fn what_is_noise_alone_or_none_is_told() {
        let none = BatchRate::fit((8, 5.0), (64, 6.0)).unwrap();
        assert_eq!((none.sharpness(), none.noise()), (6.0, 0.0));
        assert_eq!(none.saturation(), 0.0);
        // The edge alone: twice the batch, and the sharpness falls by the root of two.
        let edge = BatchRate::fit((8, 20.0), (16, 20.0 / 2.0_f64.sqrt())).unwrap();
        assert_eq!(edge.sharpness(), 0.0);
        assert!((edge.sharpness_of(8) - 20.0).abs() < 1e-9);
        assert!((edge.sharpness_of(32) - 10.0).abs() < 1e-9);
        assert!(edge.saturation().is_infinite());
        for wrong in [
            BatchRate::fit((8, 5.0), (8, 5.0)),
            BatchRate::fit((0, 5.0), (8, 5.0)),
            BatchRate::fit((4, f64::NAN), (8, 5.0)),
            BatchRate::fit((4, 5.0), (8, -1.0)),
            BatchRate::new(-1.0, 1.0),
            BatchRate::new(0.0, 0.0),
        ] {
            assert!(matches!(wrong, Err(CurvatureError::InvalidSetting { .. })));
        }
    }

    /// Computed independently: P3 under plain SGD at a rate of 0.05.
    #[test]
    fn rates_follow_gradients() {
        use burn::tensor::{DType, Device};
        use osculate_problems::closed_form::{ClosedForm, P3, TensorProblem};
        let device = Device::flex().autodiff();
        let want = [
            (0.1671577804651826, 0.10671577804651827),
            (0.22723237939208332, 0.11876743818107478),
            (0.277152465230936, 0.1346059408860609),
            (0.312865362944693, 0.15243188309192413),
            (0.34422451250360553, 0.17161114603309227),
        ];
        let point = P3.point(&P3.start(), &device, DType::F64);
        let loss = |point: &_| P3.tensor_loss(point);
        let oracle = GradientOracle::new(&point, &loss);
        let mut estimate = RateEstimate::new();
        let mut gradient = oracle.clean().unwrap().gradient.clone();
        let mut at = ParamVec::zeros(gradient.layout());
        for (raw, average) in want {
            let moved = gradient.scale(-0.05);
            at = at.add(&moved);
            let next = oracle.evaluate_at(&at, 1.0).unwrap().gradient;
            let found = estimate.observe(&moved, &next.sub(&gradient)).unwrap();
            assert!((found.unwrap() - raw).abs() < 1e-9, "{found:?}");
            assert!((estimate.rate() - average).abs() < 1e-9);
            gradient = next;
        }
        let none = ParamVec::zeros(gradient.layout());
        assert_eq!(estimate.observe(&gradient, &none).unwrap(), None);
        assert!(RateEstimate::with_average(0.0, 0.1).is_err());
        assert!(RateEstimate::with_average(0.5, -0.1).is_err());
    }
}
