//! PSGD with a Kronecker product for its preconditioner.

use burn::tensor::DType;
use osculate_linalg::BlockPartition;

use super::descent::step;
use super::factor::{FactorKind, Storage};
use super::factors::{BOUNDS, FACTORS};
use super::geometry::{Descent, PsgdGeometry, SpectralNorm};
use super::precondition::PsgdFit;
use super::probes::RowProbeFn;
use super::settings::{Settings, psgd_config};
use crate::config::{Check, ConfigError};
use crate::curvature::CurvatureSource;
use crate::engine::{BlockRule, Field, RefreshSchedule, RuleError, Stack, Stepped, constructors};
use crate::parameter::Parameter;
use crate::registry::{OptimizerRow, read, to_value};
use crate::weight_decay::WeightDecay;

psgd_config! {
    /// PSGD with a Kronecker product for its preconditioner: one factor for each dimension.
    ///
    /// For a block `G` of dimensions `d_1, .., d_r` and `n` elements, `P = Π_i Q_iᵀ Q_i` along the
    /// dimensions. An update of the preconditioner, with the source `h` (the gradient, or `Hv`):
    ///
    /// ```text
    /// X = P h                                  (Q h for Eq; probes B = Q^-T v)
    /// T1_i = gram_i(X),   T2_i = (n / d_i) I   (gram_i(v) for Newton)
    /// L_i = max(β L_i + (1 - β) |T1_i + T2_i|, |T1_i + T2_i|)
    /// Q_i moves by (lr_preconditioner / L_i) (T1_i - T2_i), in the geometry
    /// ```
    ///
    /// The step is `θ = (1 - lr λ) θ - lr clip(P m)` for the averaged gradient `m`.
    ///
    /// - A dimension of a vector, a longer side of a matrix, and every dimension with `d² > n` has a
    ///   diagonal factor: see `max_skew`. Dimensions of 1 are dropped.
    /// - A block whose gradient is zero leaves its preconditioner alone; the first gradient that is not
    ///   zero sets its scale. (The authors set one scale for all tensors.) Newton's trust region by the
    ///   norm over all parameters is replaced by the limits of a block.
    /// - Cost of a step with an update, for each dense factor of a square matrix: 5 matrix products
    ///   (form `P` twice, apply it twice, the gram) and those of the [geometry](PsgdGeometry). Newton
    ///   adds 2 gradient evaluations where an update is due.
    /// - State: `d_i (d_i + 1) / 2` elements for a dense factor in `Quad`, `Quad4p` and `Eq`, `d_i²` in
    ///   the others; 1 for each parameter element with momentum. A square matrix keeps 2.0 times its
    ///   bytes at the defaults, 1.5 with `half_factors`.
    /// - Learning rate: begin at 5e-3, where AdamW has 3e-3. In the steady state of whitening the root
    ///   mean square of `P g` is about 1, as that of Adam's direction. In the study of `docs/study` its best rate
    ///   was 0.53 times AdamW's best on the same workload (median of eight; 0.053 to 1.7 times).
    /// - When not to use it: with gradients that are mostly zero (large embeddings), whose rows each
    ///   need their own statistics: give those AdamW by a hybrid.
    ///
    /// Papers: Li, *Preconditioned stochastic gradient descent*, <https://arxiv.org/abs/1512.04202>;
    /// *Curvature-informed SGD via general purpose Lie-group preconditioners*,
    /// <https://arxiv.org/abs/2402.04553>; *Stochastic Hessian fittings with Lie groups*,
    /// <https://arxiv.org/abs/2402.11858>.
    ///
    /// ```
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::{Device, Distribution, Tensor};
    /// use osculate_optim::{ClosureOptimizer, PsgdKronConfig};
    ///
    /// let device = Device::flex().autodiff();
    /// device.seed(1);
    /// let mut model: Linear = LinearConfig::new(4, 3).init(&device);
    /// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
    /// let loss = |model: &Linear| model.forward(x.clone()).square().mean();
    /// let mut optimizer = PsgdKronConfig::new().with_weight_decay(0.01).init()?;
    /// let mut losses = Vec::new();
    /// for _ in 0..10 {
    ///     let step = optimizer.step(0.03, model, &loss)?;
    ///     losses.push(step.report.loss());
    ///     model = step.model;
    /// }
    /// assert!(losses[9] < losses[0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub struct PsgdKronConfig {
        /// What is fitted. Default `Whitening`, the gradient.
        fit: "PsgdFit::Whitening",
        /// Step size of the preconditioner's own descent. Default 0.4: a run of some hundred steps ends
        /// before the authors' 0.1 has whitened its gradients. Their wrapper for language models begins
        /// with 0.5, and anneals to 0.1 or less. On functions without noise 0.1 is the faster one.
        lr_preconditioner: 0.4,
        /// In which coordinates. Default `Quad`: symmetric factors at half the storage, and the fewest
        /// matrix products. The authors' default is `Q05Eq15`.
        #[config(default = "PsgdGeometry::Quad")]
        pub geometry: PsgdGeometry,
        /// How the norm of a statistic is found. Default `Bound`.
        #[config(default = "SpectralNorm::Bound")]
        pub norm: SpectralNorm,
        /// Largest dimension with a dense factor. Default 8192.
        #[config(default = 8192)]
        pub max_size: usize,
        /// A dimension `d` of a block of `n` elements has a dense factor only where `d² <= max_skew n`.
        /// At the default of 1 the factors have at most as many elements as twice the parameter.
        #[config(default = 1.0)]
        pub max_skew: f64,
        /// Keeps the factors in `bf16`. Default `false`.
        #[config(default = false)]
        pub half_factors: bool,
    }
}

