//! Some rows of a stack, taken out and put back.

use burn::tensor::Tensor;

/// The rows of a tensor at the given positions, in rising order.
pub fn take_rows<const D: usize>(x: &Tensor<D>, rows: &[usize]) -> Tensor<D> {
    let k = x.dims()[0];
    if rows.len() == k {
        return x.clone();
    }
    let parts = runs(rows)
        .into_iter()
        .map(|run| x.clone().narrow(0, run.start, run.len()))
        .collect();
    Tensor::cat(parts, 0)
}

/// The tensor with the given rows replaced, in rising order.
pub fn put_rows<const D: usize>(x: Tensor<D>, rows: &[usize], values: Tensor<D>) -> Tensor<D> {
    let k = x.dims()[0];
    if rows.len() == k {
        return values;
    }
    let (mut parts, mut kept, mut taken) = (Vec::new(), 0, 0);
    for run in runs(rows) {
        if run.start > kept {
            parts.push(x.clone().narrow(0, kept, run.start - kept));
        }
        parts.push(values.clone().narrow(0, taken, run.len()));
        taken += run.len();
        kept = run.end;
    }
    if kept < k {
        parts.push(x.narrow(0, kept, k - kept));
    }
    Tensor::cat(parts, 0)
}

/// Rising positions as ranges of neighbours.
fn runs(rows: &[usize]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for &row in rows {
        match runs.last_mut() {
            Some(run) if run.end == row => run.end += 1,
            _ => runs.push(row..row + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Int};

    #[test]
    fn rows_are_taken_and_put_back() {
        let x = Tensor::<1, Int>::arange(0..12, &Device::flex())
            .float()
            .reshape([6, 2]);
        for rows in [&[0, 1, 4][..], &[5], &[0, 1, 2, 3, 4, 5], &[1, 3, 5]] {
            let taken = take_rows(&x, rows);
            let values: Vec<f32> = taken.clone().try_into_vec_as().unwrap();
            let want: Vec<f32> = rows
                .iter()
                .flat_map(|&row| [2.0 * row as f32, 2.0 * row as f32 + 1.0])
                .collect();
            assert_eq!(values, want);
            let put = put_rows(x.clone(), rows, taken.mul_scalar(-1.0));
            let put: Vec<f32> = put.try_into_vec_as().unwrap();
            for (index, value) in put.iter().enumerate() {
                let sign = if rows.contains(&(index / 2)) {
                    -1.0
                } else {
                    1.0
                };
                assert_eq!(*value, sign * index as f32);
            }
        }
    }
}
