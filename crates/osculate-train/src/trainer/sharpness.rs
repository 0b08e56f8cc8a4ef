//! How sharp the minimum is under the weights of a run.

use burn::module::Module;
use osculate_curvature::{
    CurvatureError, GaussNewton, GradientOracle, Hessian, LanczosConfig, Objective, Provenance,
    Spectrum, lanczos,
};

use super::config::{SharpnessConfig, SharpnessKind};

/// Products that an eigenvalue may take.
const PRODUCTS: usize = 30;
/// Residual of the eigenvalue, relative to it.
const TOLERANCE: f64 = 1e-2;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sharpness {
    /// What was measured: never [`SharpnessKind::Auto`].
    pub(crate) of: SharpnessKind,
    pub(crate) value: f64,
    pub(crate) converged: bool,
    pub(crate) provenance: Provenance,
}

/// Measures on one batch. The model is only read.
pub(crate) fn measure<M: Module>(
    model: &M,
    objective: &dyn Objective<M>,
    config: &SharpnessConfig,
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
    let of_hessian = || lanczos(&Hessian::new(&oracle)?, &settings);
    let of_gauss_newton = || lanczos(&GaussNewton::new(&oracle)?, &settings);
    let (of, spectrum) = match config.kind {
        SharpnessKind::Auto => match of_hessian()? {
            spoilt if is_spoilt(&spoilt) && objective.supervised().is_some() => {
                (SharpnessKind::GaussNewton, of_gauss_newton()?)
            }
            spectrum => (SharpnessKind::Hessian, spectrum),
        },
        SharpnessKind::Hessian => (SharpnessKind::Hessian, of_hessian()?),
        SharpnessKind::GaussNewton => (SharpnessKind::GaussNewton, of_gauss_newton()?),
        SharpnessKind::Sam => return climb(&oracle, config.rho),
    };
    Ok(Sharpness {
        of,
        value: spectrum.largest.first().map_or(f64::NAN, |pair| pair.value),
        converged: spectrum.converged,
        provenance: spectrum.provenance,
    })
}

/// Whether the products' error is more than what is asked of the eigenvalue.
fn is_spoilt(spectrum: &Spectrum) -> bool {
    let largest = spectrum
        .largest
        .first()
        .map_or(0.0, |pair| pair.value.abs());
    let error = spectrum.product_error.unwrap_or(0.0);
    error.is_nan() || error > TOLERANCE * largest
}

fn climb<M: Module>(oracle: &GradientOracle<'_, M>, rho: f64) -> Result<Sharpness, CurvatureError> {
    let clean = oracle.clean()?;
    let norm = clean.gradient.norm();
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
    use burn::tensor::activation::relu;
    use burn::tensor::{Device, Tensor};
    use osculate_curvature::{Criterion, Supervised};

    use super::*;

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
        let mut config = SharpnessConfig::default();
        let found = measure(&bowl, &loss, &config, 1).unwrap();
        assert!(
            found.converged && (found.value - 3.0).abs() < 1e-2,
            "{found:?}"
        );

        config.kind = SharpnessKind::Sam;
        config.rho = 0.1;
        let found = measure(&bowl, &loss, &config, 1).unwrap();
        // From y = 2 up to y = 2.1.
        assert!((found.value - 0.205).abs() < 1e-5, "{found:?}");

        config.kind = SharpnessKind::GaussNewton;
        assert!(measure(&bowl, &loss, &config, 1).is_err());
    }

    #[test]
    fn differences_that_kinks_spoil_are_not_taken() {
        let device = Device::flex().autodiff();
        let bowl = Bowl {
            at: Param::from_data([1e-5, 0.5], &device),
        };
        let outputs = |bowl: &Bowl| {
            let w = bowl.at.val();
            // The first weight lies next to a kink.
            (relu(w.clone()) + w).unsqueeze::<2>()
        };
        let targets = Tensor::<2>::from_data([[1.0, 0.3]], &device);
        let supervised = Supervised::new(outputs, Criterion::mse(targets));
        let found = measure(&bowl, &supervised, &SharpnessConfig::default(), 1).unwrap();
        assert_eq!(found.of, SharpnessKind::GaussNewton, "{found:?}");

        let smooth = Supervised::new(
            |bowl: &Bowl| bowl.at.val().unsqueeze::<2>(),
            Criterion::mse(Tensor::<2>::from_data([[0.0, 0.3]], &device)),
        );
        let found = measure(&bowl, &smooth, &SharpnessConfig::default(), 1).unwrap();
        assert_eq!(found.of, SharpnessKind::Hessian, "{found:?}");
    }
}
