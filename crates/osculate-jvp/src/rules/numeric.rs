use burn_backend::TensorMetadata;
use burn_backend::ops::{FloatTensorOps, IntTensorOps};
use burn_dispatch::Dispatch as D;
use burn_ir::{NumericOperationIr, PadModeIr, PadOpIr, ScalarIr};

use super::{product, rule_table, selection};
use crate::context::Context;
use crate::error::JvpError;

rule_table!("NumericFloat", NumericOperationIr, |cx| {
    Add(o) Differentiated "ȧ + ḃ" => {
        let (a, b) = (cx.get(&o.lhs)?, cx.get(&o.rhs)?);
        cx.set(&o.out, a.add(b))
    };
    AddScalar(o) Differentiated "ẋ" => {
        let x = cx.get(&o.lhs)?;
        cx.set(&o.out, x.shift(o.rhs))
    };
    Sub(o) Differentiated "ȧ - ḃ" => {
        let (a, b) = (cx.get(&o.lhs)?, cx.get(&o.rhs)?);
        cx.set(&o.out, a.sub(b))
    };
    SubScalar(o) Differentiated "ẋ" => {
        let x = cx.get(&o.lhs)?;
        let y = D::float_sub_scalar(x.value.clone(), o.rhs.into());
        cx.set(&o.out, x.map_tangents(y, |d| d))
    };
    Div(o) Differentiated "(ȧ - y ḃ) / b" => {
        let (a, b) = (cx.get(&o.lhs)?, cx.get(&o.rhs)?);
        cx.set(&o.out, a.div(b))
    };
    DivScalar(o) Differentiated "ẋ / c" => {
        // As a product: burn's backward pass rounds the quotient's factor to `f32`.
        let factor = 1.0 / o.rhs.elem::<f64>();
        cx.linear(&o.lhs, &o.out, |x| D::float_mul_scalar(x, factor.into()))
    };
    Rem(o) Differentiated "ȧ - ⌊a/b⌋ ḃ" => cx.binary(o, D::float_remainder, |a, b, _| {
        let one = D::float_ones(o.out.shape.clone(), &b.device(), o.out.dtype.into());
        (one, D::float_neg(D::float_floor(D::float_div(a, b))))
    });
    RemScalar(o) Differentiated "ẋ" => {
        let x = cx.get(&o.lhs)?;
        let y = D::float_remainder_scalar(x.value.clone(), o.rhs.into());
        cx.set(&o.out, x.map_tangents(y, |d| d))
    };
    Mul(o) Differentiated "ȧ b + a ḃ" => {
        let (a, b) = (cx.get(&o.lhs)?, cx.get(&o.rhs)?);
        cx.set(&o.out, a.mul(b))
    };
    MulScalar(o) Differentiated "c ẋ" =>
        cx.linear(&o.lhs, &o.out, |x| D::float_mul_scalar(x, o.rhs.into()));
    Abs(o) Differentiated "sign(x) ẋ" => cx.unary(o, D::float_abs, |x, _| D::float_sign(x));
    Full(o) Constant "0" => {
        let value = D::float_full(
            o.out.shape.clone(), o.value.into(), cx.device(), o.out.dtype.into());
        cx.set_value(&o.out, value)
    };
    MeanDim(o) Differentiated "mean(ẋ)" =>
        cx.linear(&o.input, &o.out, |x| D::float_mean_dim(x, o.axis));
    Mean(o) Differentiated "mean(ẋ)" => cx.linear(&o.input, &o.out, D::float_mean);
    Sum(o) Differentiated "sum(ẋ)" => cx.linear(&o.input, &o.out, D::float_sum);
    SumDim(o) Differentiated "sum(ẋ)" =>
        cx.linear(&o.input, &o.out, |x| D::float_sum_dim(x, o.axis));
    SumDims(o) Differentiated "sum(ẋ)" =>
        cx.linear(&o.input, &o.out, |x| D::float_sum_dims(x, &o.axes));
    Prod(o) Differentiated "product rule, exact at zeros" => product::all(cx, o);
    ProdDim(o) Differentiated "product rule, exact at zeros" => product::along(cx, o);
    Greater(o) Constant "0" => cx.compare(o, D::float_greater);
    GreaterElem(o) Constant "0" => cx.compare_scalar(o, D::float_greater_elem);
    GreaterEqual(o) Constant "0" => cx.compare(o, D::float_greater_equal);
    GreaterEqualElem(o) Constant "0" => cx.compare_scalar(o, D::float_greater_equal_elem);
    Lower(o) Constant "0" => cx.compare(o, D::float_lower);
    LowerElem(o) Constant "0" => cx.compare_scalar(o, D::float_lower_elem);
    LowerEqual(o) Constant "0" => cx.compare(o, D::float_lower_equal);
    LowerEqualElem(o) Constant "0" => cx.compare_scalar(o, D::float_lower_equal_elem);
    ArgMax(o) Constant "0" => {
        let x = cx.value(&o.input)?;
        cx.set_value(&o.out, D::float_argmax(x, o.axis, o.out.dtype.into()))
    };
    ArgTopK(o) Constant "0" => {
        let x = cx.value(&o.input)?;
        let k = o.out.shape[o.axis];
        cx.set_value(&o.out, D::float_argtopk(x, o.axis, k, o.out.dtype.into()))
    };
    TopK(o) Differentiated "ẋ at the k largest" => selection::top_k(cx, o);
    TopKWithIndices(o) Differentiated "ẋ at the k largest" => {
        let x = cx.get(&o.tensor)?;
        let (y, at) = D::float_topk_with_indices(
            x.value.clone(), o.dim, o.k, o.out_indices.dtype.into());
        cx.select(&o.out, &o.out_indices, x, y, o.dim, at)
    };
    ArgMin(o) Constant "0" => {
        let x = cx.value(&o.input)?;
        cx.set_value(&o.out, D::float_argmin(x, o.axis, o.out.dtype.into()))
    };
    Max(o) Differentiated "ẋ at the maximum" => selection::extreme(cx, o, selection::largest);
    MaxDimWithIndices(o) Differentiated "ẋ at the maximum" => {
        let x = cx.get(&o.tensor)?;
        let (y, at) = D::float_max_dim_with_indices(
            x.value.clone(), o.dim, o.out_indices.dtype.into());
        cx.select(&o.out, &o.out_indices, x, y, o.dim, at)
    };
    MinDimWithIndices(o) Differentiated "ẋ at the minimum" => {
        let x = cx.get(&o.tensor)?;
        let (y, at) = D::float_min_dim_with_indices(
            x.value.clone(), o.dim, o.out_indices.dtype.into());
        cx.select(&o.out, &o.out_indices, x, y, o.dim, at)
    };
    Min(o) Differentiated "ẋ at the minimum" => selection::extreme(cx, o, selection::smallest);
    MaxDim(o) Differentiated "ẋ at the maximum" =>
        selection::extreme_along(cx, o, selection::largest);
    MinDim(o) Differentiated "ẋ at the minimum" =>
        selection::extreme_along(cx, o, selection::smallest);
    MaxAbs(o) Differentiated "sign(x) ẋ at the maximum" =>
        selection::extreme(cx, o, selection::largest_magnitude);
    MaxAbsDim(o) Differentiated "sign(x) ẋ at the maximum" =>
        selection::extreme_along(cx, o, selection::largest_magnitude);
    Clamp(o) Differentiated "ẋ within the limits, bounds included" => {
        let x = cx.get(&o.tensor)?;
        cx.set(&o.out, selection::clamp(x, Some(o.min.into()), Some(o.max.into())))
    };
    IntRandom(_) Unsupported "" => Err(JvpError::no_rule("NumericFloat::IntRandom"));
    Powi(o) Differentiated "n x^(n-1) ẋ" => {
        let (x, n) = (cx.get(&o.lhs)?, cx.value(&o.rhs)?);
        let n = D::int_into_float(n, o.out.dtype.into());
        let y = x.unary(
            |x| D::float_powf(x, n.clone()),
            |x, _| {
                let lower = D::float_add_scalar(n.clone(), (-1.0).into());
                D::float_mul(D::float_powf(x, lower), n.clone())
            },
        );
        cx.set(&o.out, y)
    };
    PowiScalar(o) Differentiated "n x^(n-1) ẋ" => super::float::power(cx, o);
    CumSum(o) Differentiated "cumsum(ẋ)" =>
        cx.linear(&o.input, &o.out, |x| D::float_cumsum(x, o.axis));
    CumProd(o) Differentiated "product rule, exact at zeros" => product::cumulative(cx, o);
    CumMin(o) Differentiated "ẋ at the running minimum" =>
        selection::running(cx, o, D::float_cummin);
    CumMax(o) Differentiated "ẋ at the running maximum" =>
        selection::running(cx, o, D::float_cummax);
    Neg(o) Differentiated "-ẋ" => cx.linear(&o.input, &o.out, D::float_neg);
    Sign(o) Constant "0" => cx.flat(o, D::float_sign);
    ClampMin(o) Differentiated "ẋ within the limit, bound included" => {
        let x = cx.get(&o.lhs)?;
        cx.set(&o.out, selection::clamp(x, Some(o.rhs.into()), None))
    };
    ClampMax(o) Differentiated "ẋ within the limit, bound included" => {
        let x = cx.get(&o.lhs)?;
        cx.set(&o.out, selection::clamp(x, None, Some(o.rhs.into())))
    };
    Sort(o) Differentiated "ẋ in the order of x" => {
        let x = cx.get(&o.input)?;
        let (y, at) = D::float_sort_with_indices(
            x.value.clone(), o.dim, o.descending, cx.int_dtype());
        cx.set(&o.out, x.gather_tangents(y, o.dim, at))
    };
    SortWithIndices(o) Differentiated "ẋ in the order of x" => {
        let x = cx.get(&o.input)?;
        let (y, at) = D::float_sort_with_indices(
            x.value.clone(), o.dim, o.descending, o.out_indices.dtype.into());
        cx.select(&o.out, &o.out_indices, x, y, o.dim, at)
    };
    ArgSort(o) Constant "0" => {
        let x = cx.value(&o.input)?;
        cx.set_value(&o.out, D::float_argsort(x, o.dim, o.descending, o.out.dtype.into()))
    };
    Pad(o) Differentiated "pad(ẋ), with zeros for constants" => pad(cx, o);
});

fn pad(cx: &mut Context<'_>, o: &PadOpIr) -> Result<(), JvpError> {
    let x = cx.get(&o.input)?;
    let y = D::float_pad(x.value.clone(), &o.padding, o.mode.into());
    let mode = match o.mode {
        PadModeIr::Constant(_) => PadModeIr::Constant(ScalarIr::Float(0.0)),
        mode => mode,
    };
    let y = x.map_tangents(y, |d| D::float_pad(d, &o.padding, mode.into()));
    cx.set(&o.out, y)
}
