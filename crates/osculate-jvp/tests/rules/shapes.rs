use burn::tensor::ops::PadMode;
use burn::tensor::{Bool, IndexingUpdateOp, Int, Tensor, s};

use crate::rule;

const UNARY: [([usize; 3],); 4] = [([2, 3, 2],), ([1, 3, 1],), ([2, 3, 1],), ([0, 3, 2],)];

rule!(reshape: UNARY, in -1.0..1.0, |x: 3| {
    let n = x.shape().num_elements();
    x.reshape([n]).sin()
});
rule!(permute: UNARY, in -1.0..1.0, |x: 3| x.permute([2, 0, 1]).sin());
rule!(swap_dims: UNARY, in -1.0..1.0, |x: 3| x.swap_dims(0, 1).sin());
rule!(flip: [([2, 3, 2],), ([1, 3, 1],), ([2, 3, 1],)], in -1.0..1.0, |x: 3| x.clone().flip([1]) * x);
rule!(expand: [([1, 3],), ([2, 1],)], in -1.0..1.0, |x: 2| {
    let [a, b] = x.dims();
    x.expand([a.max(2), b.max(3)]).sin()
});
rule!(slice: UNARY, in -1.0..1.0, |x: 3| x.slice(s![.., 1..3, ..]).sin());
rule!(strided_slice: UNARY, in -1.0..1.0, |x: 3| x.slice(s![.., 0..3;2, ..]).sin());
rule!(slice_assign: [([3, 4], [2, 2])], in -1.0..1.0, |x: 2, value: 2| {
    x.slice_assign([0..2, 1..3], value).sin()
});
rule!(slice_fill: [([3, 4],)], in -1.0..1.0, |x: 2| x.slice_fill([0..2, 1..3], 0.7).sin());
rule!(select: UNARY, in -1.0..1.0, |x: 3| {
    let at = Tensor::<1, Int>::from_data([2, 0, 2], &x.device());
    x.select(1, at).sin()
});
rule!(select_assign: [([3, 2], [2, 2])], in -1.0..1.0, |x: 2, value: 2| {
    let at = Tensor::<1, Int>::from_data([2, 0], &x.device());
    x.select_assign(0, at, value, IndexingUpdateOp::Add).sin()
});
rule!(gather: [([3, 2],)], in -1.0..1.0, |x: 2| {
    let at = Tensor::<2, Int>::from_data([[2, 0], [1, 1], [2, 2]], &x.device());
    x.gather(0, at).sin()
});
rule!(scatter: [([3, 2], [2, 2])], in -1.0..1.0, |x: 2, value: 2| {
    let at = Tensor::<2, Int>::from_data([[2, 0], [2, 1]], &x.device());
    x.scatter(0, at, value, IndexingUpdateOp::Add).sin()
});
rule!(scatter_mul: [([3, 2], [2, 2])], in -1.0..1.0, |x: 2, value: 2| {
    let at = Tensor::<2, Int>::from_data([[2, 0], [0, 1]], &x.device());
    x.scatter(0, at, value, IndexingUpdateOp::Mul).sin()
});
// Two values meet in one element, and an element that nothing finite is in is passed over.
rule!(scatter_max: [([3, 2], [3, 2])], in -1.0..1.0, |x: 2, value: 2| {
    let at = Tensor::<2, Int>::from_data([[2, 0], [2, 1], [0, 1]], &x.device());
    let low = x.clone().full_like(f32::NEG_INFINITY);
    let filled = low.scatter(0, at.clone(), value.clone(), IndexingUpdateOp::Max);
    let found = filled.clone().greater_elem(-1e9);
    let filled = x.zeros_like().mask_where(found, filled);
    x.scatter(0, at, value, IndexingUpdateOp::Max).sin() + filled.square()
});
rule!(scatter_min: [([3, 2], [2, 2])], in -1.0..1.0, |x: 2, value: 2| {
    let at = Tensor::<2, Int>::from_data([[2, 0], [2, 1]], &x.device());
    x.scatter(0, at, value, IndexingUpdateOp::Min).sin()
});
rule!(select_assign_mul: [([3, 2], [2, 2])], in -1.0..1.0, |x: 2, value: 2| {
    let at = Tensor::<1, Int>::from_data([2, 0], &x.device());
    x.select_assign(0, at, value, IndexingUpdateOp::Mul).sin()
});
rule!(select_assign_min: [([3, 2], [2, 2])], in -1.0..1.0, |x: 2, value: 2| {
    let at = Tensor::<1, Int>::from_data([2, 2], &x.device());
    x.select_assign(0, at, value, IndexingUpdateOp::Min).sin()
});
// ndarray's own kernel asks for contiguous data.
rule!(flex scatter_nd_mul: [([3, 2], [2, 2])], in -1.0..1.0, |x: 2, value: 2| {
    let at = Tensor::<2, Int>::from_data([[2], [0]], &x.device());
    x.scatter_nd(at, value, IndexingUpdateOp::Mul).sin()
});
rule!(flex scatter_nd_max: [([3, 2], [2, 2])], in -1.0..1.0, |x: 2, value: 2| {
    let at = Tensor::<2, Int>::from_data([[2], [2]], &x.device());
    x.scatter_nd(at, value, IndexingUpdateOp::Max).sin()
});
rule!(mask_fill: UNARY, in -1.0..1.0, |x: 3| {
    let mask = x.clone().greater_elem(0.1);
    x.mask_fill(mask, 0.3).sin()
});
rule!(mask_where: [([2, 3], [2, 3])], in -1.0..1.0, |x: 2, value: 2| {
    let mask = Tensor::<2, Bool>::from_data([[true, false, true], [false, false, true]], &x.device());
    x.mask_where(mask, value).sin()
});
rule!(cat: [([2, 3], [1, 3]), ([2, 1], [2, 1]), ([0, 3], [2, 3])], in -1.0..1.0, |a: 2, b: 2| {
    Tensor::cat(vec![a.clone(), b, a.sin()], 0)
});
rule!(stack: [([2, 3], [2, 3])], in -1.0..1.0, |a: 2, b: 2| Tensor::stack::<3>(vec![a, b], 1).sin());
rule!(repeat: UNARY, in -1.0..1.0, |x: 3| x.repeat_dim(1, 2).sin());
rule!(pad_constant: [([2, 3],)], in -1.0..1.0, |x: 2| x.pad((1, 0, 2, 1), 0.4).sin());
rule!(pad_reflect: [([3, 3],)], in -1.0..1.0, |x: 2| x.pad((1, 0, 1, 1), PadMode::Reflect).sin());
rule!(pad_edge: [([2, 3],)], in -1.0..1.0, |x: 2| x.pad((1, 0, 2, 1), PadMode::Edge).sin());
rule!(unfold: [([2, 5],), ([1, 4],)], in -1.0..1.0, |x: 2| {
    let windows: Tensor<3> = x.unfold(1, 2, 1);
    windows.sin()
});
rule!(squeeze: [([2, 1, 3],)], in -1.0..1.0, |x: 3| x.squeeze_dim::<2>(1).unsqueeze::<4>().sin());
rule!(triangles: [([3, 3],)], in -1.0..1.0, |x: 2| x.clone().tril(0) + x.triu(1) * 2.0);
rule!(created: [([2, 3],)], in -1.0..1.0, |x: 2| {
    let (device, dtype) = (x.device(), x.dtype());
    let ones = Tensor::<2>::ones([2, 3], (&device, dtype));
    let full = Tensor::<2>::full([2, 3], 0.7, (&device, dtype));
    let zeros = Tensor::<2>::zeros([2, 3], (&device, dtype));
    x.clone() * ones * full + zeros * x.sin()
});
