//! Shampoo, SOAP and the KL family on given gradients, against numbers that were computed
//! independently, through both doors of the public API.

use burn::tensor::{DType, Device};
use osculate_optim::{
    EigenSolver, ExponentOverride, Grafting, KlShampooConfig, KlSoapConfig, PerParameter,
    RefreshSchedule, RootSolver, ShampooConfig, ShampooDecay, ShampooForm, SoapConfig,
};
use osculate_tests::matrix::{Door, follow, trajectories};
use osculate_tests::on_every_backend;
use osculate_tests::single::{GRADIENTS, START};

macro_rules! oracle {
    ($name:ident, $config:expr) => {
        mod $name {
            use super::*;
            on_every_backend!(|device: &Device, dtype: DType| {
                let all = trajectories(include_str!("../../data/kronecker.json"));
                let expected = &all[stringify!($name)];
                let gradients = GRADIENTS.map(|gradient| gradient.to_vec());
                let config = $config;
                for door in [
                    Door::Closure(Box::new(config.init().expect("valid"))),
                    Door::Burn(
                        PerParameter::new(config.rule().expect("valid"))
                            .expect("valid")
                            .into(),
                    ),
                ] {
                    let at = (device, dtype);
                    let name = stringify!($name);
                    follow(name, door, 0.1, [2, 3], &START, &gradients, expected, at);
                }
            });
        }
    };
}

/// The settings of the sheet's entries of distributed Shampoo.
fn shampoo() -> ShampooConfig {
    ShampooConfig::new()
        .with_epsilon(1e-4)
        .with_weight_decay(0.01)
        .with_grafting(Grafting::None)
        .with_period(1)
        .with_start(1)
        .with_staggered(false)
}

/// The settings of the sheet's entries of scalable Shampoo.
fn google() -> ShampooConfig {
    ShampooConfig::google()
        .with_weight_decay(0.01)
        .with_start(3)
}

fn period_2(config: ShampooConfig) -> ShampooConfig {
    config.with_period(2).with_start(2)
}

oracle!(shampoo, super::shampoo());
oracle!(
    shampoo_adagrad_l2,
    super::shampoo()
        .with_beta_2(1.0)
        .with_decay(ShampooDecay::L2)
);
oracle!(
    shampoo_exponent_half,
    super::shampoo().with_exponents(vec![ExponentOverride::new(2, 0.5)])
);
oracle!(
    shampoo_graft_adam,
    super::shampoo().with_grafting(Grafting::ADAM)
);
oracle!(
    shampoo_graft_adam_period_2,
    period_2(super::shampoo().with_grafting(Grafting::ADAM))
);
oracle!(shampoo_blocks, super::shampoo().with_block_size(2));
oracle!(shampoo_google_sgd, google());
oracle!(
    shampoo_google_rmsprop_normalized,
    google()
        .with_grafting(Grafting::RmsProp {
            beta: 0.999,
            epsilon: 1e-10,
        })
        .with_normalize_grafting(true)
        .with_update_momentum(
            google()
                .update_momentum
                .map(|momentum| momentum.with_weight(0.1))
        )
);
oracle!(
    shampoo_eigenvalue_corrected,
    period_2(
        super::shampoo()
            .with_beta_2(0.95)
            .with_epsilon(1e-8)
            .with_form(ShampooForm::EigenvalueCorrected(EigenSolver::Eigh))
    )
);

/// The settings of the sheet's entries of SOAP: the authors' defaults.
fn soap_every(period: usize) -> SoapConfig {
    SoapConfig::new()
        .with_refresh(RefreshSchedule::Every { period })
        .with_staggered(false)
}

oracle!(soap, soap_every(1));
oracle!(soap_period_2, soap_every(2));

macro_rules! trace {
    ($name:ident, $entry:literal, $config:expr) => {
        mod $name {
            use super::*;
            on_every_backend!(|device: &Device, dtype: DType| {
                let all = trajectories(include_str!("../../data/kronecker_traces.json"));
                let (start, gradients) = (&all["start"][0], &all["gradients"]);
                let config = $config;
                for door in [
                    Door::Closure(Box::new(config.init().expect("valid"))),
                    Door::Burn(
                        PerParameter::new(config.rule().expect("valid"))
                            .expect("valid")
                            .into(),
                    ),
                ] {
                    let at = (device, dtype);
                    follow(
                        $entry,
                        door,
                        0.01,
                        [6, 5],
                        start,
                        gradients,
                        &all[$entry],
                        at,
                    );
                }
            });
        }
    };
}

/// The settings of the traces of Shampoo.
fn traced_shampoo() -> ShampooConfig {
    ShampooConfig::new()
        .with_epsilon(1e-6)
        .with_weight_decay(0.05)
        .with_period(5)
        .with_start(5)
        .with_staggered(false)
}

const EVERY_5: RefreshSchedule = RefreshSchedule::Every { period: 5 };

trace!(trace_shampoo, "shampoo", traced_shampoo());
trace!(
    trace_shampoo_half,
    "shampoo_half",
    traced_shampoo().with_exponents(vec![ExponentOverride::new(2, 0.5)])
);
// The same roots by other solvers, and in the form of eigenvalues and eigenvectors.
trace!(
    trace_shampoo_newton,
    "shampoo",
    traced_shampoo().with_form(ShampooForm::Root(RootSolver::CoupledNewton))
);
trace!(
    trace_shampoo_order_3,
    "shampoo",
    traced_shampoo().with_form(ShampooForm::Root(RootSolver::HigherOrder(3)))
);
trace!(
    trace_shampoo_eigen,
    "shampoo",
    traced_shampoo().with_form(ShampooForm::Eigen(EigenSolver::Eigh))
);
trace!(
    trace_shampoo_eigen_tolerance,
    "shampoo",
    traced_shampoo()
        .with_form(ShampooForm::Eigen(EigenSolver::Eigh))
        .with_tolerance(Some(1e-7))
);
trace!(
    trace_soap,
    "soap",
    SoapConfig::new()
        .with_weight_decay(0.05)
        .with_refresh(EVERY_5)
        .with_staggered(false)
);
trace!(
    trace_kl_shampoo,
    "kl_shampoo",
    KlShampooConfig::new()
        .with_weight_decay(0.05)
        .with_refresh(EVERY_5)
        .with_staggered(false)
);
trace!(
    trace_kl_soap,
    "kl_soap",
    KlSoapConfig::new()
        .with_weight_decay(0.05)
        .with_refresh(EVERY_5)
        .with_staggered(false)
);
