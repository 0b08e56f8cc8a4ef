use burn_backend::ops::IntTensorOps;
use burn_dispatch::Dispatch as D;
use burn_ir::IntOperationIr;

use super::rule_table;

rule_table!("Int", IntOperationIr, |cx| {
    IntoFloat(o) Constant "0" =>
        cx.linear(&o.input, &o.out, |x| D::int_into_float(x, o.out.dtype.into()));
    BitwiseAnd(o) Constant "0" => cx.pure(o, D::bitwise_and);
    BitwiseAndScalar(o) Constant "0" => cx.pure_scalar(o, D::bitwise_and_scalar);
    BitwiseOr(o) Constant "0" => cx.pure(o, D::bitwise_or);
    BitwiseOrScalar(o) Constant "0" => cx.pure_scalar(o, D::bitwise_or_scalar);
    BitwiseXor(o) Constant "0" => cx.pure(o, D::bitwise_xor);
    BitwiseXorScalar(o) Constant "0" => cx.pure_scalar(o, D::bitwise_xor_scalar);
    BitwiseNot(o) Constant "0" => cx.flat(o, D::bitwise_not);
    BitwiseLeftShift(o) Constant "0" => cx.pure(o, D::bitwise_left_shift);
    BitwiseLeftShiftScalar(o) Constant "0" => cx.pure_scalar(o, D::bitwise_left_shift_scalar);
    BitwiseRightShift(o) Constant "0" => cx.pure(o, D::bitwise_right_shift);
    BitwiseRightShiftScalar(o) Constant "0" => cx.pure_scalar(o, D::bitwise_right_shift_scalar);
    Matmul(o) Constant "0" => {
        let (a, b) = (cx.value(&o.lhs)?, cx.value(&o.rhs)?);
        cx.set_value(&o.out, D::int_matmul(a, b))
    };
});

pub(super) mod numeric {
    //! Arithmetic of integer tensors.

    use burn_backend::ops::IntTensorOps;
    use burn_dispatch::Dispatch as D;
    use burn_ir::NumericOperationIr;

    use crate::rules::rule_table;

