//! Stacks of nothing, matrices of nothing, numbers that are none, shapes that do not fit, settings out of
//! range, in every public function: an answer that is right, an outcome for the matrix, or a typed error;
//! never a panic.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use burn::tensor::{Device, Tensor, TensorData};
use osculate_linalg::{
    BlockPartition, EighConfig, LinalgError, MatrixFailure, MergeFrom, OrthogonalIterationConfig,
    Outcome, Ridge, RootIteration, Triangle, cholesky, coupled_newton_inverse_root, eigh,
    eigh_inverse_root, higher_order_inverse_root, merge_dims, mode_gram, mode_product,
    newton_schulz, off_diagonality, orthogonal_iteration, orthogonality_defect, orthonormalize,
    pack, packed_gram, packed_shape, polar_express, quintic_newton_schulz, solve_triangular,
    spectral_norm_lower, spectral_norm_upper, substitute, triangular_inverse, unpack_lower,
    unpack_symmetric, unpack_upper,
};

fn filled<const D: usize>(shape: [usize; D], value: f32) -> Tensor<D> {
    let n = shape.iter().product();
    Tensor::from_data(TensorData::new(vec![value; n], shape), &Device::flex())
}

/// The identity, once for each matrix of a stack.
fn identities(k: usize, n: usize) -> Tensor<3> {
    let one = (0..n * n).map(|index| if index % (n + 1) == 0 { 1.0 } else { 0.0 });
    let all: Vec<f32> = std::iter::repeat_n(one, k).flatten().collect();
    Tensor::from_data(TensorData::new(all, [k, n, n]), &Device::flex())
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// What a function of a stack of square matrices found: its numbers, and what it says of each matrix.
type Found = Result<(Vec<f32>, Vec<Outcome>), LinalgError>;
type OfStack = fn(Tensor<3>) -> Found;

const ROOT: RootIteration = RootIteration {
    iterations: 20,
    tolerance: 1e-4,
    look_every: 4,
};

/// Every function of a stack of square matrices. Those that say how well they did have outcomes.
const OF_SQUARES: &[(&str, OfStack)] = &[
    ("cholesky", |a| {
        let found = cholesky(a, 0.0)?;
        Ok((numbers(found.factors), found.outcomes))
    }),
    ("eigh", |a| {
        let found = eigh(a, &EighConfig::default())?;
        let both = [numbers(found.values), numbers(found.vectors)].concat();
        Ok((both, found.outcomes))
    }),
    ("eigh_inverse_root", |a| {
        let ridge = Ridge::absolute(1e-3);
        let found = eigh_inverse_root(a, 0.25, ridge, &EighConfig::default())?;
        Ok((numbers(found.roots), found.outcomes))
    }),
    ("coupled_newton_inverse_root", |a| {
        let found = coupled_newton_inverse_root(a, 4, Ridge::absolute(1e-3), &ROOT)?;
        let outcomes = found.outcomes(1e-3)?;
        Ok((numbers(found.value), outcomes))
    }),
    ("higher_order_inverse_root", |a| {
        let found = higher_order_inverse_root(a, 4, 3, Ridge::absolute(1e-3), &ROOT)?;
        let outcomes = found.outcomes(1e-3)?;
        Ok((numbers(found.value), outcomes))
    }),
    ("orthogonal_iteration", |a| {
        let [k, n, _] = a.dims();
        let found = orthogonal_iteration(a, identities(k, n), &Default::default())?;
        Ok((numbers(found.vectors), found.outcomes))
    }),
    ("solve_triangular", |a| {
        let found = solve_triangular(a.clone(), a, Triangle::Lower)?;
        let outcomes = found.outcomes(1e-3)?;
        Ok((numbers(found.value), outcomes))
    }),
];

/// Functions of a stack of any matrices.
const OF_MATRICES: &[(&str, OfStack)] = &[
    ("orthonormalize", |a| {
        let (basis, outcomes) = orthonormalize(a)?;
        Ok((numbers(basis), outcomes))
    }),
    ("newton_schulz", |a| {
        let found = newton_schulz(a, 5);
        let outcomes = found.outcomes(f64::MAX)?;
        Ok((numbers(found.value), outcomes))
    }),
];

/// Functions without a word of how well they did: what is none stays none.
const SILENT: &[(&str, OfStack)] = &[
    ("polar_express", |a| {
        Ok((numbers(polar_express(a, 5)), Vec::new()))
    }),
    ("quintic_newton_schulz", |a| {
        Ok((numbers(quintic_newton_schulz(a, 5)), Vec::new()))
    }),
    ("orthogonality_defect", |a| {
        Ok((numbers(orthogonality_defect(a)), Vec::new()))
    }),
    ("spectral_norm_upper", |a| {
        Ok((numbers(spectral_norm_upper(a)), Vec::new()))
    }),
    ("spectral_norm_lower", |a| {
        Ok((numbers(spectral_norm_lower(a, 0, 0)), Vec::new()))
    }),
    ("off_diagonality", |a| {
        let [k, n, _] = a.dims();
        Ok((numbers(off_diagonality(a, identities(k, n))?), Vec::new()))
    }),
    ("triangular_inverse", |a| {
        Ok((numbers(triangular_inverse(a, Triangle::Upper)?), Vec::new()))
    }),
    ("substitute", |a| {
        Ok((
            numbers(substitute(a.clone(), a, Triangle::Upper)?),
            Vec::new(),
        ))
    }),
    ("pack", |a| {
        Ok((numbers(pack(a, Triangle::Lower)?), Vec::new()))
    }),
];

fn all() -> impl Iterator<Item = &'static (&'static str, OfStack)> {
    OF_SQUARES.iter().chain(OF_MATRICES).chain(SILENT)
}

