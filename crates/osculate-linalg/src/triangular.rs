//! Triangular inverses and solves, on the device.

use burn::tensor::Tensor;

use crate::error::{LinalgError, square};
use crate::outcome::DeviceSolution;
use crate::stack::{frobenius, identity, narrow, positive, transpose, widen};

/// Which half of a triangular matrix is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Triangle {
    /// Zero above the diagonal.
    Lower,
    /// Zero below the diagonal.
    Upper,
}

/// Size of the diagonal blocks that are inverted by substitution; larger ones are put together by
/// matrix products.
const BASE: usize = 16;

/// The inverse of each triangular matrix of `[k, n, n]`. Only the named half is looked at.
///
/// Diagonal blocks are inverted by substitution, all of the stack at once, and put together by
/// `[A 0; C B]⁻¹ = [A⁻¹ 0; -B⁻¹ C A⁻¹ B⁻¹]` in `log2(n / 16)` rounds of batched products. Costs about
/// `n³ / 3` multiplications a matrix; nothing is read back. A zero on the diagonal gives an
/// infinity or NaN.
///
/// # Errors
/// [`LinalgError::Shape`] for matrices that are not square.
pub fn triangular_inverse(stack: Tensor<3>, triangle: Triangle) -> Result<Tensor<3>, LinalgError> {
    let (k, n) = square("triangular_inverse", stack.dims())?;
    if k * n == 0 {
        return Ok(stack);
    }
    let dtype = stack.dtype();
    let lower = lower_half(widen(stack), triangle);
    let inverse = invert_lower(lower);
    let inverse = match triangle {
        Triangle::Lower => inverse,
        Triangle::Upper => transpose(inverse),
    };
    Ok(narrow(inverse, dtype))
}

/// Solves `T X = B` for each triangular matrix `T` of `[k, n, n]` and right-hand side of
/// `[k, n, m]`. Only the named half of `T` is looked at.
///
/// By recursion on halves, with the inverses of diagonal blocks of at most 64 rows; all of it matrix
/// products on the device, about `n² m` multiplications a matrix. The residual is
/// `‖T X - B‖ / (‖T‖ ‖X‖)` in Frobenius norms, which costs `n² m` multiplications more; a zero on
/// the diagonal makes it NaN. `X T = B` is the transpose of `Tᵀ Xᵀ = Bᵀ`.
///
/// # Errors
/// [`LinalgError::Shape`] where the shapes do not fit each other.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use osculate_linalg::{Triangle, solve_triangular};
/// let device = Device::default();
/// let t = Tensor::<3>::from_data([[[2.0, 0.0], [1.0, 4.0]]], &device);
/// let b = Tensor::<3>::from_data([[[2.0], [9.0]]], &device);
/// let x = solve_triangular(t, b, Triangle::Lower)?.value;
/// assert_eq!(x.into_data().try_to_vec::<f32>().unwrap(), [1.0, 2.0]);
/// # Ok::<(), osculate_linalg::LinalgError>(())
/// ```
pub fn solve_triangular(
    stack: Tensor<3>,
    right: Tensor<3>,
    triangle: Triangle,
) -> Result<DeviceSolution, LinalgError> {
    let value = substitute(stack.clone(), right.clone(), triangle)?;
    let [k, n, _] = value.dims();
    let (t, x, b) = (widen(stack), widen(value.clone()), widen(right));
    let residual = if k * n == 0 {
        Tensor::zeros([k], (&x.device(), x.dtype()))
    } else {
        let t = match triangle {
            Triangle::Lower => t.tril(0),
            Triangle::Upper => t.triu(0),
        };
        let size = positive(frobenius(t.clone())) * positive(frobenius(x.clone()));
        (frobenius(t.matmul(x) - b) / size).reshape([k])
    };
    Ok(DeviceSolution { value, residual })
}

/// [`solve_triangular`] without the residual, for inner loops.
///
/// # Errors
/// As [`solve_triangular`].
pub fn substitute(
    stack: Tensor<3>,
    right: Tensor<3>,
    triangle: Triangle,
) -> Result<Tensor<3>, LinalgError> {
    let (k, n) = square("solve_triangular", stack.dims())?;
    let [right_k, right_n, m] = right.dims();
    if (right_k, right_n) != (k, n) {
        return Err(LinalgError::Shape {
            operation: "solve_triangular",
            expected: "a right-hand side with as many matrices, and rows, as the triangles",
            shape: right.dims().to_vec(),
        });
    }
    if k * n * m == 0 {
        return Ok(right);
    }
    let dtype = right.dtype();
    let (stack, right) = (widen(stack), widen(right));
    let solution = match triangle {
        Triangle::Lower => solve_lower(&stack, right),
        Triangle::Upper => solve_upper(&stack, right),
    };
    Ok(narrow(solution, dtype))
}

/// Rows of the blocks at the bottom of the recursion.
const LEAF: usize = 64;

