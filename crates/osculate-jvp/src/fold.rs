//! Factors that do not move are multiplied with one another once, instead of one after another with
//! what does.

use burn::tensor::DType;
use burn_ir::{BinaryOpIr, NumericOperationIr, OperationIr, TensorId, TensorIr};

use crate::context::slot;
use crate::graph::Graph;

/// Turns `(a ẋ) b` into `(a b) ẋ` where `a` and `b` are reached by none of the arguments from `own`
/// on. In half precision the product of two factors can be out of range where neither is applied to
/// its limit, so that they stay apart there.
pub(crate) fn fold_factors(graph: &mut Graph, own: usize) {
    let mut moves = vec![false; graph.reads.len()];
    for &argument in &graph.arguments[own..] {
        moves[argument] = true;
    }
    // For each slot, the position of the product that makes it of a still and a moving factor.
    let mut products: Vec<Option<usize>> = vec![None; graph.reads.len()];
    let mut steps: Vec<Option<OperationIr>> = Vec::with_capacity(graph.steps.len());
    for step in core::mem::take(&mut graph.steps) {
        let moving = step.inputs().any(|input| moves[slot(input)]);
        for out in step.outputs() {
            moves[slot(out)] = moving;
        }
        let Some((factor, product, out)) = parts(&step, &moves) else {
            steps.push(Some(step));
            continue;
        };
        let earlier = products[slot(&product)].filter(|_| graph.reads[slot(&product)] == 1);
        let earlier = earlier.and_then(|at| {
            let first = parts(steps[at].as_ref()?, &moves)?;
            steps[at] = None;
            Some(first)
        });
        let (factor, moving) = match earlier {
            None => (factor, product),
            Some((first, moving, _)) => {
                let both = TensorIr {
                    id: TensorId::new(moves.len() as u64),
                    ..out.clone()
                };
                moves.push(false);
                products.push(None);
                graph.reads[slot(&product)] = 0;
                graph.reads.push(1);
                steps.push(Some(times(first, factor, both.clone())));
                (both, moving)
            }
        };
        products[slot(&out)] = Some(steps.len());
        steps.push(Some(times(factor, moving, out)));
    }
    graph.steps = steps.into_iter().flatten().collect();
}

/// The still factor, the moving one and the result of a product of two tensors of one shape.
fn parts(step: &OperationIr, moves: &[bool]) -> Option<(TensorIr, TensorIr, TensorIr)> {
    let OperationIr::NumericFloat(_, NumericOperationIr::Mul(o)) = step else {
        return None;
    };
    let wide = matches!(o.out.dtype, DType::F32 | DType::F64);
    if !wide || o.lhs.shape != o.out.shape || o.rhs.shape != o.out.shape {
        return None;
    }
    let (still, moving) = match (moves[slot(&o.lhs)], moves[slot(&o.rhs)]) {
        (false, true) => (&o.lhs, &o.rhs),
        (true, false) => (&o.rhs, &o.lhs),
        _ => return None,
    };
    Some((still.clone(), moving.clone(), o.out.clone()))
}

fn times(lhs: TensorIr, rhs: TensorIr, out: TensorIr) -> OperationIr {
    let dtype = out.dtype;
    OperationIr::NumericFloat(dtype, NumericOperationIr::Mul(BinaryOpIr { lhs, rhs, out }))
}
