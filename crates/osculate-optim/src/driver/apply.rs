//! From a direction to new weights.

use burn::tensor::{Bool, Tensor};
use osculate_curvature::ParamEntry;
use osculate_linalg::compute_dtype;

use crate::weight_decay::{DecayForm, WeightDecay};

/// How a parameter moves along its direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move<'a> {
    pub lr: f64,
    pub decay: WeightDecay,
    /// Decays only elements whose direction has their own sign.
    pub cautious_decay: bool,
    /// A factor on the rate, of one element, on the device.
    pub factor: Option<&'a Tensor<1>>,
    /// Whether the factor is one on the decay too.
    pub scales_decay: bool,
}

impl Default for Move<'_> {
    fn default() -> Self {
        Self {
            lr: 0.0,
            decay: WeightDecay::NONE,
            cautious_decay: false,
            factor: None,
            scales_decay: false,
        }
    }
}

impl Move<'_> {
    /// The new weights, in the parameter's type; the old ones where `hold` is set.
    pub(crate) fn apply(
        &self,
        entry: &ParamEntry,
        weights: &Tensor<1>,
        direction: Tensor<1>,
        hold: Option<&Tensor<1, Bool>>,
    ) -> Tensor<1> {
        let moved = self.wide(entry, weights, direction).cast(entry.dtype);
        match hold {
            Some(hold) => select(hold, weights.clone(), moved),
            None => moved,
        }
    }

    /// The new weights in the type in which they are computed.
    pub(crate) fn wide(
        &self,
        entry: &ParamEntry,
        weights: &Tensor<1>,
        direction: Tensor<1>,
    ) -> Tensor<1> {
        let w = weights.clone().cast(entry.compute_dtype());
        let rate = self.lr * self.decay.rate;
        if let (DecayForm::Hyperball, true) = (self.decay.form, rate > 0.0) {
            return self.on_sphere(entry, w, direction);
        }
        let direction = match self.factor {
            Some(factor) => direction * local(factor, entry),
            None => direction,
        };
        if rate == 0.0 {
            return w - direction.mul_scalar(self.lr);
        }
        let mut decayed = w.clone();
        if self.cautious_decay {
            let aligned = (w.clone() * direction.clone()).greater_equal_elem(0.0);
            decayed = decayed.mask_fill(aligned.bool_not(), 0.0);
        }
        if let (true, Some(factor)) = (self.scales_decay, self.factor) {
            let rate = local(factor, entry).mul_scalar(rate);
            let moved = w - direction.mul_scalar(self.lr);
            return match self.decay.form {
                DecayForm::Proximal if !self.cautious_decay => moved / rate.add_scalar(1.0),
                DecayForm::After if !self.cautious_decay => moved.clone() - moved * rate,
                _ => moved - decayed * rate,
            };
        }
        if self.cautious_decay {
            return w - decayed.mul_scalar(rate) - direction.mul_scalar(self.lr);
        }
        match self.decay.form {
            DecayForm::Before => w.mul_scalar(1.0 - rate) - direction.mul_scalar(self.lr),
            DecayForm::After => (w - direction.mul_scalar(self.lr)).mul_scalar(1.0 - rate),
            DecayForm::Together => {
                let with_decay = direction + w.clone().mul_scalar(self.decay.rate);
                w - with_decay.mul_scalar(self.lr)
            }
            DecayForm::Proximal => (w - direction.mul_scalar(self.lr)).div_scalar(1.0 + rate),
            DecayForm::Hyperball => w - direction.mul_scalar(self.lr),
        }
    }

    /// A step of a given angle that keeps the norm of a matrix; a plain one for vectors, and from zero.
    fn on_sphere(&self, entry: &ParamEntry, w: Tensor<1>, direction: Tensor<1>) -> Tensor<1> {
        let scaled = |x: Tensor<1>| match self.factor {
            Some(factor) => x * local(factor, entry),
            None => x,
        };
        let plain = w.clone() - scaled(direction.clone()).mul_scalar(self.lr);
        if entry.shape.num_dims() < 2 || entry.num_elements() == 0 {
            return plain;
        }
        let norm = |x: &Tensor<1>| x.clone().square().sum().sqrt();
        let (radius, length) = (norm(&w), norm(&direction));
        let still = length.clone().equal_elem(0.0);
        let unit = direction * length.recip().mask_fill(still, 0.0);
        let moved = w - scaled(unit * radius.clone()).mul_scalar(self.lr);
        let on_sphere = moved.clone() * (radius.clone() / norm(&moved));
        select(&radius.greater_elem(0.0), on_sphere, plain)
    }
}

/// A scalar on the parameter's device, in the type in which it is computed.
pub(crate) fn local(scalar: &Tensor<1>, entry: &ParamEntry) -> Tensor<1> {
    let scalar = scalar.clone().to_device(&entry.device);
    scalar.cast(entry.compute_dtype())
}

/// `new` where the flag of one element is set, `old` elsewhere, on the device.
pub(crate) fn select(flag: &Tensor<1, Bool>, new: Tensor<1>, old: Tensor<1>) -> Tensor<1> {
    let n = new.dims()[0];
    if n == 0 {
        // burn expands nothing to a length of zero.
        return new;
    }
    // The old tensor is the model's, or a state's, too: the new one can be written over.
    new.mask_where(flag.clone().bool_not().expand([n]), old)
}

/// Whether all elements are finite, as a flag on the device.
pub(crate) fn finite(tensor: &Tensor<1>) -> Tensor<1, Bool> {
    // The sum of a half-precision tensor soon leaves its range.
    let wide = tensor.clone().cast(compute_dtype(tensor.dtype()));
    wide.sum().is_finite()
}