fn split(n: usize) -> usize {
    (n / 2).next_multiple_of(LEAF).min(n - 1)
}

fn part(
    stack: &Tensor<3>,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
) -> Tensor<3> {
    let [k, ..] = stack.dims();
    stack.clone().slice([0..k, rows, columns])
}

fn solve_lower(t: &Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    let [_, n, m] = b.dims();
    if n <= LEAF {
        return invert_lower(t.clone().tril(0)).matmul(b);
    }
    let h = split(n);
    let first = solve_lower(&part(t, 0..h, 0..h), part(&b, 0..h, 0..m));
    let rest = part(&b, h..n, 0..m) - part(t, h..n, 0..h).matmul(first.clone());
    let second = solve_lower(&part(t, h..n, h..n), rest);
    Tensor::cat(vec![first, second], 1)
}

fn solve_upper(t: &Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    let [_, n, m] = b.dims();
    if n <= LEAF {
        let lower = transpose(t.clone().triu(0));
        return transpose(invert_lower(lower)).matmul(b);
    }
    let h = split(n);
    let second = solve_upper(&part(t, h..n, h..n), part(&b, h..n, 0..m));
    let rest = part(&b, 0..h, 0..m) - part(t, 0..h, h..n).matmul(second.clone());
    let first = solve_upper(&part(t, 0..h, 0..h), rest);
    Tensor::cat(vec![first, second], 1)
}

/// The named half as a lower triangle.
fn lower_half(stack: Tensor<3>, triangle: Triangle) -> Tensor<3> {
    match triangle {
        Triangle::Lower => stack.tril(0),
        Triangle::Upper => transpose(stack.triu(0)),
    }
}

/// The inverse of lower triangular matrices, with zeros above the diagonal.
fn invert_lower(lower: Tensor<3>) -> Tensor<3> {
    let [k, n, _] = lower.dims();
    let (device, dtype) = (lower.device(), lower.dtype());
    let size = if n <= BASE {
        n
    } else {
        BASE * n.div_ceil(BASE).next_power_of_two()
    };
    // Padded with the identity to a power of two of blocks.
    let padded = if size == n {
        lower
    } else {
        identity(size, &device, dtype)
            .repeat_dim(0, k)
            .slice_assign([0..k, 0..n, 0..n], lower)
    };
    let base = size.min(BASE);
    let mut blocks = invert_small(diagonal_blocks(&padded, base));
    let mut b = base;
    while b < size {
        let pairs = size / (2 * b);
        let halves = blocks.reshape([k * pairs, 2, b * b]);
        let half = |i: usize| {
            halves
                .clone()
                .slice([0..k * pairs, i..i + 1, 0..b * b])
                .reshape([k * pairs, b, b])
        };
        let (first, second) = (half(0), half(1));
        let corner = diagonal_blocks(&padded, 2 * b).slice([0..k * pairs, b..2 * b, 0..b]);
        let corner = second.clone().matmul(corner).matmul(first.clone()).neg();
        let zero = corner.zeros_like();
        blocks = Tensor::cat(
            vec![
                Tensor::cat(vec![first, zero], 2),
                Tensor::cat(vec![corner, second], 2),
            ],
            1,
        );
        b *= 2;
    }
    blocks.reshape([k, size, size]).slice([0..k, 0..n, 0..n])
}

/// The blocks of size `b` on the diagonals of `[k, n, n]`, as `[k n/b, b, b]`.
fn diagonal_blocks(stack: &Tensor<3>, b: usize) -> Tensor<3> {
    let [k, n, _] = stack.dims();
    let count = n / b;
    if count == 1 {
        return stack.clone();
    }
    let blocks = (0..count)
        .map(|i| {
            let range = i * b..(i + 1) * b;
            stack.clone().slice([0..k, range.clone(), range])
        })
        .collect();
    Tensor::stack::<4>(blocks, 1).reshape([k * count, b, b])
}

/// The inverse of small lower triangular matrices, row by row.
fn invert_small(lower: Tensor<3>) -> Tensor<3> {
    let [k, n, _] = lower.dims();
    let eye = identity(n, &lower.device(), lower.dtype());
    let diagonal = (lower.clone() * eye.clone()).sum_dim(2);
    let scaled = lower / diagonal.clone();
    let units = eye / diagonal.swap_dims(1, 2);
    // Row i of the inverse of the matrix with a unit diagonal, then of the matrix itself.
    let mut rows: Vec<Tensor<3>> = Vec::with_capacity(n);
    for i in 0..n {
        let unit = units.clone().slice([0..k, i..i + 1, 0..n]);
        if i == 0 {
            rows.push(unit);
            continue;
        }
        let left = scaled.clone().slice([0..k, i..i + 1, 0..i]);
        let above = Tensor::cat(rows.clone(), 1);
        rows.push(unit - left.matmul(above));
    }
    Tensor::cat(rows, 1)
}
