use burn::tensor::Tensor;

use super::{Criterion, Objective, SupervisedObjective};
use crate::error::ObjectiveError;

/// Several batches as one: the mean of their losses over all samples.
///
/// Gradients are taken batch by batch and averaged, so that the memory of a pass is that of one batch
/// (gradient accumulation). Where all parts are supervised with one kind of loss, so is the whole;
/// its outputs, which Gauss-Newton products and the Gauss-Newton-Bartlett diagonal use, are then
/// those of all batches in one tape.
///
/// Batch normalisation in training mode sees each batch alone, and its running statistics move once
/// for each. Products are exact where every part's batch is handed over.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use osculate_curvature::{Accumulated, GradientOracle, Objective};
///
/// let device = Device::flex().autodiff();
/// let model: Linear = LinearConfig::new(3, 1).init(&device);
/// let part = |rows: usize| {
///     let x = Tensor::<2>::ones([rows, 3], &device);
///     let loss = move |model: &Linear| model.forward(x.clone()).square().mean();
///     (Box::new(loss) as Box<dyn Objective<Linear>>, rows)
/// };
/// let batch = Accumulated::new(vec![part(4), part(2)]);
/// let oracle = GradientOracle::new(&model, &batch);
/// assert_eq!(oracle.clean()?.gradient.layout().num_elements(), 4);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
pub struct Accumulated<M> {
    parts: Vec<Part<M>>,
    /// The targets of all parts, where all have the same kind of loss and weigh as much as their
    /// rows.
    criterion: Option<Criterion>,
}

/// A batch of an [`Accumulated`] objective.
pub struct Part<M> {
    objective: Box<dyn Objective<M>>,
    weight: f64,
}

impl<M> Part<M> {
    /// The loss of this batch.
    pub fn objective(&self) -> &dyn Objective<M> {
        self.objective.as_ref()
    }

    /// The batch's share of the samples; the shares sum to 1.
    pub fn weight(&self) -> f64 {
        self.weight
    }
}

impl<M> Accumulated<M> {
    /// Combines batches, each with the number of samples that it weighs. A batch of none is left
    /// out: the mean over nothing is NaN, whatever it weighs.
    pub fn new(mut batches: Vec<(Box<dyn Objective<M>>, usize)>) -> Self {
        batches.retain(|(_, samples)| *samples > 0);
        let samples: usize = batches.iter().map(|(_, samples)| samples).sum();
        let criterion = joined(&batches);
        let parts = batches
            .into_iter()
            .map(|(objective, own)| Part {
                objective,
                weight: own as f64 / samples as f64,
            })
            .collect();
        Self { parts, criterion }
    }
}

/// The criterion of all batches, where their means weigh as one mean over all rows would.
fn joined<M>(batches: &[(Box<dyn Objective<M>>, usize)]) -> Option<Criterion> {
    let criteria = batches
        .iter()
        .map(|(objective, _)| Some(objective.supervised()?.criterion()))
        .collect::<Option<Vec<_>>>()?;
    let rows: Vec<usize> = criteria.iter().map(|criterion| criterion.rows()).collect();
    let all_rows: usize = rows.iter().sum();
    let all_samples: usize = batches.iter().map(|(_, samples)| samples).sum();
    let in_proportion = rows
        .iter()
        .zip(batches)
        .all(|(rows, (_, samples))| rows * all_samples == samples * all_rows);
    if in_proportion {
        Criterion::joined(&criteria)
    } else {
        None
    }
}

impl<M> Objective<M> for Accumulated<M> {
    fn loss(&self, model: &M) -> Result<Tensor<1>, ObjectiveError> {
        let mut sum: Option<Tensor<1>> = None;
        for part in &self.parts {
            let loss = part.objective.loss(model)?.mul_scalar(part.weight);
            sum = Some(match sum {
                Some(sum) => sum + loss,
                None => loss,
            });
        }
        sum.ok_or_else(|| ObjectiveError::new("there is no batch with samples to accumulate"))
    }

    fn supervised(&self) -> Option<&dyn SupervisedObjective<M>> {
        self.criterion.is_some().then_some(self)
    }

