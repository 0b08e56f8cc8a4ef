use burn_backend::ops::FloatTensorOps;
use burn_dispatch::Dispatch as D;
use burn_ir::BaseOperationIr;

use super::rule_table;
use super::update::update;
use crate::dual::{Value, jointly_linear};

rule_table!("BaseFloat", BaseOperationIr, |cx| {
    Reshape(o) Differentiated "reshape(ẋ)" =>
        cx.linear(&o.input, &o.out, |x| D::float_reshape(x, o.out.shape.clone()));
    SwapDims(o) Differentiated "swap_dims(ẋ)" =>
        cx.linear(&o.input, &o.out, |x| D::float_swap_dims(x, o.dim1, o.dim2));
    Permute(o) Differentiated "permute(ẋ)" =>
        cx.linear(&o.input, &o.out, |x| D::float_permute(x, &o.axes));
    Flip(o) Differentiated "flip(ẋ)" =>
        cx.linear(&o.input, &o.out, |x| D::float_flip(x, &o.axes));
    Expand(o) Differentiated "expand(ẋ)" =>
        cx.linear(&o.input, &o.out, |x| D::float_expand(x, o.out.shape.clone()));
    Unfold(o) Differentiated "unfold(ẋ)" =>
        cx.linear(&o.input, &o.out, |x| D::float_unfold(x, o.dim, o.size, o.step));
    Slice(o) Differentiated "slice(ẋ)" =>
        cx.linear(&o.tensor, &o.out, |x| D::float_slice(x, &o.ranges));
    SliceAssign(o) Differentiated "ẋ with ẇ assigned" => {
        let parts = [cx.get(&o.tensor)?, cx.get(&o.value)?];
        cx.set(&o.out, jointly_linear(&parts, |values| {
            let [x, value] = pair(values);
            D::float_slice_assign(x, &o.ranges, value)
        }))
    };
    Select(o) Differentiated "select(ẋ)" => {
        let (x, at) = (cx.get(&o.tensor)?, cx.value(&o.indices)?);
        cx.set(&o.out, x.linear(|x| D::float_select(x, o.dim, at.clone())))
    };
    SelectAssign(o) Differentiated "ẋ with ẇ added or assigned, (ẋ w + x ẇ) for products at indices that do not repeat, that of the winner for extremes" => {
        let (x, value, at) = (cx.get(&o.tensor)?, cx.get(&o.value)?, cx.value(&o.indices)?);
        cx.set(&o.out, update(x, value, o.update,
            |x| D::float_select(x, o.dim, at.clone()),
            |x, value, how| D::float_select_assign(x, o.dim, at.clone(), value, how)))
    };
    MaskWhere(o) Differentiated "ẇ where the mask is set, ẋ elsewhere" => {
        let (x, mask) = (cx.get(&o.tensor)?, cx.value(&o.mask)?);
        let value = cx.get(&o.value)?;
        cx.set(&o.out, x.mask_where(mask, value))
    };
    MaskFill(o) Differentiated "ẋ where the mask is not set" => {
        let (x, mask) = (cx.get(&o.tensor)?, cx.value(&o.mask)?);
        cx.set(&o.out, x.mask_fill(mask, o.value.into()))
    };
    Gather(o) Differentiated "gather(ẋ)" => {
        let (x, at) = (cx.get(&o.tensor)?, cx.value(&o.indices)?);
        cx.set(&o.out, x.gather(o.dim, at))
    };
    Scatter(o) Differentiated "as SelectAssign" => {
        let (x, value, at) = (cx.get(&o.tensor)?, cx.get(&o.value)?, cx.value(&o.indices)?);
        cx.set(&o.out, update(x, value, o.update,
            |x| D::float_gather(o.dim, x, at.clone()),
            |x, value, how| D::float_scatter(o.dim, x, at.clone(), value, how)))
    };
    ScatterNd(o) Differentiated "as SelectAssign" => {
        let (x, value, at) = (cx.get(&o.data)?, cx.get(&o.values)?, cx.value(&o.indices)?);
        cx.set(&o.out, update(x, value, o.reduction,
            |x| D::float_gather_nd(x, at.clone()),
            |x, value, how| D::float_scatter_nd(x, at.clone(), value, how)))
    };
    GatherNd(o) Differentiated "gather(ẋ)" => {
        let (x, at) = (cx.get(&o.data)?, cx.value(&o.indices)?);
        cx.set(&o.out, x.linear(|x| D::float_gather_nd(x, at.clone())))
    };
    Equal(o) Constant "0" => cx.compare(o, D::float_equal);
    EqualElem(o) Constant "0" => cx.compare_scalar(o, D::float_equal_elem);
    NotEqual(o) Constant "0" => cx.compare(o, D::float_not_equal);
    NotEqualElem(o) Constant "0" => cx.compare_scalar(o, D::float_not_equal_elem);
    RepeatDim(o) Differentiated "repeat(ẋ)" =>
        cx.linear(&o.tensor, &o.out, |x| D::float_repeat_dim(x, o.dim, o.times));
    Cat(o) Differentiated "cat(ẋ, ...)" => {
        let parts = o.tensors.iter().map(|t| cx.get(t)).collect::<Result<Vec<_>, _>>()?;
        cx.set(&o.out, jointly_linear(&parts, |values| D::float_cat(values, o.dim)))
    };
    Cast(o) Differentiated "cast(ẋ)" =>
        cx.linear(&o.input, &o.out, |x| D::float_cast(x, o.out.dtype.into()));
    Empty(o) Constant "0" => {
        let value = D::float_zeros(o.out.shape.clone(), cx.device(), o.out.dtype.into());
        cx.set_value(&o.out, value)
    };
    Ones(o) Constant "0" => {
        let value = D::float_ones(o.out.shape.clone(), cx.device(), o.out.dtype.into());
        cx.set_value(&o.out, value)
    };
    Zeros(o) Constant "0" => {
        let value = D::float_zeros(o.out.shape.clone(), cx.device(), o.out.dtype.into());
        cx.set_value(&o.out, value)
    };
    All(o) Constant "0" => {
        let x = cx.value(&o.input)?;
        cx.set_value(&o.out, D::float_all(x, o.out.dtype.into()))
    };
    Any(o) Constant "0" => {
        let x = cx.value(&o.input)?;
        cx.set_value(&o.out, D::float_any(x, o.out.dtype.into()))
    };
    AllDim(o) Constant "0" => {
        let x = cx.value(&o.input)?;
        cx.set_value(&o.out, D::float_all_dim(x, o.axis, o.out.dtype.into()))
    };
    AnyDim(o) Constant "0" => {
        let x = cx.value(&o.input)?;
        cx.set_value(&o.out, D::float_any_dim(x, o.axis, o.out.dtype.into()))
    };
});

pub(super) fn pair(values: Vec<Value>) -> [Value; 2] {
    match <[Value; 2]>::try_from(values) {
        Ok(pair) => pair,
        Err(values) => unreachable!("two operands were passed, {} came back", values.len()),
    }
}