#[test]
fn stacks_and_matrices_of_nothing_are_no_trouble() {
    for (name, of) in all() {
        for shape in [[0, 3, 3], [2, 0, 0], [0, 0, 0]] {
            let (found, outcomes) = of(filled(shape, 1.0)).unwrap();
            assert!(found.iter().all(|x| x.is_finite()), "{name} of {shape:?}");
            assert!(outcomes.iter().all(Result::is_ok), "{name} of {shape:?}");
        }
    }
    assert_eq!(packed_shape(0), [1, 0]);
    assert_eq!(merge_dims(&[], 0, MergeFrom::Back, 0), [1]);
    for dims in [&[][..], &[0], &[3, 0]] {
        let size = dims.iter().product();
        let partition = BlockPartition::new(dims, 0);
        for k in [0, 2] {
            let parts = partition.split(filled([k, size], 1.0)).unwrap();
            assert_eq!(partition.join(parts).unwrap().dims(), [k, size]);
        }
    }
    for (k, n) in [(0, 3), (2, 0), (0, 0)] {
        let packed = pack(filled([k, n, n], 1.0), Triangle::Lower).unwrap();
        for unpack in [unpack_lower, unpack_upper, unpack_symmetric] {
            assert_eq!(unpack(packed.clone(), n).unwrap().dims(), [k, n, n]);
        }
    }
    for (k, size) in [(0, 6), (2, 0)] {
        let dims = if size == 0 { [2, 0] } else { [2, 3] };
        let stack = || filled([k, size], 1.0);
        for mode in [0, 1] {
            let matrices = filled([1, 4, dims[mode]], 1.0);
            mode_product(stack(), &dims, mode, matrices).unwrap();
            mode_gram(stack(), stack(), &dims, mode).unwrap();
            packed_gram(stack(), &dims, mode).unwrap();
        }
    }
}

