//! How exact the curvature products are.

use burn::module::Module;
use burn::optim::AdamWConfig;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use osculate::curvature::{
    CurvatureOperator, GaussNewton, GradientOracle, Hessian, HessianConfig, HvpMode, LanczosConfig,
    ParamVec, SupervisedBatch, lanczos,
};
use osculate::prelude::*;
use osculate_problems::digits::{CLASSES, Digits, PIXELS};
use osculate_problems::modules::{
    Activation, Mlp, MlpConfig, TransformerBlock, TransformerBlockConfig, cast, seeded,
};

use crate::error::BenchError;
use crate::report::{Column, Grid};

/// The error of one product.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The network.
    pub model: &'static str,
    /// The product and its element type.
    pub product: &'static str,
    /// The direction, or the number of the eigenvalue.
    pub direction: String,
    /// `|product - reference| / |reference|`.
    pub error: f64,
    /// The largest error that is accepted.
    pub limit: f64,
}

impl Row {
    /// Whether the error is within its limit.
    pub fn accepted(&self) -> bool {
        self.error <= self.limit
    }
}

/// Steps of training before the measurement: at the start the spectrum is not typical.
const TRAINING_STEPS: u64 = 100;
/// Images in a batch.
const ROWS: usize = 256;
/// Tokens, sequences and their length.
const VOCABULARY: usize = 32;
const SEQUENCES: usize = 64;
const LENGTH: usize = 16;

/// What [`table`] is to be read with.
pub(crate) fn note() -> String {
    format!(
        "Hessian and Gauss-Newton are finite differences where they are not called exact. Reference: exact products of \
         the same network cast to f64, after {TRAINING_STEPS} steps of AdamW."
    )
}

/// Measures all errors on the default device.
///
/// # Errors
/// [`BenchError::Usage`] on a device without `f64`, and as [`rows`].
pub fn measure() -> Result<Vec<Row>, BenchError> {
    let device = osculate::device::select(None)?;
    if !device.supports_dtype(DType::F64) {
        return Err(BenchError::Usage(format!(
            "{device:?} has no f64, which the reference needs; choose another by BURN_DEVICE"
        )));
    }
    rows(&device)
}

/// The errors as a table.
pub fn table(rows: &[Row]) -> Grid {
    let mut grid = Grid::new([
        Column::new("network"),
        Column::new("product").prose(16),
        Column::new("direction").prose(10),
        Column::new("error"),
        Column::new("accepted"),
    ]);
    for row in rows {
        let missed = if row.accepted() { "" } else { ", missed" };
        grid.rows.push(vec![
            row.model.to_string(),
            row.product.to_string(),
            row.direction.clone(),
            format!("{:.1e}", row.error),
            format!("{:.0e}{missed}", row.limit),
        ]);
    }
    grid
}

/// Measures all errors.
///
/// # Errors
/// [`BenchError::Data`], [`BenchError::Curvature`] and [`BenchError::Step`].
pub fn rows(device: &Device) -> Result<Vec<Row>, BenchError> {
    let device = device.clone().autodiff();
    let mut rows = Vec::new();
    for (name, activation) in [
        ("MLP, GELU", Activation::Gelu),
        ("MLP, tanh", Activation::Tanh),
        ("MLP, ReLU", Activation::Relu),
    ] {
        let config = MlpConfig::new(vec![PIXELS, 64, 64, CLASSES]).with_activation(activation);
        let model = seeded(config.init(&device), 1);
        let smooth = activation != Activation::Relu;
        case(
            name,
            smooth,
            model,
            &|dtype| digits(dtype, &device),
            &mut rows,
        )?;
    }
    let config = TransformerBlockConfig::new(VOCABULARY, LENGTH);
    let model = seeded(config.init(&device), 2);
    let sentences = |_| Ok(sentences(&device));
    case("transformer block", true, model, &sentences, &mut rows)?;
    Ok(rows)
}

type Batch<M> = Box<dyn Objective<M>>;

fn digits(dtype: DType, device: &Device) -> Result<Batch<Mlp>, BenchError> {
    let positions: Vec<usize> = (0..ROWS).collect();
    let batch = Digits::load()?.train().batch(&positions, device);
    Ok(Box::new(SupervisedBatch::new(
        batch.images.cast(dtype),
        |model: &Mlp, images: &Tensor<2>| model.forward(images.clone()),
        Criterion::cross_entropy(batch.labels),
    )))
}

