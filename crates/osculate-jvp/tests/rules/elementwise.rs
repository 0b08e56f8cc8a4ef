use burn::tensor::activation;

use crate::rule;

const UNARY: [([usize; 2],); 4] = [([2, 3],), ([1, 3],), ([3, 1],), ([0, 3],)];

rule!(exp: UNARY, in -1.0..1.0, |x: 2| x.exp());
rule!(log: UNARY, in 0.3..2.0, |x: 2| x.log());
rule!(log1p: UNARY, in -0.5..2.0, |x: 2| x.log1p());
rule!(erf: UNARY, in -1.5..1.5, |x: 2| x.erf());
rule!(sqrt: UNARY, in 0.3..2.0, |x: 2| x.sqrt());
rule!(recip: UNARY, in 0.4..2.0, |x: 2| x.recip());
rule!(cos: UNARY, in -2.0..2.0, |x: 2| x.cos());
rule!(cosh: UNARY, in -1.0..1.0, |x: 2| x.cosh());
rule!(sin: UNARY, in -2.0..2.0, |x: 2| x.sin());
rule!(sinh: UNARY, in -1.0..1.0, |x: 2| x.sinh());
rule!(tan: UNARY, in -1.0..1.0, |x: 2| x.tan());
rule!(tanh: UNARY, in -2.0..2.0, |x: 2| x.tanh());
rule!(acos: UNARY, in -0.8..0.8, |x: 2| x.acos());
rule!(acosh: UNARY, in 1.3..3.0, |x: 2| x.acosh());
rule!(asin: UNARY, in -0.8..0.8, |x: 2| x.asin());
rule!(asinh: UNARY, in -2.0..2.0, |x: 2| x.asinh());
rule!(atan: UNARY, in -2.0..2.0, |x: 2| x.atan());
rule!(atanh: UNARY, in -0.8..0.8, |x: 2| x.atanh());
rule!(abs: UNARY, in 0.1..2.0, |x: 2| x.clone().abs() - x.neg().abs() * 0.5);
rule!(square: UNARY, in -1.0..1.0, |x: 2| x.powf_scalar(2.0));
rule!(cube: UNARY, in -1.0..1.0, |x: 2| x.powf_scalar(3.0));
rule!(fractional_power: UNARY, in 0.3..2.0, |x: 2| x.powf_scalar(1.7));
rule!(negative_power: UNARY, in 0.5..2.0, |x: 2| x.powf_scalar(-2.0));
rule!(integer_power: UNARY, in -1.5..1.5, |x: 2| x.powi_scalar(4));
rule!(sign: UNARY, in 0.1..2.0, |x: 2| x.clone().sign() * x);
rule!(rounding: UNARY, in 0.6..0.9, |x: 2| {
    (x.clone().round() + x.clone().floor() + x.clone().ceil() + x.clone().trunc()) * x
});
rule!(clamp: UNARY, in 0.0..1.0, |x: 2| (x.clone() * 3.0 - 1.0).clamp(-0.4217, 0.8131));
rule!(clamp_min: UNARY, in 0.0..1.0, |x: 2| x.clone().clamp_min(0.4217) * x);
rule!(clamp_max: UNARY, in 0.0..1.0, |x: 2| x.clone().clamp_max(0.4217) * x);
rule!(cast: UNARY, in 0.0..1.0, |x: 2| x.cast(burn::tensor::DType::F64).sin());

rule!(relu: UNARY, in 0.0..1.0, |x: 2| activation::relu(x.clone() - 0.5317) * x);
rule!(leaky_relu: UNARY, in 0.0..1.0, |x: 2| activation::leaky_relu(x.clone() - 0.5317, 0.1) * x);
rule!(flex gelu: UNARY, in -2.0..2.0, |x: 2| activation::gelu(x));
rule!(flex sigmoid: UNARY, in -2.0..2.0, |x: 2| activation::sigmoid(x));
rule!(flex log_sigmoid: UNARY, in -2.0..2.0, |x: 2| activation::log_sigmoid(x));
rule!(flex silu: UNARY, in -2.0..2.0, |x: 2| activation::silu(x));
rule!(flex softplus: UNARY, in -1.0..1.0, |x: 2| activation::softplus(x, 1.3));
rule!(flex mish: UNARY, in -1.0..1.0, |x: 2| activation::mish(x));
rule!(softmax: UNARY, in -1.0..1.0, |x: 2| activation::softmax(x, 1));
rule!(softmax_first: [([2, 3],), ([1, 3],)], in -1.0..1.0, |x: 2| activation::softmax(x, 0));
rule!(softmin: UNARY, in -1.0..1.0, |x: 2| activation::softmin(x, 1));
rule!(log_softmax: UNARY, in -1.0..1.0, |x: 2| activation::log_softmax(x, 1));

const SLOPES: [([usize; 3], [usize; 1]); 3] =
    [([2, 3, 2], [3]), ([1, 2, 1], [2]), ([2, 3, 2], [1])];
rule!(prelu: SLOPES, in 0.0..1.0, |x: 3, slope: 1| activation::prelu(x - 0.5317, slope));
