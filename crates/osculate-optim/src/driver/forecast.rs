//! What an optimizer will keep and spend, before it does.

use burn::module::Module;
use osculate_curvature::ParamEntry;

use super::Driver;
use super::error::StepErrorCause;
use super::groups::Assignment;
use crate::parameter::{Parameter, ParameterTable};
use crate::vector_state::{VectorField, scalar_dtype};

/// State beyond this many times the parameters, and beyond [`MANY_BYTES`], is announced.
const MANY_TIMES: usize = 16;
const MANY_BYTES: usize = 1 << 28;
/// Refreshes of more multiplications than this are announced: about a minute of one core.
const MANY_MULTIPLICATIONS: f64 = 1e11;

/// What an optimizer keeps of a model, and spends on it beside gradients and its usual steps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Forecast {
    /// Bytes of state after the first steps.
    pub state_bytes: usize,
    /// Bytes of the parameters that require a gradient.
    pub parameter_bytes: usize,
    /// Multiplications of refreshing every preconditioner once by decompositions, on the host.
    pub refresh: f64,
    /// The parameter with the most expensive refresh, or the most state where there is none.
    pub largest: Option<String>,
}

/// What an update keeps of some of its parameters and spends on them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expense {
    pub path: String,
    pub bytes: usize,
    pub refresh: f64,
}

impl Driver {
    /// What this optimizer will keep of a model and spend on it: nothing is allocated.
    ///
    /// ```
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::Device;
    /// use osculate_optim::{Driver, SoapConfig};
    ///
    /// let device = Device::flex().autodiff();
    /// let model: Linear = LinearConfig::new(512, 512).with_bias(false).init(&device);
    /// let forecast = SoapConfig::new().init()?.forecast(&model)?;
    /// assert_eq!(forecast.parameter_bytes, 4 * 512 * 512);
    /// // Two moments, two bases and two packed factors.
    /// assert_eq!(forecast.state_bytes / forecast.parameter_bytes, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`StepErrorCause`] for groups that the model does not have.
    pub fn forecast<M: Module>(&self, model: &M) -> Result<Forecast, StepErrorCause> {
        let table = ParameterTable::of(model);
        let assignment = Assignment::of(&self.groups, &table)?;
        Ok(self.forecast_of(model, &table, &assignment))
    }

    fn forecast_of<M: Module>(
        &self,
        model: &M,
        table: &ParameterTable,
        assignment: &Assignment,
    ) -> Forecast {
        let layout = ParameterTable::layout(model, |id, _| {
            table.trainable.iter().any(|(own, _)| *own == id)
        });
        let entries = layout.entries();
        let mut forecast = Forecast::default();
        let mut expenses = Vec::new();
        for (part, update) in self.updates().enumerate() {
            let own: Vec<(ParamEntry, Parameter)> = entries
                .iter()
                .filter(|entry| assignment.part_of(&entry.path) == Some(part))
                .filter_map(|entry| Some((entry.clone(), table.get(&entry.path)?.1.clone())))
                .collect();
            let (entries, parameters): (Vec<_>, Vec<_>) = own.into_iter().unzip();
            expenses.extend(update.expenses(&entries, &parameters));
        }
        for expense in &expenses {
            forecast.state_bytes += expense.bytes;
            forecast.refresh += expense.refresh;
        }
        let largest = expenses.into_iter().max_by(|a, b| {
            let by_refresh = a.refresh.total_cmp(&b.refresh);
            by_refresh.then(a.bytes.cmp(&b.bytes))
        });
        forecast.largest = largest.map(|expense| expense.path);
        let (mut fields, mut scalars) = (self.gradient.fields().to_vec(), 0);
        if let Some(policy) = &self.step_size {
            fields.extend(policy.fields());
            scalars += policy.scalars().len();
        }
        if let Some(average) = &self.averaging {
            fields.extend(average.fields());
        }
        for entry in entries {
            forecast.parameter_bytes += entry.num_elements() * entry.dtype.size();
            forecast.state_bytes += vector_bytes(&fields, entry);
        }
        if let Some(entry) = entries.first() {
            forecast.state_bytes += scalars * scalar_dtype(&entry.device).size();
        }
        forecast
    }

    /// Warns of what is far beyond the usual.
    pub(super) fn announce<M: Module>(
        &self,
        model: &M,
        table: &ParameterTable,
        assignment: &Assignment,
    ) {
        let forecast = self.forecast_of(model, table, assignment);
        let Forecast {
            state_bytes,
            parameter_bytes,
            refresh,
            ..
        } = forecast;
        let path = forecast.largest.as_deref().unwrap_or_default();
        if state_bytes > MANY_BYTES && state_bytes > MANY_TIMES * parameter_bytes {
            tracing::warn!(
                optimizer = %self.name, path, state_bytes, parameter_bytes,
                "the optimizer's state is many times the size of the model: smaller blocks, or another \
                 optimizer for this parameter, make it smaller"
            );
        }
        if refresh > MANY_MULTIPLICATIONS {
            let seconds = refresh / 2e9;
            tracing::warn!(
                optimizer = %self.name, path, multiplications = refresh, seconds,
                "refreshing the preconditioners is expensive, in the first steps above all: a lower \
                 `max_dim`, `block_size` or `max_skew`, or another optimizer for this parameter, makes it \
                 cheaper"
            );
        }
    }
}

/// Bytes of some vectors' part for a parameter.
pub(crate) fn vector_bytes(fields: &[VectorField], entry: &ParamEntry) -> usize {
    let sizes = fields.iter().map(|field| field.dtype(entry.dtype).size());
    entry.num_elements() * sizes.sum::<usize>()
}
