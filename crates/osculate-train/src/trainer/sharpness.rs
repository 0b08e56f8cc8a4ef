//! How sharp the minimum is under the weights of a run.

use burn::module::Module;
use osculate_curvature::{
    CurvatureError, GaussNewton, GradientOracle, Hessian, LanczosConfig, Objective, Provenance,
    lanczos,
};

use super::config::SharpnessKind;

/// Products that an eigenvalue may take.
const PRODUCTS: usize = 30;
/// Residual of the eigenvalue, relative to it.
const TOLERANCE: f64 = 1e-2;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sharpness {
    pub(crate) of: SharpnessKind,
    pub(crate) value: f64,
    pub(crate) converged: bool,
    pub(crate) provenance: Provenance,
}

/// What a measurement is, and what it may cost, in words.
pub(crate) fn announced(kind: SharpnessKind, samples: usize) -> String {
    let (what, gradients) = match kind {
        SharpnessKind::Hessian => ("largest eigenvalue of the Hessian", GRADIENTS * PRODUCTS),
        SharpnessKind::GaussNewton => (
            "largest eigenvalue of the Gauss-Newton matrix",
            GRADIENTS * PRODUCTS,
        ),
        SharpnessKind::Sam => ("loss uphill, less the loss", 2),
    };
    format!("the {what}, for up to {gradients} gradients of {samples} samples")
}

/// Gradients that a product takes, about.
const GRADIENTS: usize = 2;

/// Measures on one batch. The model is only read.
pub(crate) fn measure<M: Module>(
    model: &M,
    objective: &dyn Objective<M>,
    kind: SharpnessKind,
    rho: f64,
    seed: u64,
) -> Result<Sharpness, CurvatureError> {
    let oracle = GradientOracle::new(model, objective).with_seed(seed);
    let settings = LanczosConfig {
        largest: 1,
        steps: PRODUCTS,
        tolerance: TOLERANCE,
        seed,
        ..LanczosConfig::default()
    };
    let spectrum = match kind {
        SharpnessKind::Hessian => lanczos(&Hessian::new(&oracle)?, &settings)?,
        SharpnessKind::GaussNewton => lanczos(&GaussNewton::new(&oracle)?, &settings)?,
        SharpnessKind::Sam => return climb(&oracle, rho),
    };
    Ok(Sharpness {
        of: kind,
        value: spectrum.largest.first().map_or(f64::NAN, |pair| pair.value),
        converged: spectrum.converged,
        provenance: spectrum.provenance,
    })
}

fn climb<M: Module>(oracle: &GradientOracle<'_, M>, rho: f64) -> Result<Sharpness, CurvatureError> {
    let clean = oracle.clean()?;
    let norm = clean.gradient.norm();
    if !norm.is_finite() {
        return Err(CurvatureError::NonFinite {
            what: "the norm of the gradient",
            value: norm,
        });
    }
    let loss = |loss: &burn::tensor::Tensor<1>| loss.to_data().iter::<f64>().next();
    let (Some(here), true) = (loss(&clean.loss), norm > 0.0) else {
        return Ok(Sharpness {
            of: SharpnessKind::Sam,
            value: 0.0,
            converged: true,
            provenance: Provenance::Exact,
        });
    };
    let above = oracle.evaluate_at(&clean.gradient, rho / norm)?;
    Ok(Sharpness {
        of: SharpnessKind::Sam,
        value: loss(&above.loss).map_or(f64::NAN, |above| above - here),
        converged: true,
        provenance: Provenance::Exact,
    })
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::trainer::SharpnessConfig;

    /// A loss `(3 x^2 + y^2) / 2` of two weights.
    #[derive(Module, Debug)]
    struct Bowl {
        at: Param<Tensor<1>>,
    }

    #[test]
    fn a_bowl_is_as_sharp_as_it_is() {
        let device = Device::flex().autodiff();
        let bowl = Bowl {
            at: Param::from_data([0.0, 2.0], &device),
        };
        let scale = Tensor::<1>::from_data([1.5, 0.5], &device);
        let loss = move |bowl: &Bowl| (bowl.at.val().square() * scale.clone()).sum();
        let hessian = SharpnessKind::Hessian;
        let found = measure(&bowl, &loss, hessian, 0.05, 1).unwrap();
        assert!(
            found.converged && (found.value - 3.0).abs() < 1e-2,
            "{found:?}"
        );

        let found = measure(&bowl, &loss, SharpnessKind::Sam, 0.1, 1).unwrap();
        // From y = 2 up to y = 2.1.
        assert!((found.value - 0.205).abs() < 1e-5, "{found:?}");

        assert!(measure(&bowl, &loss, SharpnessKind::GaussNewton, 0.05, 1).is_err());
        let told = announced(hessian, 64);
        assert!(
            told.ends_with("for up to 60 gradients of 64 samples"),
            "{told}"
        );
    }

    #[test]
    fn networks_with_kinks_have_the_gauss_newton_matrix_measured() {
        let usual = SharpnessConfig::default();
        assert_eq!(usual.kind(false), SharpnessKind::Hessian);
        assert_eq!(usual.kind(true), SharpnessKind::GaussNewton);
        let said = SharpnessConfig {
            kind: Some(SharpnessKind::Hessian),
            ..usual
        };
        assert_eq!(said.kind(true), SharpnessKind::Hessian);
    }
}
