//! Steps that move nothing.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use osculate_optim::{Skipped, StepReport};

/// Number of trainable parameters.
pub(crate) fn trainable<M: Module>(model: &M) -> usize {
    let mut count = Count(0);
    model.visit(&mut count);
    count.0
}

struct Count(usize);

impl ModuleVisitor for Count {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0 += usize::from(param.is_require_grad());
    }
}

/// One of the parameters that a step left out, where it left out all of the `trainable` ones, or all of
/// those that had a gradient. Reads one flag for each parameter back.
pub(crate) fn idle(report: &StepReport, trainable: usize) -> Option<Skipped> {
    let skipped = report.skipped();
    let all = skipped.len();
    let first = skipped.into_iter().next()?;
    // The norm is that of the gradients which are finite.
    (all >= trainable || report.gradient_norm() == 0.0).then_some(first)
}
