//! Bases of null spaces that follow from the space and not from rounding.
//!
//! Eigenvectors of one eigenvalue are any basis of their space, and a solver takes the one that rounding
//! leads it to. Of a repeated zero, which every factor of few gradients has, that would be another one for
//! every last digit of the matrix. One column alone has no choice but its sign.

use std::ops::Range;

use faer::{Mat, Par};

use super::Real;
use super::kernel::{Eigen, orthogonal_factor};

/// Sizes below this part of the largest are what rounding makes of zero.
fn tolerance<T: Real>(n: usize) -> f64 {
    8.0 * (n as f64).sqrt() * T::EPSILON
}

/// Gives the null space of a matrix that was stored in type `T` the basis nearest to some axes: the
/// projections of those that lie most within it, made orthonormal.
pub(super) fn settle<T: Real, S: Real>(eigen: &mut Eigen<S>, par: Par) {
    let null = null_space::<T, S>(eigen);
    if null.len() < 2 {
        return;
    }
    let space = eigen.vectors.as_ref().subcols(null.start, null.len());
    let axes = nearest_axes(&space.to_owned());
    let rows = Mat::<S>::from_fn(axes.len(), null.len(), |i, j| space[(axes[i], j)]);
    let projections = space * rows.transpose();
    let basis = orthogonal_factor(projections, par);
    for (at, column) in null.zip(0..) {
        let from = basis.col_as_slice(column);
        eigen.vectors.col_as_slice_mut(at).copy_from_slice(from);
    }
}

/// Positions of the eigenvalues that are zero but for rounding; empty for a zero matrix.
fn null_space<T: Real, S: Real>(eigen: &Eigen<S>) -> Range<usize> {
    let values = eigen.values.column_vector();
    let sizes: Vec<f64> = values.iter().map(|value| value.wide().abs()).collect();
    let largest = sizes.iter().copied().fold(0.0, f64::max);
    let limit = largest * tolerance::<T>(sizes.len());
    let small = |size: &f64| largest > 0.0 && *size <= limit;
    let start = sizes.iter().position(small).unwrap_or(0);
    let length = sizes[start..].iter().take_while(|size| small(size)).count();
    start..start + length
}

/// As many axes as there are columns, each the one farthest from the span of those before, in ascending
/// order. Of equally far ones the first.
fn nearest_axes<S: Real>(space: &Mat<S>) -> Vec<usize> {
    const AS_FAR: f64 = 1.0 + 1e-6;
    let (n, r) = (space.nrows(), space.ncols());
    let mut rows: Vec<Vec<f64>> = (0..n)
        .map(|i| (0..r).map(|j| space[(i, j)].wide()).collect())
        .collect();
    let mut axes = Vec::with_capacity(r);
    for _ in 0..r {
        let (mut farthest, mut best) = (0, 0.0);
        for (i, row) in rows.iter().enumerate() {
            let length = dot(row, row);
            if length > best * AS_FAR && !axes.contains(&i) {
                (farthest, best) = (i, length);
            }
        }
        let length = best.sqrt().max(f64::MIN_POSITIVE);
        let unit: Vec<f64> = rows[farthest].iter().map(|x| x / length).collect();
        for row in &mut rows {
            let along = dot(row, &unit);
            row.iter_mut().zip(&unit).for_each(|(x, u)| *x -= along * u);
        }
        axes.push(farthest);
    }
    axes.sort_unstable();
    axes
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The columns of a basis that a matrix takes to nothing but rounding, given their images; empty where it
/// is fewer than two.
pub(super) fn null_columns<T: Real>(image: &Mat<T>) -> Vec<usize> {
    let sizes: Vec<f64> = image
        .col_iter()
        .map(|column| column.norm_l2().wide())
        .collect();
    let largest = sizes.iter().copied().fold(0.0, f64::max);
    let limit = largest * tolerance::<T>(sizes.len());
    let null = (0..sizes.len()).filter(|&j| largest > 0.0 && sizes[j] <= limit);
    let null: Vec<usize> = null.collect();
    if null.len() < 2 { Vec::new() } else { null }
}

/// Lets columns keep their directions, but for what the others take of them.
pub(super) fn hold<T: Real>(basis: &Mat<T>, image: &mut Mat<T>, columns: &[usize]) {
    for &j in columns {
        let column = image.col_as_slice_mut(j);
        column.copy_from_slice(basis.col_as_slice(j));
    }
}
