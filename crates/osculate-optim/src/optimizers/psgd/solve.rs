//! Small systems of equations, on the device.

use burn::tensor::{Int, Tensor};

use super::geometry::floored;

/// `A⁻¹ B` for `[k, r, r]` and `[k, r, c]`, by elimination with pivoting over rows.
///
/// For `r` of a few dozen at most: each of the `r` eliminations is a pass over the stack. Nothing is
/// read back. A pivot of zero gives large numbers, not an error.
pub(super) fn solve(a: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    let [k, r, _] = a.dims();
    let c = b.dims()[2];
    let (device, dtype) = (a.device(), a.dtype());
    let places = Tensor::<1, Int>::arange(0..r as i64, &device).reshape([1, r, 1]);
    let mut rows = Tensor::cat(vec![a, b], 2);
    for j in 0..r {
        let column = rows.clone().narrow(2, j, 1);
        // The pivot is looked for in the rows that have not been one.
        let done = places.clone().lower_elem(j as i64).expand([k, r, 1]);
        let pivot = column.abs().mask_fill(done, -1.0).argmax(1);
        let unit = |at: Tensor<3, Int>| {
            let hit = places.clone().expand([k, r, 1]).equal(at.expand([k, r, 1]));
            hit.float().cast(dtype)
        };
        let here = unit(Tensor::full([k, 1, 1], j as i64, &device));
        let swap = here.clone() - unit(pivot);
        rows = rows.clone() - swap.clone() * swap.swap_dims(1, 2).matmul(rows);
        let row = rows.clone().narrow(1, j, 1);
        let head = row.clone().narrow(2, j, 1);
        let sign = head.clone().greater_equal_elem(0.0).float().cast(dtype);
        let sign = sign.mul_scalar(2.0).sub_scalar(1.0);
        let row = row / (floored(head.abs()) * sign);
        let others = here.clone().neg().add_scalar(1.0);
        let column = rows.clone().narrow(2, j, 1) * others.clone();
        rows = rows * others + (here - column) * row;
    }
    rows.narrow(2, r, c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{DType, Device};

    #[test]
    fn solutions_solve() {
        for r in [1, 2, 3, 7] {
            let values = |n: usize, phase: f64| -> Vec<f64> {
                // A quadratic phase: with a linear one every matrix had rank two.
                let angle = |i: usize| (i * i) as f64 * 0.37 + i as f64 * 1.9 + phase;
                (0..n).map(|i| angle(i).sin()).collect()
            };
            let at = (&Device::flex(), DType::F64);
            let a = Tensor::<1>::from_data(&values(3 * r * r, 0.3)[..], at).reshape([3, r, r]);
            // A leading zero needs the pivoting.
            let a = a
                .clone()
                .slice_fill([0..1, 0..1, 0..1], if r > 1 { 0.0 } else { 2.0 });
            let b = Tensor::<1>::from_data(&values(6 * r, 0.7)[..], at).reshape([3, r, 2]);
            let x = solve(a.clone(), b.clone());
            let defect = (a.matmul(x) - b).abs().max().to_data();
            assert!(defect.iter::<f64>().all(|d| d < 1e-9), "{r}: {defect}");
        }
    }
}