    rule_table!("NumericInt", NumericOperationIr, |cx| {
        Add(o) Constant "0" => cx.pure(o, D::int_add);
        AddScalar(o) Constant "0" => cx.pure_scalar(o, D::int_add_scalar);
        Sub(o) Constant "0" => cx.pure(o, D::int_sub);
        SubScalar(o) Constant "0" => cx.pure_scalar(o, D::int_sub_scalar);
        Div(o) Constant "0" => cx.pure(o, D::int_div);
        DivScalar(o) Constant "0" => cx.pure_scalar(o, D::int_div_scalar);
        Rem(o) Constant "0" => cx.pure(o, D::int_remainder);
        RemScalar(o) Constant "0" => cx.pure_scalar(o, D::int_remainder_scalar);
        Mul(o) Constant "0" => cx.pure(o, D::int_mul);
        MulScalar(o) Constant "0" => cx.pure_scalar(o, D::int_mul_scalar);
        Abs(o) Constant "0" => cx.flat(o, D::int_abs);
        Full(o) Constant "0" => {
            let value = D::int_full(
                o.out.shape.clone(), o.value.into(), cx.device(), o.out.dtype.into());
            cx.set_value(&o.out, value)
        };
        MeanDim(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::int_mean_dim(x, o.axis));
        Mean(o) Constant "0" => cx.linear(&o.input, &o.out, D::int_mean);
        Sum(o) Constant "0" => cx.linear(&o.input, &o.out, D::int_sum);
        SumDim(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::int_sum_dim(x, o.axis));
        SumDims(o) Constant "0" => cx.linear(&o.input, &o.out, |x| {
            o.axes.iter().fold(x, |x, &axis| D::int_sum_dim(x, axis))
        });
        Prod(o) Constant "0" => cx.linear(&o.input, &o.out, D::int_prod);
        ProdDim(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::int_prod_dim(x, o.axis));
        Greater(o) Constant "0" => cx.compare(o, D::int_greater);
        GreaterElem(o) Constant "0" => cx.compare_scalar(o, D::int_greater_elem);
        GreaterEqual(o) Constant "0" => cx.compare(o, D::int_greater_equal);
        GreaterEqualElem(o) Constant "0" => cx.compare_scalar(o, D::int_greater_equal_elem);
        Lower(o) Constant "0" => cx.compare(o, D::int_lower);
        LowerElem(o) Constant "0" => cx.compare_scalar(o, D::int_lower_elem);
        LowerEqual(o) Constant "0" => cx.compare(o, D::int_lower_equal);
        LowerEqualElem(o) Constant "0" => cx.compare_scalar(o, D::int_lower_equal_elem);
        ArgMax(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::int_argmax(x, o.axis));
        ArgTopK(o) Constant "0" => {
            let k = o.out.shape[o.axis];
            cx.linear(&o.input, &o.out, |x| D::int_argtopk(x, o.axis, k))
        };
        TopK(o) Constant "0" => {
            let k = o.out.shape[o.axis];
            cx.linear(&o.input, &o.out, |x| D::int_topk(x, o.axis, k))
        };
        TopKWithIndices(o) Constant "0" => {
            let x = cx.value(&o.tensor)?;
            let (y, at) = D::int_topk_with_indices(x, o.dim, o.k);
            cx.set_value(&o.out, y)?;
            cx.set_value(&o.out_indices, at)
        };
        ArgMin(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::int_argmin(x, o.axis));
        Max(o) Constant "0" => cx.linear(&o.input, &o.out, D::int_max);
        MaxDimWithIndices(o) Constant "0" => {
            let x = cx.value(&o.tensor)?;
            let (y, at) = D::int_max_dim_with_indices(x, o.dim);
            cx.set_value(&o.out, y)?;
            cx.set_value(&o.out_indices, at)
        };
        MinDimWithIndices(o) Constant "0" => {
            let x = cx.value(&o.tensor)?;
            let (y, at) = D::int_min_dim_with_indices(x, o.dim);
            cx.set_value(&o.out, y)?;
            cx.set_value(&o.out_indices, at)
        };
        Min(o) Constant "0" => cx.linear(&o.input, &o.out, D::int_min);
        MaxDim(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::int_max_dim(x, o.axis));
        MinDim(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::int_min_dim(x, o.axis));
        MaxAbs(o) Constant "0" => cx.linear(&o.input, &o.out, D::int_max_abs);
        MaxAbsDim(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::int_max_abs_dim(x, o.axis));
        Clamp(o) Constant "0" =>
            cx.linear(&o.tensor, &o.out, |x| D::int_clamp(x, o.min.into(), o.max.into()));
        IntRandom(o) Constant "0, drawn from the device's generator" => {
            let value = D::int_random(
                o.out.shape.clone(), o.distribution, cx.device(), o.out.dtype.into());
            cx.set_value(&o.out, value)
        };
        Powi(o) Constant "0" => cx.pure(o, D::int_powi);
        PowiScalar(o) Constant "0" => cx.pure_scalar(o, D::int_powi_scalar);
        CumSum(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::int_cumsum(x, o.axis));
        CumProd(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::int_cumprod(x, o.axis));
        CumMin(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::int_cummin(x, o.axis));
        CumMax(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::int_cummax(x, o.axis));
        Neg(o) Constant "0" => cx.flat(o, D::int_neg);
        Sign(o) Constant "0" => cx.flat(o, D::int_sign);
        ClampMin(o) Constant "0" => cx.pure_scalar(o, D::int_clamp_min);
        ClampMax(o) Constant "0" => cx.pure_scalar(o, D::int_clamp_max);
        Sort(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::int_sort(x, o.dim, o.descending));
        SortWithIndices(o) Constant "0" => {
            let x = cx.value(&o.input)?;
            let (y, at) = D::int_sort_with_indices(x, o.dim, o.descending);
            cx.set_value(&o.out, y)?;
            cx.set_value(&o.out_indices, at)
        };
        ArgSort(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::int_argsort(x, o.dim, o.descending));
        Pad(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::int_pad(x, &o.padding, o.mode.into()));
    });
}
