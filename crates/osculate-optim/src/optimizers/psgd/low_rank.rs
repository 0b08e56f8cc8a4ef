//! Products with `Q = (I + U Vᵀ) diag(d)`, its transpose and its inverse, on stacks.

use burn::tensor::Tensor;

use super::precondition::rms;
use super::solve::solve;

pub(super) fn column(x: Tensor<2>) -> Tensor<3> {
    x.unsqueeze_dim::<3>(2)
}

pub(super) fn flat(x: Tensor<3>) -> Tensor<2> {
    x.squeeze_dim::<2>(2)
}

pub(super) fn transpose(x: &Tensor<3>) -> Tensor<3> {
    x.clone().swap_dims(1, 2)
}

/// `(I + A Bᵀ) x`.
pub(super) fn plus_low_rank(a: &Tensor<3>, b: &Tensor<3>, x: Tensor<2>) -> Tensor<2> {
    let projected = transpose(b).matmul(column(x.clone()));
    x + flat(a.clone().matmul(projected))
}

/// Euclidean norm, `[k, 1]`, without overflow.
pub(super) fn norm(x: &Tensor<2>) -> Tensor<2> {
    let n = x.dims()[1] as f64;
    rms(x).mul_scalar(n.sqrt())
}

pub(super) fn sum(x: Tensor<3>) -> Tensor<3> {
    x.sum_dim(2).sum_dim(1)
}

/// `U` and `V` with nearer Gram matrices, and nearly the same `U Vᵀ`.
pub(super) fn balanced(u: Tensor<3>, v: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    const RATE: f64 = 0.1;
    let (uu, vv) = (
        transpose(&u).matmul(u.clone()),
        transpose(&v).matmul(v.clone()),
    );
    let tu = sum(u.clone().square()).add_scalar(1e-30);
    let tv = sum(v.clone().square()).add_scalar(1e-30);
    let square = (tu.clone() / tv.clone()).sqrt();
    let rho = square.clone().sqrt();
    let total = tu / square.clone() + tv * square.clone();
    let e = (uu / square.clone() - vv * square) / total;
    let e = e.mul_scalar(RATE);
    let half_square = e.clone().matmul(e.clone()).mul_scalar(0.5);
    let (u, v) = (u / rho.clone(), v * rho);
    let less = u.clone().matmul(e.clone() - half_square.clone());
    let more = v.clone().matmul(e + half_square);
    (u - less, v + more)
}

/// `Q h`, `P h`, `Q^-T v` and `P⁻¹ v`.
pub(super) struct Images {
    pub qh: Tensor<2>,
    pub ph: Tensor<2>,
    pub qv: Tensor<2>,
    pub pv: Tensor<2>,
}

/// The images of a pair, for a `d` without zeros.
pub(super) fn images(
    d: &Tensor<2>,
    uv: Option<&(Tensor<3>, Tensor<3>)>,
    m: Option<&Tensor<3>>,
    h: Tensor<2>,
    probe: Tensor<2>,
) -> Images {
    let dh = d.clone() * h;
    let qh = match uv {
        Some((u, v)) => plus_low_rank(u, v, dh),
        None => dh,
    };
    let ph = match uv {
        Some((u, v)) => d.clone() * plus_low_rank(v, u, qh.clone()),
        None => d.clone() * qh.clone(),
    };
    let scaled = probe / d.clone();
    let (qv, inner) = match (uv, m) {
        (Some((u, v)), Some(m)) => {
            // Woodbury: (I + V Uᵀ)⁻¹ = I - V M^-T Uᵀ.
            let projected = transpose(u).matmul(column(scaled.clone()));
            let qv = scaled - flat(v.clone().matmul(solve(transpose(m), projected)));
            let projected = transpose(v).matmul(column(qv.clone()));
            let inner = qv.clone() - flat(u.clone().matmul(solve(m.clone(), projected)));
            (qv, inner)
        }
        _ => (scaled.clone(), scaled),
    };
    Images {
        qh,
        ph,
        qv,
        pv: inner / d.clone(),
    }
}
