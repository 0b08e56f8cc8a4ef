use burn::tensor::{Tensor, TensorData};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::{Real, elements, for_each_with_work, for_type, gram, kernel, read};
use crate::orthogonal::Quintic;

/// `X ← a X + (b A + c A²) X`, `A = X Xᵀ`, over the polynomials, of each wide matrix; `None` where the device makes
/// it in less time. The two symmetric products are made by half, and the stack goes over once.
pub(crate) fn iterate(wide: &Tensor<3>, polynomials: &[Quintic]) -> Option<Tensor<3>> {
    const OPERATION: &str = "polar factor";
    let [k, m, n] = wide.dims();
    if polynomials.is_empty() || !gram::pays(wide, m * m * n) {
        return None;
    }
    let data = read(OPERATION, wide.clone()).ok()?;
    let factors = for_type!(data, T => {
        let mut out = vec![0.0 as T; k * m * n];
        let input = elements::<T>(OPERATION, &data).ok()?;
        for_each_with_work((k, m * m * n), input, &mut out, |x, out, par| {
            polynomials_of(x, (m, n), polynomials, out, par)
        });
        TensorData::new(out, [k, m, n])
    });
    Some(Tensor::from_data(factors, (&wide.device(), wide.dtype())))
}

fn polynomials_of<T: Real>(
    x: &[T],
    (m, n): (usize, usize),
    polynomials: &[Quintic],
    out: &mut [T],
    par: Par,
) {
    out.copy_from_slice(x);
    let mut last = x.to_vec();
    let mut gram = vec![T::of(0.0); m * m];
    let mut mix = gram.clone();
    for &(a, b, c) in polynomials {
        last.copy_from_slice(out);
        let x = MatRef::from_row_major_slice(&last, m, n);
        kernel::upper_product(&mut gram, x, x.transpose(), 1.0, par);
        if c == 0.0 {
            mix.fill(T::of(0.0));
        } else {
            kernel::mirror(&mut gram, m);
            let gram = MatRef::from_row_major_slice(&gram, m, m);
            kernel::upper_product(&mut mix, gram, gram, c, par);
        }
        for i in 0..m {
            let upper = i * m + i..(i + 1) * m;
            for (mix, gram) in mix[upper.clone()].iter_mut().zip(&gram[upper]) {
                *mix += T::of(b) * *gram;
            }
            mix[i * m + i] += T::of(a);
        }
        kernel::mirror(&mut mix, m);
        let mix = MatRef::from_row_major_slice(&mix, m, m);
        let out = MatMut::from_row_major_slice_mut(out, m, n);
        matmul(out, Accum::Replace, mix, x, T::of(1.0), par);
    }
}