#[test]
fn numbers_that_are_none_are_outcomes_of_their_matrix() {
    for value in [f32::NAN, f32::INFINITY] {
        let mut stack = identities(2, 3);
        stack = stack.slice_assign([1..2, 1..2, 1..2], filled([1, 1, 1], value));
        for (name, of) in OF_SQUARES.iter().chain(OF_MATRICES) {
            let (_, outcomes) = of(stack.clone()).unwrap();
            assert!(outcomes[0].is_ok(), "{name}: {outcomes:?}");
            assert_eq!(outcomes[1], Err(MatrixFailure::NonFinite), "{name}");
        }
        // The inverse of infinity is zero.
        let silent = SILENT.iter().filter(|_| value.is_nan());
        for (name, of) in silent {
            let (found, _) = of(stack.clone()).unwrap();
            assert!(found.iter().any(|x| !x.is_finite()), "{name}: {found:?}");
            let half = found.len() / 2;
            assert!(
                found[..half].iter().all(|x| x.is_finite()),
                "{name}: {found:?}"
            );
        }
    }
}

/// The operation that a typed error of a shape names.
fn shape_of<T>(made: Result<T, LinalgError>) -> &'static str {
    match made.map(|_| ()).unwrap_err() {
        LinalgError::Shape { operation, .. } => operation,
        other => panic!("{other}"),
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused_by_name() {
    for (name, of) in OF_SQUARES {
        let at = shape_of(of(filled([2, 3, 4], 1.0)));
        assert_eq!(at, *name);
    }
    let (wide, square) = (filled([2, 3, 4], 1.0), identities(2, 3));
    assert_eq!(shape_of(orthonormalize(wide.clone())), "orthonormalize");
    let config = OrthogonalIterationConfig::default();
    for basis in [identities(1, 3), identities(2, 4), wide.clone()] {
        let at = shape_of(orthogonal_iteration(square.clone(), basis.clone(), &config));
        assert_eq!(at, "orthogonal_iteration");
        assert_eq!(
            shape_of(off_diagonality(square.clone(), basis)),
            "off_diagonality"
        );
    }
    for right in [identities(1, 3), filled([2, 4, 1], 1.0)] {
        let at = shape_of(solve_triangular(square.clone(), right, Triangle::Lower));
        assert_eq!(at, "solve_triangular");
    }
    assert_eq!(shape_of(pack(wide.clone(), Triangle::Lower)), "pack");
    let packed = pack(square.clone(), Triangle::Lower).unwrap();
    for n in [0, 2, 4] {
        assert_eq!(shape_of(unpack_lower(packed.clone(), n)), "unpack_lower");
        assert_eq!(shape_of(unpack_upper(packed.clone(), n)), "unpack_lower");
        assert_eq!(
            shape_of(unpack_symmetric(packed.clone(), n)),
            "unpack_symmetric"
        );
    }
    let flat = || filled([2, 6], 1.0);
    for (dims, mode) in [(&[2, 3][..], 2), (&[2, 4], 0), (&[], 0)] {
        let matrices = filled([1, 2, 2], 1.0);
        assert_eq!(
            shape_of(mode_product(flat(), dims, mode, matrices)),
            "mode_product"
        );
        assert_eq!(shape_of(mode_gram(flat(), flat(), dims, mode)), "mode_gram");
        assert_eq!(shape_of(packed_gram(flat(), dims, mode)), "packed_gram");
    }
    assert_eq!(
        shape_of(mode_gram(flat(), filled([1, 6], 1.0), &[2, 3], 0)),
        "mode_gram"
    );
    let three = filled([3, 2, 2], 1.0);
    assert_eq!(
        shape_of(mode_product(flat(), &[2, 3], 0, three)),
        "mode_product"
    );
    let partition = BlockPartition::new(&[2, 3], 2);
    assert_eq!(shape_of(partition.split(filled([2, 5], 1.0))), "split");
    assert_eq!(shape_of(partition.join(Vec::new())), "join");
}

#[test]
fn last_results_of_another_shape_are_refused() {
    // One of each failed, so that the last one is looked at.
    let stack = identities(2, 3).slice_assign([1..2, 1..2, 1..2], filled([1, 1, 1], f32::NAN));
    let other = || identities(2, 4);
    let at = |made: Result<(), LinalgError>| assert_eq!(shape_of(made), "or_last");
    let config = EighConfig::default();
    at(cholesky(stack.clone(), 0.0)
        .unwrap()
        .or_last(other())
        .map(drop));
    let eigen = eigh(stack.clone(), &config).unwrap();
    at(eigen
        .clone()
        .or_last(eigen.values.clone(), other())
        .map(drop));
    at(eigen
        .clone()
        .or_last(filled([1, 3], 0.0), eigen.vectors)
        .map(drop));
    let roots = eigh_inverse_root(stack.clone(), 0.5, Ridge::absolute(1e-3), &config).unwrap();
    at(roots.or_last(other()).map(drop));
    let solution = solve_triangular(stack.clone(), stack, Triangle::Lower).unwrap();
    at(solution.or_last(1e-3, other()).map(drop));
    let nothing = newton_schulz(filled([0, 2, 2], 1.0), 1);
    assert_eq!(
        nothing.or_last(1.0, filled([0, 2, 2], 1.0)).unwrap().dims(),
        [0, 2, 2]
    );
}

/// The setting that a typed error names.
fn setting_of<T>(made: Result<T, LinalgError>) -> &'static str {
    match made.map(|_| ()).unwrap_err() {
        LinalgError::Setting { setting, value, .. } => {
            assert!(!value.is_empty());
            setting
        }
        other => panic!("{other}"),
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let a = || identities(2, 3);
    let ridge = Ridge::absolute(1e-3);
    for wrong in [f64::NAN, f64::INFINITY, -1.0] {
        assert_eq!(setting_of(cholesky(a(), wrong)), "jitter");
        let config = EighConfig {
            tolerance: Some(wrong),
            double: false,
        };
        assert_eq!(setting_of(eigh(a(), &config)), "tolerance");
        assert_eq!(
            setting_of(eigh_inverse_root(a(), 0.5, ridge, &config)),
            "tolerance"
        );
        let config = OrthogonalIterationConfig {
            tolerance: Some(wrong),
            ..Default::default()
        };
        assert_eq!(
            setting_of(orthogonal_iteration(a(), a(), &config)),
            "tolerance"
        );
        let settings = RootIteration {
            tolerance: wrong,
            ..ROOT
        };
        assert_eq!(
            setting_of(coupled_newton_inverse_root(a(), 2, ridge, &settings)),
            "tolerance"
        );
        let found = higher_order_inverse_root(a(), 2, 3, ridge, &settings);
        assert_eq!(setting_of(found), "tolerance");
        for (ridge, name) in [
            (Ridge::absolute(wrong), "ridge.absolute"),
            (
                Ridge {
                    absolute: 0.0,
                    relative: wrong,
                },
                "ridge.relative",
            ),
        ] {
            let found = eigh_inverse_root(a(), 0.5, ridge, &EighConfig::default());
            assert_eq!(setting_of(found), name);
            assert_eq!(
                setting_of(coupled_newton_inverse_root(a(), 2, ridge, &ROOT)),
                name
            );
            assert_eq!(
                setting_of(higher_order_inverse_root(a(), 2, 3, ridge, &ROOT)),
                name
            );
        }
    }
    let config = EighConfig::default();
    assert_eq!(
        setting_of(eigh_inverse_root(a(), f64::NAN, ridge, &config)),
        "exponent"
    );
    assert_eq!(
        setting_of(coupled_newton_inverse_root(a(), 0, ridge, &ROOT)),
        "p"
    );
    assert_eq!(
        setting_of(higher_order_inverse_root(a(), 0, 3, ridge, &ROOT)),
        "p"
    );
    assert_eq!(
        setting_of(higher_order_inverse_root(a(), 2, 1, ridge, &ROOT)),
        "order"
    );
}
