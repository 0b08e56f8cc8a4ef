//! Half-precision parameters under burn's optimizers, which keep their state in the type of what they
//! are given: a square soon leaves the range of `F16`, and a small rate is none in `BF16`.

use std::collections::HashSet;

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::Tensor;
use osculate_curvature::ParamLayout;
use osculate_linalg::compute_dtype;

/// Whether any parameter of a layout is in half precision.
pub(super) fn has_half(layout: &ParamLayout) -> bool {
    let mut entries = layout.entries().iter();
    entries.any(|entry| entry.dtype != entry.compute_dtype())
}

/// The model with the parameters of a layout in the type in which statistics are kept.
pub(super) fn widened<M: Module>(model: M, layout: &ParamLayout) -> M {
    let ids = layout.entries().iter().map(|entry| entry.id).collect();
    model.map(&mut Widener { ids })
}

struct Widener {
    ids: HashSet<ParamId>,
}

impl ModuleMapper for Widener {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let wide = compute_dtype(tensor.dtype());
        let tensor = if self.ids.contains(&id) && wide != tensor.dtype() {
            Tensor::from_inner(tensor.inner().cast(wide)).require_grad()
        } else {
            tensor
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}
