//! Half the storage for symmetric and triangular matrices.

use burn::tensor::{Bool, Tensor};

use crate::error::{LinalgError, square};
use crate::gram::Side;
use crate::host::{self, Form};
use crate::shape::mode_matrices;
use crate::stack::transpose;
use crate::triangular::Triangle;

/// Shape of the packed form of matrices of size `n`: `n (n + 1) / 2` elements as a rectangle.
///
/// ```
/// assert_eq!(osculate_linalg::packed_shape(4), [5, 2]);
/// assert_eq!(osculate_linalg::packed_shape(5), [5, 3]);
/// ```
pub fn packed_shape(n: usize) -> [usize; 2] {
    [n + (n + 1) % 2, n.div_ceil(2)]
}

/// One half of each matrix of `[k, n, n]` in `n (n + 1) / 2` elements, `[k, rows, columns]` with
/// [`packed_shape`].
///
/// The rectangular full packed format: with the lower half in blocks `[A · ; B C]`, where `A` has
/// `⌈n/2⌉` rows, `Cᵀ` lies above the diagonal of `A`, on top of `B`. It is made of slices and one
/// mask: no index is stored. The type is kept.
///
/// # Errors
/// [`LinalgError::Shape`] for matrices that are not square.
pub fn pack(stack: Tensor<3>, triangle: Triangle) -> Result<Tensor<3>, LinalgError> {
    let (k, n) = square("pack", stack.dims())?;
    let [rows, h] = packed_shape(n);
    if k * n == 0 {
        return Ok(Tensor::zeros(
            [k, rows, h],
            (&stack.device(), stack.dtype()),
        ));
    }
    let lower = match triangle {
        Triangle::Lower => stack,
        Triangle::Upper => transpose(stack),
    };
    let a = lower.clone().slice([0..k, 0..h, 0..h]);
    let rest = (n > h).then(|| {
        let b = lower.clone().slice([0..k, h..n, 0..h]);
        let c = transpose(lower.slice([0..k, h..n, h..n]));
        (b, c)
    });
    Ok(assemble(a, rest))
}

/// The packed Gram matrix of each tensor of `[k, d_1 ⋯ d_r]` along a mode: [`pack`] of
/// [`mode_gram`](crate::mode_gram), at three quarters of the multiplications, and on a CPU at half of them for
/// large matrices.
///
/// # Errors
/// [`LinalgError::Shape`] where the shapes do not fit each other.
pub fn packed_gram(
    stack: Tensor<2>,
    dims: &[usize],
    mode: usize,
) -> Result<Tensor<3>, LinalgError> {
    let (matrices, side) = mode_matrices("packed_gram", stack, dims, mode)?;
    if let Some(packed) = host::gram(&matrices, side, Form::Packed) {
        return Ok(packed);
    }
    let rows = match side {
        Side::Rows => matrices,
        Side::Columns => transpose(matrices),
    };
    let [k, n, m] = rows.dims();
    let [height, h] = packed_shape(n);
    if k * n * m == 0 {
        let at = (&rows.device(), rows.dtype());
        return Ok(Tensor::zeros([k, height, h], at));
    }
    let first = rows.clone().slice([0..k, 0..h, 0..m]);
    let turned = transpose(first.clone());
    let a = first.matmul(turned.clone());
    let rest = (n > h).then(|| {
        let second = rows.slice([0..k, h..n, 0..m]);
        let c = second.clone().matmul(transpose(second.clone()));
        (second.matmul(turned), c)
    });
    Ok(assemble(a, rest))
}

/// The packed form of the lower half of `A`, of `B`, and of the upper half of the third block.
fn assemble(a: Tensor<3>, rest: Option<(Tensor<3>, Tensor<3>)>) -> Tensor<3> {
    let Some((b, c)) = rest else { return a };
    let [k, h, _] = a.dims();
    let (device, dtype) = (a.device(), a.dtype());
    let even = c.dims()[1] == h;
    let row = |columns: usize| Tensor::zeros([k, 1, columns], (&device, dtype));
    // An even size leaves a row free above `A`, an odd one a column free left of the other half.
    let (a, c) = if even {
        (
            Tensor::cat(vec![row(h), a], 1),
            Tensor::cat(vec![c, row(h)], 1),
        )
    } else {
        let column = Tensor::zeros([k, h, 1], (&device, dtype));
        let c = Tensor::cat(vec![c, row(h - 1)], 1);
        (a, Tensor::cat(vec![column, c], 2))
    };
    let [_, height, _] = a.dims();
    let of_a = Tensor::<2, Bool>::triu_mask([height, h], i64::from(!even), &device);
    let of_a = of_a.unsqueeze::<3>().expand([k, height, h]);
    Tensor::cat(vec![c.mask_where(of_a, a), b], 1)
}