    fn parts(&self) -> &[Part<M>] {
        &self.parts
    }
}

impl<M> SupervisedObjective<M> for Accumulated<M> {
    fn outputs(&self, model: &M) -> Tensor<2> {
        let outputs = self.parts.iter().filter_map(|part| {
            let supervised = part.objective.supervised()?;
            Some(supervised.outputs(model))
        });
        Tensor::cat(outputs.collect(), 0)
    }

    fn criterion(&self) -> &Criterion {
        match &self.criterion {
            Some(criterion) => criterion,
            None => unreachable!("`supervised` gives no objective without a criterion"),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::{Device, Int, Tensor};

    use super::*;
    use crate::objective::Supervised;
    use crate::{GradientOracle, gnb_sample};

    const ROWS: [[f32; 2]; 5] = [[1.0, 0.5], [-1.0, 2.0], [0.3, 0.3], [2.0, -1.0], [0.0, 1.0]];
    const LABELS: [i64; 5] = [0, 2, 1, 1, 0];

    fn batch(from: usize, to: usize, device: &Device) -> impl Objective<Linear> + use<> {
        let rows: Vec<f32> = ROWS[from..to].iter().flatten().copied().collect();
        let x = Tensor::<1>::from_data(rows.as_slice(), device).reshape([to - from, 2]);
        let labels = Tensor::<1, Int>::from_data(&LABELS[from..to], device);
        Supervised::new(
            move |model: &Linear| model.forward(x.clone()),
            Criterion::cross_entropy(labels),
        )
    }

    fn close(a: &[f64], b: &[f64]) {
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 1e-6, "{a} and {b}");
        }
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let device = Device::flex().autodiff();
        let model: Linear = LinearConfig::new(2, 3).init(&device);
        let whole = batch(0, 5, &device);
        let parts: Accumulated<Linear> = Accumulated::new(vec![
            (Box::new(batch(0, 2, &device)), 2),
            (Box::new(batch(2, 5, &device)), 3),
        ]);
        let at_once = GradientOracle::new(&model, &whole);
        let in_parts = GradientOracle::new(&model, &parts);
        let (a, b) = (at_once.clean().unwrap(), in_parts.clean().unwrap());
        close(&a.gradient.to_values(), &b.gradient.to_values());
        let loss = |loss: &Tensor<1>| loss.to_data().iter::<f64>().collect::<Vec<_>>();
        close(&loss(&a.loss), &loss(&b.loss));
        let tape = parts.loss(&model).unwrap().without_autodiff();
        close(&loss(&a.loss), &loss(&tape));

        let supervised = parts.supervised().unwrap();
        assert_eq!(supervised.outputs(&model).dims(), [5, 3]);
        let (a, b) = (
            gnb_sample(&at_once, 7).unwrap(),
            gnb_sample(&in_parts, 7).unwrap(),
        );
        close(&a.to_values(), &b.to_values());
    }

    #[test]
    fn parts_of_another_weight_than_their_rows_are_not_supervised() {
        let device = Device::flex().autodiff();
        let parts: Accumulated<Linear> = Accumulated::new(vec![
            (Box::new(batch(0, 2, &device)), 3),
            (Box::new(batch(2, 5, &device)), 2),
        ]);
        assert!(parts.supervised().is_none());
    }

    #[test]
    fn parts_that_use_other_parameters_are_one_tape() {
        let device = Device::flex().autodiff();
        let model: Linear = LinearConfig::new(2, 3).init(&device);
        let weight = |model: &Linear| model.weight.val().square().mean();
        let bias = |model: &Linear| match &model.bias {
            Some(bias) => (bias.val() - 1.0).square().mean(),
            None => model.weight.val().sum(),
        };
        let parts: Accumulated<Linear> =
            Accumulated::new(vec![(Box::new(weight), 1), (Box::new(bias), 1)]);
        let oracle = GradientOracle::new(&model, &parts);
        let gradient = &oracle.clean().unwrap().gradient;
        assert_eq!(gradient.layout().num_elements(), 9);
        assert!(gradient.to_values().iter().all(|value| *value != 0.0));
    }
}
