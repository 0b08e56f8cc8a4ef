use burn_backend::ops::IntTensorOps;
use burn_dispatch::Dispatch as D;
use burn_ir::BaseOperationIr;

use super::rule_table;

rule_table!("BaseInt", BaseOperationIr, |cx| {
    Reshape(o) Constant "0" =>
        cx.linear(&o.input, &o.out, |x| D::int_reshape(x, o.out.shape.clone()));
    SwapDims(o) Constant "0" =>
        cx.linear(&o.input, &o.out, |x| D::int_swap_dims(x, o.dim1, o.dim2));
    Permute(o) Constant "0" =>
        cx.linear(&o.input, &o.out, |x| D::int_permute(x, &o.axes));
    Flip(o) Constant "0" =>
        cx.linear(&o.input, &o.out, |x| D::int_flip(x, &o.axes));
    Expand(o) Constant "0" =>
        cx.linear(&o.input, &o.out, |x| D::int_expand(x, o.out.shape.clone()));
    Unfold(o) Constant "0" =>
        cx.linear(&o.input, &o.out, |x| D::int_unfold(x, o.dim, o.size, o.step));
    Slice(o) Constant "0" =>
        cx.linear(&o.tensor, &o.out, |x| D::int_slice(x, &o.ranges));
    SliceAssign(o) Constant "0" => {
        let (x, value) = (cx.value(&o.tensor)?, cx.value(&o.value)?);
        cx.set_value(&o.out, D::int_slice_assign(x, &o.ranges, value))
    };
    Select(o) Constant "0" => {
        let (x, at) = (cx.value(&o.tensor)?, cx.value(&o.indices)?);
        cx.set_value(&o.out, D::int_select(x, o.dim, at))
    };
    SelectAssign(o) Constant "0" => {
        let (x, value) = (cx.value(&o.tensor)?, cx.value(&o.value)?);
        let at = cx.value(&o.indices)?;
        cx.set_value(&o.out, D::int_select_assign(x, o.dim, at, value, o.update))
    };
    MaskWhere(o) Constant "0" => {
        let (x, mask) = (cx.value(&o.tensor)?, cx.value(&o.mask)?);
        let value = cx.value(&o.value)?;
        cx.set_value(&o.out, D::int_mask_where(x, mask, value))
    };
    MaskFill(o) Constant "0" => {
        let (x, mask) = (cx.value(&o.tensor)?, cx.value(&o.mask)?);
        cx.set_value(&o.out, D::int_mask_fill(x, mask, o.value.into()))
    };
    Gather(o) Constant "0" => {
        let (x, at) = (cx.value(&o.tensor)?, cx.value(&o.indices)?);
        cx.set_value(&o.out, D::int_gather(o.dim, x, at))
    };
    Scatter(o) Constant "0" => {
        let (x, value) = (cx.value(&o.tensor)?, cx.value(&o.value)?);
        let at = cx.value(&o.indices)?;
        cx.set_value(&o.out, D::int_scatter(o.dim, x, at, value, o.update))
    };
    ScatterNd(o) Constant "0" => {
        let (x, value) = (cx.value(&o.data)?, cx.value(&o.values)?);
        let at = cx.value(&o.indices)?;
        cx.set_value(&o.out, D::int_scatter_nd(x, at, value, o.reduction))
    };
    GatherNd(o) Constant "0" => {
        let (x, at) = (cx.value(&o.data)?, cx.value(&o.indices)?);
        cx.set_value(&o.out, D::int_gather_nd(x, at))
    };
    Equal(o) Constant "0" => cx.compare(o, D::int_equal);
    EqualElem(o) Constant "0" => cx.compare_scalar(o, D::int_equal_elem);
    NotEqual(o) Constant "0" => cx.compare(o, D::int_not_equal);
    NotEqualElem(o) Constant "0" => cx.compare_scalar(o, D::int_not_equal_elem);
    RepeatDim(o) Constant "0" =>
        cx.linear(&o.tensor, &o.out, |x| D::int_repeat_dim(x, o.dim, o.times));
    Cat(o) Constant "0" => {
        let parts = o.tensors.iter().map(|t| cx.value(t)).collect::<Result<Vec<_>, _>>()?;
        cx.set_value(&o.out, D::int_cat(parts, o.dim))
    };
    Cast(o) Constant "0" =>
        cx.linear(&o.input, &o.out, |x| D::int_cast(x, o.out.dtype.into()));
    Empty(o) Constant "0" => {
        let value = D::int_zeros(o.out.shape.clone(), cx.device(), o.out.dtype.into());
        cx.set_value(&o.out, value)
    };
    Ones(o) Constant "0" => {
        let value = D::int_ones(o.out.shape.clone(), cx.device(), o.out.dtype.into());
        cx.set_value(&o.out, value)
    };
    Zeros(o) Constant "0" => {
        let value = D::int_zeros(o.out.shape.clone(), cx.device(), o.out.dtype.into());
        cx.set_value(&o.out, value)
    };
    All(o) Constant "0" => {
        let x = cx.value(&o.input)?;
        cx.set_value(&o.out, D::int_all(x, o.out.dtype.into()))
    };
    Any(o) Constant "0" => {
        let x = cx.value(&o.input)?;
        cx.set_value(&o.out, D::int_any(x, o.out.dtype.into()))
    };
    AllDim(o) Constant "0" => {
        let x = cx.value(&o.input)?;
        cx.set_value(&o.out, D::int_all_dim(x, o.axis, o.out.dtype.into()))
    };
    AnyDim(o) Constant "0" => {
        let x = cx.value(&o.input)?;
        cx.set_value(&o.out, D::int_any_dim(x, o.axis, o.out.dtype.into()))
    };
});
