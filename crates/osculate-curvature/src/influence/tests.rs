use super::*;
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, DenseOperator, LowRank, Structure};
use crate::params::ParamVec;
use crate::solve::{DampedInverse, NeumannConfig, SolveConfig};
use crate::spectrum::{LanczosConfig, lanczos};
use crate::testing::{assert_close, layout};

const X: [[f64; 2]; 6] = [
    [1.0, 0.0],
    [0.0, 1.0],
    [1.0, 1.0],
    [2.0, -1.0],
    [-1.0, 0.5],
    [0.5, 2.0],
];
const QUERY: [f64; 2] = [1.0, 0.5];
const DECAY: f64 = 0.1;

/// Ridge or logistic regression on six samples, as in the oracle.
struct Problem {
    targets: [f64; 6],
    logistic: bool,
}

const RIDGE: Problem = Problem {
    targets: [1.0, -1.0, 0.5, 2.0, 0.0, 1.0],
    logistic: false,
};
const LOGISTIC: Problem = Problem {
    targets: [1.0, 0.0, 1.0, 1.0, 0.0, 0.0],
    logistic: true,
};

fn dot(a: &[f64; 2], b: &[f64; 2]) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}

impl Problem {
    /// The derivative of a sample's loss by its output, and the second.
    fn derivatives(&self, output: f64, target: f64) -> (f64, f64) {
        if self.logistic {
            let p = 1.0 / (1.0 + (-output).exp());
            (p - target, p * (1.0 - p))
        } else {
            (output - target, 1.0)
        }
    }

    fn loss(&self, w: &[f64; 2], x: &[f64; 2], target: f64) -> f64 {
        let output = dot(w, x);
        if self.logistic {
            (-(2.0 * target - 1.0) * output).exp().ln_1p()
        } else {
            0.5 * (output - target).powi(2)
        }
    }

    fn gradient(&self, w: &[f64; 2], x: &[f64; 2], target: f64) -> [f64; 2] {
        let (slope, _) = self.derivatives(dot(w, x), target);
        [slope * x[0], slope * x[1]]
    }

    /// The Hessian of the decayed loss with these weights of the samples, row by row.
    fn hessian(&self, w: &[f64; 2], weights: &[f64; 6], decay: f64) -> [f64; 4] {
        let mut h = [decay, 0.0, 0.0, decay];
        for ((x, target), weight) in X.iter().zip(self.targets).zip(weights) {
            let (_, curvature) = self.derivatives(dot(w, x), target);
            for (k, h) in h.iter_mut().enumerate() {
                *h += weight * curvature * x[k / 2] * x[k % 2] / 6.0;
            }
        }
        h
    }

    /// Newton's method on the samples of these weights.
    fn fit(&self, weights: &[f64; 6]) -> [f64; 2] {
        let mut w = [0.0; 2];
        for _ in 0..60 {
            let mut g = [DECAY * w[0], DECAY * w[1]];
            for ((x, target), weight) in X.iter().zip(self.targets).zip(weights) {
                let own = self.gradient(&w, x, target);
                g = [g[0] + weight * own[0] / 6.0, g[1] + weight * own[1] / 6.0];
            }
            let h = self.hessian(&w, weights, DECAY);
            let determinant = h[0] * h[3] - h[1] * h[2];
            w[0] -= (h[3] * g[0] - h[1] * g[1]) / determinant;
            w[1] -= (h[0] * g[1] - h[2] * g[0]) / determinant;
        }
        w
    }

    fn operator(rows: [f64; 4]) -> DenseOperator {
        DenseOperator::new(layout(&[2]), rows.to_vec(), Structure::PositiveSemidefinite).unwrap()
    }

    fn vector(values: [f64; 2]) -> ParamVec {
        ParamVec::from_values(&layout(&[2]), &values)
    }

    fn samples(&self, w: &[f64; 2]) -> Vec<ParamVec> {
        let pairs = X.iter().zip(self.targets);
        pairs
            .map(|(x, target)| Self::vector(self.gradient(w, x, target)))
            .collect()
    }
}

fn tight() -> SolveConfig {
    SolveConfig {
        tolerance: 1e-13,
        ..SolveConfig::default()
    }
}

