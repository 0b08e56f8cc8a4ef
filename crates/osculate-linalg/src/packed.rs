//! Half the storage for symmetric and triangular matrices.

use burn::tensor::Tensor;

use crate::error::{LinalgError, square};
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

/// The lower halves of `[k, n, n]` in `n (n + 1) / 2` elements each, `[k, rows, columns]` with
/// [`packed_shape`].
///
/// The rectangular full packed format: with the matrix in blocks `[A · ; B C]`, where `A` has
/// `⌈n/2⌉` rows, `Cᵀ` lies above the diagonal of `A`, on top of `B`. It is made of slices and masks:
/// no index is stored or computed. The type is kept.
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
    // An even size leaves a row free above `A`, an odd one a column free right of `C`.
    let top = rows - n;
    let left = 1 - top;
    let mut packed = Tensor::zeros([k, rows, h], (&lower.device(), lower.dtype()));
    packed = packed.slice_assign(
        [0..k, top..rows, 0..h],
        lower.clone().slice([0..k, 0..n, 0..h]).tril(0),
    );
    // Rows h..n of the slice are `B`, which `tril` leaves whole.
    let c = n - h;
    if c == 0 {
        return Ok(packed);
    }
    let corner = transpose(lower.slice([0..k, h..n, h..n])).triu(0);
    let place = [0..k, 0..c, left..left + c];
    let below = packed.clone().slice(place.clone());
    Ok(packed.slice_assign(place, below + corner))
}

/// The lower triangular matrices of packed ones, with zeros above the diagonal.
///
/// # Errors
/// [`LinalgError::Shape`] where the stack is not of [`packed_shape`].
pub fn unpack_lower(packed: Tensor<3>, n: usize) -> Result<Tensor<3>, LinalgError> {
    let [k, rows, h] = packed.dims();
    if [rows, h] != packed_shape(n) {
        return Err(LinalgError::Shape {
            operation: "unpack_lower",
            expected: "a stack of packed matrices of the size asked for",
            shape: vec![k, rows, h],
        });
    }
    let (device, dtype) = (packed.device(), packed.dtype());
    if k * n == 0 {
        return Ok(Tensor::zeros([k, n, n], (&device, dtype)));
    }
    let top = rows - n;
    let left = 1 - top;
    let c = n - h;
    let first = packed.clone().slice([0..k, top..rows, 0..h]).tril(0);
    if c == 0 {
        return Ok(first);
    }
    let corner = packed.slice([0..k, 0..c, left..left + c]).triu(0);
    let right = Tensor::zeros([k, h, c], (&device, dtype));
    let right = Tensor::cat(vec![right, transpose(corner)], 1);
    Ok(Tensor::cat(vec![first, right], 2))
}

/// The symmetric matrices of packed ones.
///
/// # Errors
/// As [`unpack_lower`].
pub fn unpack_symmetric(packed: Tensor<3>, n: usize) -> Result<Tensor<3>, LinalgError> {
    let lower = unpack_lower(packed, n)?;
    let upper = transpose(lower.clone()).triu(1);
    Ok(lower + upper)
}

/// The upper triangular matrices of packed ones, with zeros below the diagonal.
///
/// # Errors
/// As [`unpack_lower`].
pub fn unpack_upper(packed: Tensor<3>, n: usize) -> Result<Tensor<3>, LinalgError> {
    unpack_lower(packed, n).map(transpose)
}