/// Sequences that count upwards in steps of one to three, with the next token to be told.
fn sentences(device: &Device) -> Batch<TransformerBlock> {
    let token = |index: usize, ahead: usize| {
        let (row, place) = (index / LENGTH, index % LENGTH + ahead);
        ((7 * row + (1 + row % 3) * place) % VOCABULARY) as i64
    };
    let tensor = |ahead: usize| {
        let n = SEQUENCES * LENGTH;
        let values: Vec<i64> = (0..n).map(|index| token(index, ahead)).collect();
        Tensor::<1, Int>::from_data(TensorData::new(values, [n]), device)
    };
    Box::new(SupervisedBatch::new(
        tensor(0).reshape([SEQUENCES, LENGTH]),
        |model: &TransformerBlock, tokens: &Tensor<2, Int>| model.forward(tokens.clone()),
        Criterion::cross_entropy(tensor(1)),
    ))
}

fn case<M: Module>(
    name: &'static str,
    smooth: bool,
    mut model: M,
    batch: &dyn Fn(DType) -> Result<Batch<M>, BenchError>,
    rows: &mut Vec<Row>,
) -> Result<(), BenchError> {
    let single = batch(DType::F32)?;
    let mut optimizer = Driver::from(AdamWConfig::new().init());
    for _ in 0..TRAINING_STEPS {
        let step = optimizer.step(3e-3, model, single.as_ref());
        model = step
            .map_err(|error| BenchError::Step {
                optimizer: "adamw".to_string(),
                message: error.to_string(),
            })?
            .model;
    }
    let wide = cast(model.clone(), DType::F64);
    let double = batch(DType::F64)?;
    let oracle = GradientOracle::new(&model, single.as_ref());
    let reference = GradientOracle::new(&wide, double.as_ref());
    let (layout, wide_layout) = (oracle.layout()?, reference.layout()?);
    let widen = |v: &ParamVec| ParamVec::from_values(&wide_layout, &v.to_values());

    let mode = |mode| HessianConfig {
        mode,
        ..HessianConfig::default()
    };
    let hessian = Hessian::with_config(&oracle, mode(HvpMode::FiniteDifference))?;
    let hessian_f64 = Hessian::with_config(&reference, mode(HvpMode::FiniteDifference))?;
    let exact_f32 = Hessian::with_config(&oracle, mode(HvpMode::Exact))?;
    let exact = Hessian::with_config(&reference, mode(HvpMode::Exact))?;
    let spectrum = lanczos(
        &exact,
        &LanczosConfig {
            steps: 80,
            tolerance: 1e-5,
            ..LanczosConfig::default()
        },
    )?;
    let narrow = |v: &ParamVec| ParamVec::from_values(&layout, &v.to_values());
    let mut directions = vec![
        ("random", ParamVec::gaussian(&layout, 3)),
        ("gradient", oracle.clean()?.gradient.clone()),
    ];
    if let Some(top) = spectrum.largest.first() {
        directions.push(("top eigenvector", narrow(&top.vector)));
    }

    let ggn = GaussNewton::with_mode(&oracle, HvpMode::FiniteDifference)?;
    let ggn_f64 = GaussNewton::with_mode(&reference, HvpMode::FiniteDifference)?;
    let exact_ggn_f32 = GaussNewton::with_mode(&oracle, HvpMode::Exact)?;
    let exact_ggn = GaussNewton::with_mode(&reference, HvpMode::Exact)?;
    for (direction, v) in &directions {
        let v_wide = widen(v);
        let mut push = |product, value: &ParamVec, truth: &ParamVec, limit| {
            rows.push(Row {
                model: name,
                product,
                direction: direction.to_string(),
                error: widen(value).sub(truth).norm() / truth.norm(),
                limit,
            });
        };
        if smooth {
            let truth = exact.apply(&v_wide)?.value;
            push("Hessian, f32", &hessian.apply(v)?.value, &truth, 1e-3);
            let value = hessian_f64.apply(&v_wide)?.value;
            push("Hessian, f64", &value, &truth, 1e-6);
            let value = exact_f32.apply(v)?.value;
            push("exact Hessian, f32", &value, &truth, 1e-5);
        }
        let truth = exact_ggn.apply(&v_wide)?.value;
        let limit = if smooth { 1e-3 } else { 1e-2 };
        push("Gauss-Newton, f32", &ggn.apply(v)?.value, &truth, limit);
        if smooth {
            let value = ggn_f64.apply(&v_wide)?.value;
            push("Gauss-Newton, f64", &value, &truth, 1e-6);
        }
        let value = exact_ggn_f32.apply(v)?.value;
        push("exact Gauss-Newton, f32", &value, &truth, 1e-5);
    }
    if smooth {
        let found = lanczos(
            &hessian,
            &LanczosConfig {
                steps: 80,
                tolerance: 1e-4,
                ..LanczosConfig::default()
            },
        )?;
        let pairs = found.largest.iter().zip(&spectrum.largest);
        for (number, (found, truth)) in (1..).zip(pairs) {
            rows.push(Row {
                model: name,
                product: "Lanczos, f32",
                direction: format!("eigenvalue {number}"),
                error: (found.value - truth.value).abs() / truth.value.abs(),
                limit: 1e-3,
            });
        }
    }
    Ok(())
}
