use burn::tensor::{DType, Tensor};
use faer::{Mat, Side};
use osculate_linalg::{
    Effort, LinalgError, MatrixFailure, Triangle, cholesky, mode_gram, pack, packed_gram,
    packed_shape, solve_triangular, triangular_inverse, unpack_lower, unpack_symmetric,
    unpack_upper,
};

use crate::matrices::*;

/// A triangle with a diagonal away from zero, and noise in the other half.
fn triangle(n: usize, seed: u64) -> Mat<f64> {
    let noise = random(n, n, seed);
    Mat::from_fn(n, n, |i, j| {
        if i == j {
            2.0 + noise[(i, j)]
        } else {
            noise[(i, j)] / n as f64 * 2.0
        }
    })
}

fn half(a: &Mat<f64>, kind: Triangle) -> Mat<f64> {
    let inside = |i, j| match kind {
        Triangle::Lower => i >= j,
        Triangle::Upper => i <= j,
    };
    Mat::from_fn(a.nrows(), a.nrows(), |i, j| {
        if inside(i, j) { a[(i, j)] } else { 0.0 }
    })
}

#[test]
fn triangular_solves_and_inverses() {
    for n in [1, 2, 5, 16, 17, 33, 64, 65, 130, 200] {
        let triangles = [triangle(n, 20), triangle(n, 21)];
        let rights = [random(n, 7, 22), random(n, 7, 23)];
        for dtype in TYPES {
            let tolerance = 50.0 * roundoff(dtype);
            for kind in [Triangle::Lower, Triangle::Upper] {
                let (t, b) = (stack(&triangles, dtype), stack(&rights, dtype));
                let solution = solve_triangular(t.clone(), b, kind).unwrap();
                let inverse = triangular_inverse(t, kind).unwrap();
                assert!(
                    solution
                        .outcomes(tolerance)
                        .unwrap()
                        .iter()
                        .all(Result::is_ok)
                );
                for index in 0..2 {
                    let t = half(&triangles[index], kind);
                    let x = matrix(&solution.value, index);
                    let off = distance(&(&t * &x), &rights[index]);
                    assert!(off < tolerance, "{n} {kind:?} {dtype:?}: {off}");
                    let unit = &t * matrix(&inverse, index);
                    let off = distance(&unit, &Mat::<f64>::identity(n, n));
                    assert!(off < tolerance, "{n} {kind:?} {dtype:?}: {off}");
                }
            }
        }
    }
}

#[test]
fn a_singular_triangle_is_a_typed_failure() {
    let mut singular = triangle(20, 24);
    singular[(7, 7)] = 0.0;
    let t = stack(&[singular, triangle(20, 25)], DType::F32);
    let b = stack(&[random(20, 3, 26), random(20, 3, 27)], DType::F32);
    let solution = solve_triangular(t.clone(), b, Triangle::Upper).unwrap();
    let outcomes = solution.outcomes(1e-4).unwrap();
    assert_eq!(outcomes[0], Err(MatrixFailure::NonFinite));
    assert!(outcomes[1].is_ok());
    let wrong = Tensor::<3>::zeros([2, 19, 3], &device());
    assert!(matches!(
        solve_triangular(t, wrong, Triangle::Upper),
        Err(LinalgError::Shape { .. })
    ));
    let empty = Tensor::<3>::zeros([0, 4, 4], &device());
    assert_eq!(
        triangular_inverse(empty, Triangle::Lower).unwrap().dims(),
        [0, 4, 4]
    );
    let (t, b) = (
        Tensor::<3>::zeros([2, 3, 3], &device()),
        Tensor::<3>::zeros([2, 3, 0], &device()),
    );
    assert_eq!(
        solve_triangular(t, b, Triangle::Lower)
            .unwrap()
            .value
            .dims(),
        [2, 3, 0]
    );
}

#[test]
fn cholesky_agrees_with_faer() {
    for n in [1, 2, 17, 70] {
        for dtype in TYPES {
            // Condition 1e12 is beyond f32, and beyond a stack that was rounded to f32.
            let shift = if dtype == DType::F64 { 1e-10 } else { 1e-4 };
            let (names, matrices): (Vec<_>, Vec<_>) = family(n)
                .into_iter()
                .map(|(name, a)| {
                    let ridge = shift * a.norm_l2().max(1.0);
                    (name, a + ridge * Mat::<f64>::identity(n, n))
                })
                .unzip();
            let factors = cholesky(stack(&matrices, dtype), 0.0).unwrap();
            for (index, a) in matrices.iter().enumerate() {
                let name = names[index];
                let solved = factors.outcomes[index].expect(name);
                assert!(solved.residual < 100.0 * roundoff(dtype), "{name}");
                let l = matrix(&factors.factors, index);
                assert_eq!(l, half(&l, Triangle::Lower), "{name}");
                let off = distance(&(&l * l.transpose()), a);
                assert!(off < 50.0 * roundoff(dtype), "{name} {n} {dtype:?}: {off}");
                if dtype == DType::F64 && name == "random" {
                    let want = a.llt(Side::Lower).expect("positive definite");
                    assert!(distance(&l, &want.L().to_owned()) < 1e-10);
                }
            }
        }
    }
}

