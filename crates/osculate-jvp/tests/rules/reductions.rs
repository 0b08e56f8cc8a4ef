use burn::tensor::{DType, Int, Tensor};

use crate::rule;

const UNARY: [([usize; 3],); 3] = [([2, 3, 2],), ([1, 1, 3],), ([2, 1, 1],)];
const WITH_EMPTY: [([usize; 3],); 4] = [([2, 3, 2],), ([1, 1, 3],), ([2, 1, 1],), ([0, 2, 3],)];

rule!(sum: WITH_EMPTY, in -1.0..1.0, |x: 3| x.sin().sum());
rule!(sum_dim: WITH_EMPTY, in -1.0..1.0, |x: 3| x.sum_dim(1));
rule!(sum_dims: UNARY, in -1.0..1.0, |x: 3| x.sum_dims(&[0, 2]));
rule!(mean: UNARY, in -1.0..1.0, |x: 3| x.mean());
rule!(mean_dim: UNARY, in -1.0..1.0, |x: 3| x.mean_dim(2));
rule!(prod: UNARY, in -1.5..1.5, |x: 3| x.prod());
rule!(prod_dim: WITH_EMPTY, in -1.5..1.5, |x: 3| x.prod_dim(1));
rule!(max: UNARY, in -1.0..1.0, |x: 3| x.clone().max() * x.sum());
rule!(min: UNARY, in -1.0..1.0, |x: 3| x.clone().min() * x.sum());
rule!(max_dim: UNARY, in -1.0..1.0, |x: 3| x.clone().max_dim(1) * x);
rule!(min_dim: UNARY, in -1.0..1.0, |x: 3| x.clone().min_dim(2) * x);
rule!(max_abs: UNARY, in -1.0..1.0, |x: 3| x.clone().max_abs() * x.sum());
rule!(max_abs_dim: UNARY, in -1.0..1.0, |x: 3| x.clone().max_abs_dim(1) * x);
rule!(max_dim_with_indices: UNARY, in -1.0..1.0, |x: 3| {
    let (largest, at) = x.clone().max_dim_with_indices(1);
    largest * x.gather(1, at)
});
rule!(min_dim_with_indices: UNARY, in -1.0..1.0, |x: 3| {
    let (smallest, at) = x.clone().min_dim_with_indices(2);
    smallest * x.gather(2, at)
});
rule!(topk: [([2, 4],), ([3, 2],)], in -1.0..1.0, |x: 2| x.topk(2, 1));
rule!(topk_with_indices: [([2, 4],), ([3, 2],)], in -1.0..1.0, |x: 2| {
    let (largest, at) = x.clone().topk_with_indices(2, 1);
    largest * x.gather(1, at)
});
rule!(sort: UNARY, in -1.0..1.0, |x: 3| x.clone().sort(1) * x);
rule!(sort_descending: UNARY, in -1.0..1.0, |x: 3| x.clone().sort_descending(2) * x);
rule!(sort_with_indices: UNARY, in -1.0..1.0, |x: 3| {
    let (sorted, at) = x.clone().sort_with_indices(1);
    sorted * x.gather(1, at)
});
rule!(argsort: UNARY, in -1.0..1.0, |x: 3| {
    let at = x.clone().argsort(1);
    x.clone().gather(1, at) * x
});
rule!(argmax: UNARY, in -1.0..1.0, |x: 3| x.clone().gather(1, x.argmax(1)));
rule!(cumsum: UNARY, in -1.0..1.0, |x: 3| x.cumsum(1));
rule!(cumprod: UNARY, in -1.5..1.5, |x: 3| x.cumprod(1));
rule!(cummax: UNARY, in -1.0..1.0, |x: 3| x.cummax(1));
rule!(cummin: UNARY, in -1.0..1.0, |x: 3| x.cummin(2));
rule!(var: [([2, 3],)], in -1.0..1.0, |x: 2| x.var(1));

rule!(all_and_any: UNARY, in -1.0..1.0, |x: 3| {
    let any = x.clone().greater_elem(0.2).any_dim(1).float().cast(DType::F64);
    x.sin() * any
});
rule!(integer_subgraph: [([3, 4],)], in -1.0..1.0, |x: 2| {
    // Indices made by integer arithmetic, as in a one-hot encoding.
    let device = x.device();
    let rows = Tensor::<1, Int>::arange(0..3, &device).mul_scalar(2).remainder_scalar(4);
    let columns = Tensor::<1, Int>::arange(0..4, &device).unsqueeze_dim::<2>(0);
    let hot = rows.unsqueeze_dim::<2>(1).equal(columns).float().cast(DType::F64);
    x * hot
});