/// Query losses after training without each sample, less that of the whole.
fn retrained(problem: &Problem) -> (f64, Vec<f64>) {
    let full = problem.loss(&problem.fit(&[1.0; 6]), &QUERY, 1.0);
    let without = |sample: usize| {
        let mut weights = [1.0; 6];
        weights[sample] = 0.0;
        problem.loss(&problem.fit(&weights), &QUERY, 1.0)
    };
    (full, (0..6).map(without).collect())
}

#[test]
fn first_order_scores_are_the_oracles_and_rank_as_retraining_does() {
    for (problem, expected) in [
        (
            RIDGE,
            [
                0.007625383803036502,
                -0.017339114820941245,
                -0.012372640162814563,
                0.021464043297436078,
                -0.018056855414472692,
                0.03327980748074912,
            ],
        ),
        (
            LOGISTIC,
            [
                0.050066440845225706,
                -0.014289461374013178,
                0.10943563300972657,
                0.013891366300416645,
                0.03165241085058323,
                -0.05192073718310983,
            ],
        ),
    ] {
        let w = problem.fit(&[1.0; 6]);
        let hessian = Problem::operator(problem.hessian(&w, &[1.0; 6], DECAY));
        let inverse = DampedInverse::new(&hessian, tight()).unwrap();
        let query = Problem::vector(problem.gradient(&w, &QUERY, 1.0));
        let samples = problem.samples(&w);
        let found = influence(&inverse, &query, &samples, 6).unwrap();
        assert_close(&found.scores, &expected, 1e-10);

        let (full, without) = retrained(&problem);
        let check = leave_one_out(&found.scores, &[0, 1, 2, 3, 4, 5], full, |sample| {
            Ok(without[sample])
        })
        .unwrap();
        assert!((check.agreement.spearman - 1.0).abs() < 1e-12);
        assert!(
            check.agreement.slope > 1.0,
            "the strongest are underestimated"
        );

        let series = NeumannConfig {
            terms: 600,
            ..NeumannConfig::default()
        };
        let lissa = influence_lissa(&hessian, &query, &samples, 6, &series).unwrap();
        assert_close(&lissa.scores, &expected, 1e-8);
    }
}

#[test]
fn newton_steps_are_the_oracles_and_unlearn() {
    for (problem, expected, errors) in [
        (
            RIDGE,
            [
                0.008743778176502548,
                -0.01988219579332461,
                -0.01699792620498823,
                0.0546088505450055,
                -0.021286868208312045,
                0.0756188443025648,
            ],
            [0.0; 6],
        ),
        (
            LOGISTIC,
            [
                0.05794467295653954,
                -0.01616443317590529,
                0.14828290516189901,
                0.016168556654632116,
                0.036789809709061795,
                -0.08763681276529907,
            ],
            [
                0.04599361574409537,
                0.04151880718566919,
                0.07964259403300306,
                0.007894590911595039,
                0.03855690375960595,
                0.022477958852728328,
            ],
        ),
    ] {
        let w = problem.fit(&[1.0; 6]);
        let hessian = Problem::operator(problem.hessian(&w, &[1.0; 6], DECAY));
        let query = Problem::vector(problem.gradient(&w, &QUERY, 1.0));
        let config = RemovalConfig {
            share: 1.0 / 6.0,
            solve: tight(),
        };
        for (index, gradient) in problem.samples(&w).iter().enumerate() {
            let mut alone = [0.0; 6];
            alone[index] = 6.0;
            let own = Problem::operator(problem.hessian(&w, &alone, 0.0));
            let step = removal_step(&hessian, &own, gradient, &config)
                .unwrap()
                .solved()
                .unwrap();
            assert!((query.dot(&step) - expected[index]).abs() < 1e-10);

            let mut weights = [1.0; 6];
            weights[index] = 0.0;
            let retrained = problem.fit(&weights);
            let moved = [retrained[0] - w[0], retrained[1] - w[1]];
            let apart = step.sub(&Problem::vector(moved)).norm();
            let error = apart / dot(&moved, &moved).sqrt();
            assert!(
                (error - errors[index]).abs() < 1e-9,
                "{error} {}",
                errors[index]
            );
        }
    }
}