#[test]
fn cholesky_climbs_its_ladder() {
    let low = random(6, 2, 28);
    let deficient = &low * low.transpose();
    let mut indefinite = Mat::<f64>::identity(6, 6);
    indefinite[(3, 3)] = -1.0;
    let mut nan = Mat::<f64>::identity(6, 6);
    nan[(5, 0)] = f64::NAN;
    let matrices = stack(
        &[
            deficient.clone(),
            indefinite,
            nan,
            Mat::<f64>::identity(6, 6),
        ],
        DType::F32,
    );
    let factors = cholesky(matrices.clone(), 1e-6).unwrap();
    let l = matrix(&factors.factors, 0);
    assert!(factors.outcomes[0].unwrap().effort > Effort::Plain);
    assert!(distance(&(&l * l.transpose()), &deficient) < 1e-5);
    assert_eq!(
        factors.outcomes[1],
        Err(MatrixFailure::NotPositiveDefinite { pivot: 3 })
    );
    assert_eq!(factors.outcomes[2], Err(MatrixFailure::NonFinite));
    assert_eq!(factors.outcomes[3].unwrap().effort, Effort::Plain);
    assert_eq!(matrix(&factors.factors, 1), Mat::<f64>::identity(6, 6));
    let kept = factors
        .or_last(Tensor::ones_like(&matrices))
        .unwrap()
        .factors;
    assert_eq!(matrix(&kept, 1), Mat::from_fn(6, 6, |_, _| 1.0));
    assert_eq!(matrix(&kept, 3), Mat::<f64>::identity(6, 6));
    assert!(matches!(
        cholesky(matrices, f64::NAN),
        Err(LinalgError::Setting { .. })
    ));
    let empty = Tensor::<3>::zeros([3, 0, 0], &device());
    assert_eq!(cholesky(empty, 0.0).unwrap().outcomes.len(), 3);
}

#[test]
fn packing_is_exact_and_halves_the_storage() {
    for n in 0..10 {
        let [rows, columns] = packed_shape(n);
        let stored = if n == 0 { 0 } else { n * (n + 1) / 2 };
        assert_eq!(rows * columns, stored, "{n}");
        if n == 0 {
            continue;
        }
        for dtype in [DType::F64, DType::BF16] {
            let any = stack(&[random(n, n, 29), random(n, n, 30)], dtype);
            let lower = pack(any.clone(), Triangle::Lower).unwrap();
            assert_eq!(lower.dims(), [2, rows, columns]);
            assert_eq!(lower.dtype(), dtype);
            let upper = pack(any.clone(), Triangle::Upper).unwrap();
            for index in 0..2 {
                let a = matrix(&any, index);
                let low = matrix(&unpack_lower(lower.clone(), n).unwrap(), index);
                assert_eq!(low, half(&a, Triangle::Lower), "{n}");
                let up = matrix(&unpack_upper(upper.clone(), n).unwrap(), index);
                assert_eq!(up, half(&a, Triangle::Upper), "{n}");
                let symmetric = matrix(&unpack_symmetric(lower.clone(), n).unwrap(), index);
                let want = Mat::from_fn(n, n, |i, j| a[(i.max(j), i.min(j))]);
                assert_eq!(symmetric, want, "{n}");
            }
        }
    }
    let wrong = Tensor::<3>::zeros([1, 4, 2], &device());
    assert!(matches!(
        unpack_lower(wrong, 4),
        Err(LinalgError::Shape { .. })
    ));
}

#[test]
fn packed_gram_matrices_are_packed_gram_matrices() {
    for dims in [vec![1, 3], vec![2, 5], vec![7, 4], vec![4, 5, 6]] {
        let n = dims.iter().product();
        let x = stack(&[random(2, n, 31)], DType::F64).reshape([2, n]);
        for mode in 0..dims.len() {
            let gram = mode_gram(x.clone(), x.clone(), &dims, mode).unwrap();
            let want = pack(gram, Triangle::Lower).unwrap();
            let got = packed_gram(x.clone(), &dims, mode).unwrap();
            assert_eq!(got.dims(), want.dims());
            for index in 0..2 {
                let (got, want) = (matrix(&got, index), matrix(&want, index));
                assert!(distance(&got, &want) < 1e-14, "{dims:?} {mode}");
            }
        }
    }
    let empty = Tensor::<2>::zeros([0, 6], &device());
    assert_eq!(packed_gram(empty, &[2, 3], 1).unwrap().dims(), [0, 3, 2]);
}
