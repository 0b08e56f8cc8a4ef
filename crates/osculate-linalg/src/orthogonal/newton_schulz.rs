use burn::tensor::Tensor;

use super::{iterate, solution};
use crate::outcome::DeviceSolution;

/// The polar factor `U Vᵀ` of each matrix `U Σ Vᵀ` of `[k, m, n]`, by the cubic Newton-Schulz
/// iteration `X ← 1.5 X - 0.5 X Xᵀ X`.
///
/// Converges quadratically once the singular values are near 1, to the precision of the type, but
/// slowly at first: the smallest grows by 1.5 a step, so a matrix of condition `κ` takes about
/// `log κ / log 1.5` steps. For a rank-deficient matrix the directions of its kernel stay zero.
///
/// Costs 2 products a step on the shorter side. The residual is the
/// [`orthogonality_defect`](crate::orthogonality_defect); take [`polar_express`](crate::polar_express)
/// where a rough factor is enough.
pub fn newton_schulz(stack: Tensor<3>, steps: usize) -> DeviceSolution {
    solution(iterate(
        stack,
        1.0,
        std::iter::repeat_n((1.5, -0.5, 0.0), steps),
    ))
}

/// The orthogonalisation of Muon: `steps` times the quintic `(3.4445, -4.7750, 2.0315)`.
///
/// After 5 steps singular values above about 0.01 of the Frobenius norm lie in `[0.68, 1.13]`; they
/// do not converge to 1. Costs 3 products a step on the shorter side. Nothing is read back and no
/// residual is made: it would tell nothing.
///
/// Source: Jordan et al., *Muon*, <https://kellerjordan.github.io/posts/muon/>.
pub fn quintic_newton_schulz(stack: Tensor<3>, steps: usize) -> Tensor<3> {
    iterate(
        stack,
        1.0,
        std::iter::repeat_n((3.4445, -4.7750, 2.0315), steps),
    )
}
