use burn_backend::ops::BoolTensorOps;
use burn_dispatch::Dispatch as D;
use burn_ir::BoolOperationIr;

use super::rule_table;

rule_table!("Bool", BoolOperationIr, |cx| {
    IntoFloat(o) Constant "0" =>
        cx.linear(&o.input, &o.out, |x| D::bool_into_float(x, o.out.dtype.into()));
    IntoInt(o) Constant "0" =>
        cx.linear(&o.input, &o.out, |x| D::bool_into_int(x, o.out.dtype.into()));
    Not(o) Constant "0" => cx.flat(o, D::bool_not);
    And(o) Constant "0" => cx.pure(o, D::bool_and);
    Or(o) Constant "0" => cx.pure(o, D::bool_or);
    Xor(o) Constant "0" => cx.pure(o, D::bool_xor);
});

pub(super) mod base {
    //! Shapes and indexing of boolean tensors.

    use burn_backend::ops::BoolTensorOps;
    use burn_dispatch::Dispatch as D;
    use burn_ir::BaseOperationIr;

    use crate::error::JvpError;
    use crate::rules::rule_table;

    rule_table!("BaseBool", BaseOperationIr, |cx| {
        Reshape(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::bool_reshape(x, o.out.shape.clone()));
        SwapDims(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::bool_swap_dims(x, o.dim1, o.dim2));
        Permute(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::bool_permute(x, &o.axes));
        Flip(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::bool_flip(x, &o.axes));
        Expand(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::bool_expand(x, o.out.shape.clone()));
        Unfold(o) Constant "0" =>
            cx.linear(&o.input, &o.out, |x| D::bool_unfold(x, o.dim, o.size, o.step));
        Slice(o) Constant "0" =>
            cx.linear(&o.tensor, &o.out, |x| D::bool_slice(x, &o.ranges));
        SliceAssign(o) Constant "0" => {
            let (x, value) = (cx.value(&o.tensor)?, cx.value(&o.value)?);
            cx.set_value(&o.out, D::bool_slice_assign(x, &o.ranges, value))
        };
        Select(o) Constant "0" => {
            let (x, at) = (cx.value(&o.tensor)?, cx.value(&o.indices)?);
            cx.set_value(&o.out, D::bool_select(x, o.dim, at))
        };
        SelectAssign(o) Constant "0" => {
            let (x, value) = (cx.value(&o.tensor)?, cx.value(&o.value)?);
            let at = cx.value(&o.indices)?;
            cx.set_value(&o.out, D::bool_select_or(x, o.dim, at, value))
        };
        MaskWhere(o) Constant "0" => {
            let (x, mask) = (cx.value(&o.tensor)?, cx.value(&o.mask)?);
            let value = cx.value(&o.value)?;
            cx.set_value(&o.out, D::bool_mask_where(x, mask, value))
        };
        MaskFill(o) Constant "0" => {
            let (x, mask) = (cx.value(&o.tensor)?, cx.value(&o.mask)?);
            cx.set_value(&o.out, D::bool_mask_fill(x, mask, o.value.into()))
        };
        Gather(o) Constant "0" => {
            let (x, at) = (cx.value(&o.tensor)?, cx.value(&o.indices)?);
            cx.set_value(&o.out, D::bool_gather(o.dim, x, at))
        };
        Scatter(o) Constant "0" => {
            let (x, value) = (cx.value(&o.tensor)?, cx.value(&o.value)?);
            let at = cx.value(&o.indices)?;
            cx.set_value(&o.out, D::bool_scatter_or(o.dim, x, at, value))
        };
        ScatterNd(_) Unsupported "" => Err(JvpError::no_rule("BaseBool::ScatterNd"));
        GatherNd(_) Unsupported "" => Err(JvpError::no_rule("BaseBool::GatherNd"));
        Equal(o) Constant "0" => cx.pure(o, D::bool_equal);
        EqualElem(o) Constant "0" => cx.pure_scalar(o, D::bool_equal_elem);
        NotEqual(o) Constant "0" => cx.pure(o, D::bool_not_equal);
        NotEqualElem(o) Constant "0" => cx.pure_scalar(o, D::bool_not_equal_elem);
        RepeatDim(o) Constant "0" =>
            cx.linear(&o.tensor, &o.out, |x| D::bool_repeat_dim(x, o.dim, o.times));
        Cat(o) Constant "0" => {
            let parts = o.tensors.iter().map(|t| cx.value(t)).collect::<Result<Vec<_>, _>>()?;
            cx.set_value(&o.out, D::bool_cat(parts, o.dim))
        };
        Cast(_) Unsupported "" => Err(JvpError::no_rule("BaseBool::Cast"));
        Empty(o) Constant "0" => {
            let value = D::bool_zeros(o.out.shape.clone(), cx.device(), o.out.dtype.into());
            cx.set_value(&o.out, value)
        };
        Ones(o) Constant "0" => {
            let value = D::bool_ones(o.out.shape.clone(), cx.device(), o.out.dtype.into());
            cx.set_value(&o.out, value)
        };
        Zeros(o) Constant "0" => {
            let value = D::bool_zeros(o.out.shape.clone(), cx.device(), o.out.dtype.into());
            cx.set_value(&o.out, value)
        };
        All(o) Constant "0" => {
            let x = cx.value(&o.input)?;
            cx.set_value(&o.out, D::bool_all(x))
        };
        Any(o) Constant "0" => {
            let x = cx.value(&o.input)?;
            cx.set_value(&o.out, D::bool_any(x))
        };
        AllDim(o) Constant "0" => {
            let x = cx.value(&o.input)?;
            cx.set_value(&o.out, D::bool_all_dim(x, o.axis))
        };
        AnyDim(o) Constant "0" => {
            let x = cx.value(&o.input)?;
            cx.set_value(&o.out, D::bool_any_dim(x, o.axis))
        };
    });
}