impl PsgdKronConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for a decay outside `[0, 1)`, a negative or non-finite number, a size of 0,
    /// or an invalid schedule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.rule().map(|_| ())
    }

    /// The rule, for [`Driver::of_blocks`](crate::Driver::of_blocks) or
    /// [`PerParameter`](crate::PerParameter).
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn rule(&self) -> Result<PsgdKron, ConfigError> {
        let name = match self.fit {
            PsgdFit::Newton => "psgd-kron-newton",
            _ => "psgd-kron",
        };
        let check = Check::of("PsgdKronConfig")
            .that(self.max_size > 0, "max_size", self.max_size, "at least 1")
            .non_negative("max_skew", self.max_skew);
        Ok(PsgdKron {
            settings: self.settings(name, check)?,
            descent: Descent {
                geometry: self.geometry,
                norm: self.norm,
            },
            max_size: self.max_size,
            max_skew: self.max_skew,
            half_factors: self.half_factors,
            flat: false,
        })
    }
}

constructors!(PsgdKronConfig);

/// The registry's row.
pub(crate) static ROW: OptimizerRow = OptimizerRow {
    name: "psgd-kron",
    text: "Kronecker product that whitens gradients",
    learning_rate: 5e-3,
    gradients: 1.0,
    state: "2 on a square matrix, less on others",
    defaults: || to_value(&PsgdKronConfig::new()),
    build: |settings| Ok(read::<PsgdKronConfig>(settings, "settings")?.init()?),
};

/// The rule of [`PsgdKronConfig`] and, with one diagonal factor, of
/// [`PsgdDiagonalConfig`](crate::PsgdDiagonalConfig).
#[derive(Debug, Clone)]
pub struct PsgdKron {
    pub(super) settings: Settings,
    pub(super) descent: Descent,
    max_size: usize,
    max_skew: f64,
    half_factors: bool,
    /// Takes every parameter for a vector.
    flat: bool,
}

impl BlockRule for PsgdKron {
    fn name(&self) -> &'static str {
        self.settings.name
    }

    fn partition(&self, parameter: &Parameter) -> BlockPartition {
        if self.flat {
            return BlockPartition::new(&[parameter.num_elements()], usize::MAX);
        }
        let dims = parameter.shape.iter().copied();
        let mut dims: Vec<usize> = dims.filter(|&d| d != 1).collect();
        if dims.is_empty() {
            dims.push(1);
        }
        BlockPartition::new(&dims, usize::MAX)
    }

    fn fields(&self, dims: &[usize], compute: DType) -> Vec<Field> {
        let factor_type = if self.half_factors {
            DType::BF16
        } else {
            compute
        };
        let kinds = self.kinds(dims);
        let factors = kinds.iter().zip(dims).zip(FACTORS);
        let mut fields: Vec<Field> = factors
            .map(|((kind, &d), name)| Field::new(name, kind.len(d), factor_type))
            .collect();
        fields.push(Field::new(BOUNDS, dims.len(), compute));
        fields.extend(self.settings.fields(dims, compute));
        fields
    }

    fn wants_curvature(&self, step: u64) -> bool {
        self.settings.wants_curvature(step)
    }

    fn curvature_source(&self) -> Option<Box<dyn CurvatureSource>> {
        self.settings.curvature_source()
    }

    fn weight_decay(&self) -> WeightDecay {
        self.settings.weight_decay()
    }

    fn step(&self, stack: &mut Stack<'_>) -> Result<Stepped, RuleError> {
        step(self, &self.settings, stack)
    }
}

impl PsgdKron {
    /// Draws the probes of damping and of the EQ geometry by the caller's own function instead of
    /// from the run's seed.
    pub fn with_probes(mut self, probes: RowProbeFn) -> Self {
        self.settings.probes.set(probes);
        self
    }

    /// One diagonal factor for a whole parameter.
    pub(super) fn diagonal(settings: Settings) -> Self {
        Self {
            settings,
            descent: Descent {
                geometry: PsgdGeometry::Qeq,
                norm: SpectralNorm::Bound,
            },
            max_size: 1,
            max_skew: 0.0,
            half_factors: false,
            flat: true,
        }
    }

    /// What the factors of a block look like.
    pub(super) fn kinds(&self, dims: &[usize]) -> Vec<FactorKind> {
        let n: usize = dims.iter().product();
        dims.iter()
            .map(|&d| {
                let skewed = (d * d) as f64 > self.max_skew * n as f64;
                if d <= 1 || d > self.max_size || skewed {
                    FactorKind::Diagonal
                } else {
                    FactorKind::Dense(Storage::of(self.descent.geometry))
                }
            })
            .collect()
    }
}