#[test]
fn self_influence_attack_and_trac_in_are_the_oracles() {
    let problem = LOGISTIC;
    let w = problem.fit(&[1.0; 6]);
    assert_close(&w, &[1.2296357656829806, -0.8520116242831686], 1e-10);
    let hessian = Problem::operator(problem.hessian(&w, &[1.0; 6], DECAY));
    let inverse = DampedInverse::new(&hessian, tight()).unwrap();
    let samples = problem.samples(&w);
    let found = self_influence(&inverse, &samples).unwrap();
    let expected = [
        0.23852970912497864,
        0.29686675405308877,
        1.0775082685635926,
        0.030818204356798926,
        0.16000405623027084,
        0.8227966774125393,
    ];
    assert_close(&found.scores, &expected, 1e-10);
    assert_eq!(found.ranking()[..2], [2, 5]);

    let config = AttackConfig {
        learning_rate: 0.1,
        momentum: 0.9,
        weight_decay: 0.0,
        count: 6,
    };
    let zero = samples[0].scale(0.0);
    let sum = samples.iter().fold(zero, |sum, gradient| sum.add(gradient));
    let scores: Vec<f64> = samples
        .iter()
        .enumerate()
        .map(|(index, gradient)| {
            let rest = sum.sub(gradient).scale(1.0 / 5.0);
            let loss = problem.loss(&w, &X[index], problem.targets[index]);
            membership_score(&inverse, loss, gradient, &rest, &config).unwrap()
        })
        .collect();
    let expected = [
        -14.771033670162703,
        -9.63210613794006,
        -6.126383213255705,
        -6.525440627020304,
        -13.77628992503829,
        -4.739276688995566,
    ];
    assert_close(&scores, &expected, 1e-9);

    let query = Problem::vector(problem.gradient(&w, &QUERY, 1.0));
    let one = Checkpoint {
        rate: 0.1,
        query: &query,
        samples: &samples,
    };
    let expected = [
        0.0069966225706488555,
        -0.004623451873518282,
        0.018865772624483308,
        0.001632194468087319,
        0.0037190646891515225,
        -0.011678869301327338,
    ];
    assert_close(&trac_in(&[one]).unwrap(), &expected, 1e-10);
    assert_close(
        &trac_in(&[one, one]).unwrap(),
        &expected.map(|x| 2.0 * x),
        1e-10,
    );
    assert!(trac_in(&[]).is_err());

    // The inverse in the top eigenspace alone.
    let top = LanczosConfig {
        largest: 1,
        tolerance: 1e-12,
        ..LanczosConfig::default()
    };
    let pairs = lanczos(&hessian, &top).unwrap().largest;
    let low = LowRank::new(hessian.layout(), &pairs, 0.0).unwrap();
    let low = low.map(|x| if x > 0.0 { 1.0 / x } else { 0.0 }).unwrap();
    let found = influence(&low, &query, &samples, 6).unwrap();
    let expected = [
        0.012137358662949854,
        -0.03638770112003614,
        0.07131096168934324,
        -0.0005066679560610589,
        -0.0011544769580792695,
        -0.06803033358129824,
    ];
    assert_close(&found.scores, &expected, 1e-9);
}

#[test]
fn wrong_input_is_named() {
    let identity = Problem::operator([1.0, 0.0, 0.0, 1.0]);
    let g = Problem::vector([1.0, 2.0]);
    let error = influence(&identity, &g, std::slice::from_ref(&g), 0)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "count = 0 is invalid, expected the number of training samples"
    );
    let nan = g.scale(f64::NAN);
    assert!(matches!(
        influence(&identity, &g, std::slice::from_ref(&nan), 3).unwrap_err(),
        CurvatureError::NonFinite { .. }
    ));
    let config = RemovalConfig {
        share: 1.0,
        solve: tight(),
    };
    assert!(removal_step(&identity, &identity, &g, &config).is_err());
    assert!(Agreement::between(&[1.0], &[1.0]).is_err());
    assert!(leave_one_out(&[0.1], &[3], 0.0, |_| Ok(0.0)).is_err());
}
