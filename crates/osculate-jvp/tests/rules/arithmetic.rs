use crate::rule;

/// Equal shapes, broadcasting of either side and of both, one element, none.
const PAIRS: [([usize; 2], [usize; 2]); 6] = [
    ([2, 3], [2, 3]),
    ([2, 1], [2, 3]),
    ([2, 3], [1, 3]),
    ([2, 1], [1, 3]),
    ([1, 1], [1, 1]),
    ([0, 3], [0, 3]),
];

rule!(add: PAIRS, in 0.2..2.0, |a: 2, b: 2| a + b);
rule!(sub: PAIRS, in 0.2..2.0, |a: 2, b: 2| a - b);
rule!(mul: PAIRS, in 0.2..2.0, |a: 2, b: 2| a * b);
rule!(div: PAIRS, in 0.5..2.0, |a: 2, b: 2| a / b);
rule!(remainder: PAIRS, in 0.61..0.95, |a: 2, b: 2| (a * 3.2).remainder(b));
rule!(powf: PAIRS, in 0.5..2.0, |a: 2, b: 2| a.powf(b));
rule!(hypot: PAIRS, in 0.5..2.0, |a: 2, b: 2| a.hypot(b));
rule!(atan2: PAIRS, in 0.5..2.0, |a: 2, b: 2| a.atan2(b));
rule!(scalars: [([2, 3],), ([0, 2],)], in 0.2..2.0, |x: 2| {
    ((x.add_scalar(0.3).sub_scalar(0.1) * 1.7).div_scalar(1.1)).remainder_scalar(97.0).neg()
});
rule!(same_operand: [([2, 3],)], in 0.2..2.0, |x: 2| x.clone() * x.clone() / (x.clone() + x));

const PRODUCTS: [([usize; 2], [usize; 2]); 4] = [
    ([2, 3], [3, 4]),
    ([1, 3], [3, 1]),
    ([0, 3], [3, 2]),
    ([2, 1], [1, 2]),
];
rule!(matmul: PRODUCTS, in -1.0..1.0, |a: 2, b: 2| a.matmul(b));
const BATCHES: [([usize; 3], [usize; 3]); 2] = [([2, 2, 3], [2, 3, 2]), ([1, 2, 3], [2, 3, 2])];
rule!(batched_matmul: BATCHES, in -1.0..1.0, |a: 3, b: 3| a.matmul(b));
rule!(transposed_matmul: [([3, 2], [3, 4])], in -1.0..1.0, |a: 2, b: 2| a.transpose().matmul(b));
rule!(cross: [([2, 3], [2, 3]), ([1, 3], [2, 3])], in -1.0..1.0, |a: 2, b: 2| a.cross(b, 1));

rule!(comparisons: PAIRS, in 0.2..2.0, |a: 2, b: 2| {
    let greater = a.clone().greater(b.clone()).float().cast(burn::tensor::DType::F64);
    let lower = a.clone().lower_equal_elem(1.0).float().cast(burn::tensor::DType::F64);
    a * greater + b * lower
});
