//! Batch normalisation that stands written out in a recording.
//!
//! On an autodiff device burn computes normalisation by given statistics from elementary operations:
//! `(x - m) / √(v + ε) · γ + β`, with vectors reshaped to `[1, channels, 1, ..]`.

use std::collections::{HashMap, HashSet};

use burn_ir::{
    BaseOperationIr, BatchNormOpIr, FloatOperationIr, ModuleOperationIr, NumericOperationIr,
    OperationIr, TensorIr,
};

use crate::context::slot;
use crate::graph::Graph;

impl Graph {
    /// Makes each normalisation by one of the running `means`, given by slot, one operation. `None`
    /// where something else reads one of them.
    pub(crate) fn with_norms(mut self, means: &HashSet<usize>) -> Option<Self> {
        let made = Makers::of(&self.steps);
        let found: Vec<(usize, BatchNormOpIr)> = (0..self.steps.len())
            .filter_map(|step| Some((step, made.norm(&self.steps[step], means)?)))
            .collect();
        for (step, norm) in found {
            self.steps[step] = OperationIr::Module(ModuleOperationIr::BatchNorm(norm));
        }
        // What only the parts needed is dropped.
        let graph = self.with_outputs(|_| true);
        let elsewhere = graph.steps.iter().any(|step| {
            let is_norm = matches!(
                step,
                OperationIr::Module(ModuleOperationIr::BatchNorm(norm)) if means.contains(&slot(&norm.mean))
            );
            !is_norm && step.inputs().any(|input| means.contains(&slot(input)))
        });
        let results = graph.outputs.iter().any(|out| means.contains(&slot(out)));
        (!elsewhere && !results).then_some(graph)
    }
}

/// Which operation makes a tensor.
struct Makers<'a>(HashMap<usize, &'a OperationIr>);

impl<'a> Makers<'a> {
    fn of(steps: &'a [OperationIr]) -> Self {
        let outputs = steps
            .iter()
            .flat_map(|step| step.outputs().map(move |out| (slot(out), step)));
        Self(outputs.collect())
    }

    /// The normalisation whose last operation this is.
    fn norm(&self, last: &OperationIr, means: &HashSet<usize>) -> Option<BatchNormOpIr> {
        let OperationIr::NumericFloat(_, NumericOperationIr::Add(sum)) = last else {
            return None;
        };
        let beta = self.reshaped(&sum.rhs)?;
        let NumericOperationIr::Mul(scaled) = self.numeric(&sum.lhs)? else {
            return None;
        };
        let gamma = self.reshaped(&scaled.rhs)?;
        let NumericOperationIr::Div(quotient) = self.numeric(&scaled.lhs)? else {
            return None;
        };
        let NumericOperationIr::Sub(centred) = self.numeric(&quotient.lhs)? else {
            return None;
        };
        let mean = self.reshaped(&centred.rhs)?;
        let OperationIr::Float(_, FloatOperationIr::Sqrt(root)) =
            self.0.get(&slot(&quotient.rhs))?
        else {
            return None;
        };
        let NumericOperationIr::AddScalar(shifted) = self.numeric(&root.input)? else {
            return None;
        };
        means.contains(&slot(mean)).then_some(())?;
        Some(BatchNormOpIr {
            x: centred.lhs.clone(),
            gamma: gamma.clone(),
            beta: beta.clone(),
            mean: mean.clone(),
            variance: self.reshaped(&shifted.lhs)?.clone(),
            epsilon: shifted.rhs,
            out: sum.out.clone(),
        })
    }

    fn numeric(&self, tensor: &TensorIr) -> Option<&'a NumericOperationIr> {
        match self.0.get(&slot(tensor))? {
            OperationIr::NumericFloat(_, operation) => Some(operation),
            _ => None,
        }
    }

    /// What was reshaped to this tensor.
    fn reshaped(&self, tensor: &TensorIr) -> Option<&'a TensorIr> {
        match self.0.get(&slot(tensor))? {
            OperationIr::BaseFloat(BaseOperationIr::Reshape(reshape)) => Some(&reshape.input),
            _ => None,
        }
    }
}
