use crate::error::CurvatureError;

/// How well predictions agree with measurements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Rank correlation (Spearman's), ties given their mean rank.
    pub spearman: f64,
    /// Linear correlation (Pearson's).
    pub pearson: f64,
    /// Slope of the least-squares line of measurements over predictions: 1 where magnitudes are
    /// right, above 1 where they are underestimated.
    pub slope: f64,
}

impl Agreement {
    /// Compares predictions with measurements of the same things.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] where their numbers differ or are below 2, or where all predictions or all
    /// measurements are equal, and [`CurvatureError::NonFinite`].
    pub fn between(predicted: &[f64], measured: &[f64]) -> Result<Self, CurvatureError> {
        CurvatureError::check(
            predicted.len() == measured.len() && predicted.len() >= 2,
            "number of measurements",
            measured.len(),
            "as many as predictions, and at least two",
        )?;
        for value in predicted.iter().chain(measured) {
            if !value.is_finite() {
                return Err(CurvatureError::NonFinite {
                    what: "a prediction or a measurement",
                    value: *value,
                });
            }
        }
        let (xx, xy, yy) = moments(predicted, measured);
        CurvatureError::check(
            xx > 0.0 && yy > 0.0,
            "predictions and measurements",
            "all of one equal",
            "some that differ",
        )?;
        let (rxx, rxy, ryy) = moments(&ranks(predicted), &ranks(measured));
        Ok(Self {
            spearman: rxy / (rxx * ryy).sqrt(),
            pearson: xy / (xx * yy).sqrt(),
            slope: xy / xx,
        })
    }
}

fn moments(x: &[f64], y: &[f64]) -> (f64, f64, f64) {
    let n = x.len() as f64;
    let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    x.iter()
        .zip(y)
        .fold((0.0, 0.0, 0.0), |(xx, xy, yy), (x, y)| {
            let (x, y) = (x - mx, y - my);
            (xx + x * x, xy + x * y, yy + y * y)
        })
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + 0.5 * (equal as f64 - 1.0)
    };
    values.iter().map(rank).collect()
}

/// The result of [`leave_one_out`].
#[derive(Debug, Clone, PartialEq)]
pub struct LeaveOneOut {
    /// The samples that were left out.
    pub samples: Vec<usize>,
    /// Their predicted scores.
    pub predicted: Vec<f64>,
    /// The measured change of the query's loss.
    pub measured: Vec<f64>,
    /// How well they agree.
    pub agreement: Agreement,
}

/// Checks influence scores against the thing itself: `retrain` is called for each of `samples`, must
/// train without it (from the trained weights) and return the query's loss; `full` is the query's loss
/// of the model trained on all.
///
/// Choose samples of large and of small scores: where all changes are below the noise of training,
/// no prediction agrees with them.
///
/// Cost: one training for each sample.
///
/// ```
/// use osculate_curvature::leave_one_out;
/// let scores = [0.3, -0.1, 0.0, 0.2];
/// // Here stands a training without the sample.
/// let retrained = |sample: usize| Ok(1.0 + [0.6, -0.2, 0.1, 0.3][sample]);
/// let found = leave_one_out(&scores, &[0, 1, 3], 1.0, retrained)?;
/// assert!((found.agreement.spearman - 1.0).abs() < 1e-12);
/// assert!(found.agreement.slope > 1.5); // the changes are twice as large as predicted
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
///
/// # Errors
/// As [`Agreement::between`], [`CurvatureError::InvalidSetting`] for a sample without a score, and
/// whatever `retrain` fails with.
pub fn leave_one_out(
    scores: &[f64],
    samples: &[usize],
    full: f64,
    mut retrain: impl FnMut(usize) -> Result<f64, CurvatureError>,
) -> Result<LeaveOneOut, CurvatureError> {
    let mut predicted = Vec::with_capacity(samples.len());
    let mut measured = Vec::with_capacity(samples.len());
    for &sample in samples {
        let Some(score) = scores.get(sample) else {
            return Err(CurvatureError::InvalidSetting {
                name: "sample",
                value: sample.to_string(),
                expected: "a sample that has a score",
            });
        };
        predicted.push(*score);
        measured.push(retrain(sample)? - full);
    }
    Ok(LeaveOneOut {
        samples: samples.to_vec(),
        agreement: Agreement::between(&predicted, &measured)?,
        predicted,
        measured,
    })
}