/// `A`, `B` and the third block of packed matrices; of `A` the lower half is valid, and of the
/// third block, which is missing for size 1, the upper half.
type Blocks = (Tensor<3>, Option<(Tensor<3>, Tensor<3>)>);

fn blocks(operation: &'static str, packed: Tensor<3>, n: usize) -> Result<Blocks, LinalgError> {
    let [k, rows, h] = packed.dims();
    if [rows, h] != packed_shape(n) {
        return Err(LinalgError::Shape {
            operation,
            expected: "a stack of packed matrices of the size asked for",
            shape: vec![k, rows, h],
        });
    }
    let top = rows - n;
    let (left, c) = (1 - top, n - h);
    let a = packed.clone().slice([0..k, top..top + h, 0..h]);
    let rest = (c > 0).then(|| {
        let b = packed.clone().slice([0..k, top + h..rows, 0..h]);
        (b, packed.slice([0..k, 0..c, left..left + c]))
    });
    Ok((a, rest))
}

/// The lower triangular matrices of packed ones, with zeros above the diagonal.
///
/// # Errors
/// [`LinalgError::Shape`] where the stack is not of [`packed_shape`].
pub fn unpack_lower(packed: Tensor<3>, n: usize) -> Result<Tensor<3>, LinalgError> {
    let k = packed.dims()[0];
    if k * n == 0 {
        return empty("unpack_lower", packed, n);
    }
    let (a, rest) = blocks("unpack_lower", packed, n)?;
    let a = a.tril(0);
    let Some((b, c)) = rest else { return Ok(a) };
    let c = transpose(c.triu(0));
    let right = Tensor::zeros([k, a.dims()[1], c.dims()[1]], (&a.device(), a.dtype()));
    let top = Tensor::cat(vec![a, right], 2);
    Ok(Tensor::cat(vec![top, Tensor::cat(vec![b, c], 2)], 1))
}

/// The symmetric matrices of packed ones.
///
/// # Errors
/// As [`unpack_lower`].
pub fn unpack_symmetric(packed: Tensor<3>, n: usize) -> Result<Tensor<3>, LinalgError> {
    let k = packed.dims()[0];
    if k * n == 0 {
        return empty("unpack_symmetric", packed, n);
    }
    let (a, rest) = blocks("unpack_symmetric", packed, n)?;
    let [_, h, _] = a.dims();
    let above = Tensor::<2, Bool>::tril_mask([h, h], 0, &a.device());
    let mirrored = |x: Tensor<3>, other_half: Tensor<2, Bool>| {
        let mask = other_half.unsqueeze::<3>().expand(x.dims());
        let turned = transpose(x.clone());
        x.mask_where(mask, turned)
    };
    let a = mirrored(a, above.clone());
    let Some((b, c)) = rest else { return Ok(a) };
    let [_, size, _] = c.dims();
    let below = above.slice([0..size, 0..size]).transpose();
    let c = mirrored(c, below);
    let top = Tensor::cat(vec![a, transpose(b.clone())], 2);
    Ok(Tensor::cat(vec![top, Tensor::cat(vec![b, c], 2)], 1))
}

/// The upper triangular matrices of packed ones, with zeros below the diagonal.
///
/// # Errors
/// As [`unpack_lower`].
pub fn unpack_upper(packed: Tensor<3>, n: usize) -> Result<Tensor<3>, LinalgError> {
    unpack_lower(packed, n).map(transpose)
}

fn empty(operation: &'static str, packed: Tensor<3>, n: usize) -> Result<Tensor<3>, LinalgError> {
    let k = packed.dims()[0];
    let at = (&packed.device(), packed.dtype());
    let empty = Tensor::zeros([k, n, n], at);
    blocks(operation, packed, n).map(|_| empty)
}
