use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::tensor::{Shape, Tensor};
use osculate_jvp::ModulePath;

use super::{Penalty, PenaltyValue};
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::params::{ParamEntry, ParamLayout, ParamVec, compute_dtype, random};

/// The sum of the spectral norms of a model's weight matrices.
///
/// A parameter of rank two and above is a matrix of its first axis by all others. Its largest
/// singular value `σ` has the gradient `u vᵀ`, both found by power iteration. Parameters of rank one
/// are left alone.
///
/// Cost: no pass through the model; two products of every matrix with a vector an iteration.
///
/// Paper: Yoshida, Miyato, <https://arxiv.org/abs/1705.10941>.
///
/// It bounds how much a network stretches its inputs, layer by layer, and is not invariant to scale that
/// layers trade.
///
/// ```
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::Device;
/// # let device = Device::flex().autodiff();
/// # let model: Linear = LinearConfig::new(2, 1).with_bias(false).init(&device);
/// # let layout = osculate_curvature::GradientOracle::new(&model, &|m: &Linear| m.weight.val().sum()).layout()?;
/// # let at = osculate_curvature::ParamVec::from_values(&layout, &[0.5, 2.0]);
/// # let model = osculate_curvature::assign(model, &at);
/// use osculate_curvature::{Penalty, SpectralPenalty};
/// // A single column, (0.5, 2): its norm.
/// let found = SpectralPenalty::new().evaluate(&model)?;
/// assert!((found.value - 4.25_f64.sqrt()).abs() < 1e-4);
/// # Ok::<(), osculate_curvature::CurvatureError>(())
/// ```
#[derive(Debug, Clone)]
pub struct SpectralPenalty {
    group: Option<ParamGroup>,
    iterations: usize,
    seed: u64,
}

impl Default for SpectralPenalty {
    fn default() -> Self {
        Self {
            group: None,
            iterations: 30,
            seed: 0,
        }
    }
}

impl SpectralPenalty {
    /// All matrices, with 30 iterations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only the parameters of this group.
    pub fn with_group(self, group: ParamGroup) -> Self {
        Self {
            group: Some(group),
            ..self
        }
    }

    /// Another number of iterations. The error of `σ` falls with the square of the ratio of the two
    /// largest singular values for each.
    ///
    /// # Errors
    /// [`CurvatureError::InvalidSetting`] for none.
    pub fn with_iterations(self, iterations: usize) -> Result<Self, CurvatureError> {
        CurvatureError::check(
            iterations > 0,
            "iterations",
            iterations,
            "at least one iteration",
        )?;
        Ok(Self { iterations, ..self })
    }
}

impl<M: Module> Penalty<M> for SpectralPenalty {
    fn evaluate(&self, model: &M) -> Result<PenaltyValue, CurvatureError> {
        let mut matrices = Matrices {
            path: ModulePath::default(),
            penalty: self,
            available: Vec::new(),
            entries: Vec::new(),
            gradients: Vec::new(),
            norms: Vec::new(),
        };
        model.visit(&mut matrices);
        if matrices.entries.is_empty() {
            return Err(CurvatureError::EmptySelection {
                available: matrices.available.len(),
                paths: matrices.available.join(", "),
            });
        }
        let layout = Arc::new(ParamLayout::new(matrices.entries));
        let norms: Vec<Tensor<1>> = matrices.norms;
        let value: f64 = crate::params::read_together(norms).iter().sum();
        if !value.is_finite() {
            return Err(CurvatureError::NonFinite {
                what: "the sum of the spectral norms",
                value,
            });
        }
        Ok(PenaltyValue {
            value,
            gradient: ParamVec::new(layout, matrices.gradients),
            cost: Cost::ZERO,
        })
    }
}

struct Matrices<'a> {
    path: ModulePath,
    penalty: &'a SpectralPenalty,
    available: Vec<String>,
    entries: Vec<ParamEntry>,
    gradients: Vec<Tensor<1>>,
    norms: Vec<Tensor<1>>,
}

impl ModuleVisitor for Matrices<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.as_str().to_string();
        let shape: Shape = param.val().shape();
        let chosen = match &self.penalty.group {
            Some(group) => group.matches(&param.id, Some(path.as_str())),
            None => true,
        };
        let wanted = D >= 2 && param.is_require_grad() && shape.num_elements() > 0;
        if wanted {
            self.available.push(path.clone());
        }
        if !(wanted && chosen) {
            return;
        }
        let value = param.val().inner();
        let (device, dtype) = (value.device(), value.dtype());
        let rows = value.dims()[0];
        let matrix: Tensor<2> = value.reshape([rows as i32, -1]).cast(compute_dtype(dtype));
        let columns = matrix.dims()[1];
        let seed = random::stream(self.penalty.seed, &path);
        let start = random::normal(columns, seed, matrix.dtype(), &device);
        let mut v = unit(start.reshape([columns, 1]));
        let mut u = unit(matrix.clone().matmul(v.clone()));
        for _ in 0..self.penalty.iterations {
            v = unit(matrix.clone().transpose().matmul(u));
            u = unit(matrix.clone().matmul(v.clone()));
        }
        let norm = (u.clone() * matrix.matmul(v.clone())).sum();
        self.norms.push(norm.reshape([1]));
        let gradient = u.matmul(v.transpose());
        self.gradients.push(gradient.reshape([-1]));
        self.entries.push(ParamEntry {
            path,
            id: param.id,
            shape,
            dtype,
            device,
        });
    }
}

/// A column of unit length, or zero.
fn unit(column: Tensor<2>) -> Tensor<2> {
    let norm = column.clone().square().sum().sqrt();
    let norm = norm.clamp_min(f64::from(f32::MIN_POSITIVE)).reshape([1, 1]);
    column / norm
}
