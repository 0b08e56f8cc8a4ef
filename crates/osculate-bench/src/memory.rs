//! How much memory the optimizers' states take on a layer of a given shape.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor};
use clap::ValueEnum;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use osculate::prelude::*;

use crate::error::BenchError;
use crate::registry::Method;

/// One weight matrix.
#[derive(Module, Debug)]
struct Layer {
    weight: Param<Tensor<2>>,
}

/// State bytes over parameter bytes of every optimizer, and of those whose state can be kept in half
/// precision, on one `f32` matrix after two steps.
///
/// # Errors
/// [`BenchError::Usage`] for a shape that is not `ROWSxCOLUMNS`, and [`BenchError::Step`].
pub fn measure(shape: &str, device: &Device) -> Result<String, BenchError> {
    let [rows, columns] = parse(shape)?;
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_header(["optimizer", "state / params"]);
    let mut add = |name: &str, optimizer: Box<dyn ClosureOptimizer<Layer>>| {
        let ratio = ratio(name, optimizer, [rows, columns], device)?;
        table.add_row([name.to_string(), format!("{ratio:.2}")]);
        Ok::<_, BenchError>(())
    };
    for method in Method::value_variants() {
        // Squared errors of a closure have no targets to draw for Sophia-G, whose state is Sophia-H's.
        let made = if *method == Method::SophiaG {
            Method::SophiaH.make(0)?
        } else {
            method.make(0)?
        };
        add(method.name(), made)?;
    }
    let halves: [(&str, Box<dyn ClosureOptimizer<Layer>>); 5] = [
        (
            "shampoo, bf16_roots",
            Box::new(ShampooConfig::new().with_bf16_roots(true).stacked()?),
        ),
        (
            "soap, bf16_bases",
            Box::new(SoapConfig::new().with_bf16_bases(true).stacked()?),
        ),
        (
            "kl-soap, bf16_bases",
            Box::new(KlSoapConfig::new().with_bf16_bases(true).stacked()?),
        ),
        (
            "psgd-kron, half_factors",
            Box::new(PsgdKronConfig::new().with_half_factors(true).stacked()?),
        ),
        (
            "muon, half_momentum",
            Box::new(MuonConfig::new().with_half_momentum(true).stacked()?),
        ),
    ];
    for (name, optimizer) in halves {
        add(name, optimizer)?;
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(format!(
        "{table}\nBytes of state over bytes of parameters on one f32 matrix of {rows} x {columns}.\n"
    ))
}

fn parse(shape: &str) -> Result<[usize; 2], BenchError> {
    let sides = shape
        .split_once('x')
        .and_then(|(a, b)| Some([a.parse().ok()?, b.parse().ok()?]));
    match sides {
        Some([rows, columns]) if rows > 0 && columns > 0 && rows * columns <= 1 << 26 => {
            Ok([rows, columns])
        }
        _ => Err(BenchError::Usage(format!(
            "--memory {shape}: expected ROWSxCOLUMNS of at most 2^26 elements, such as 1024x1024"
        ))),
    }
}

fn ratio(
    name: &str,
    mut optimizer: Box<dyn ClosureOptimizer<Layer>>,
    [rows, columns]: [usize; 2],
    device: &Device,
) -> Result<f64, BenchError> {
    let device = device.clone().autodiff();
    let values = Tensor::arange(0..(rows * columns) as i64, &device)
        .float()
        .sin();
    let weight = values.reshape([rows, columns]).require_grad();
    let mut model = Layer {
        weight: Param::initialized(ParamId::new(), weight),
    };
    let loss = |model: &Layer| (model.weight.val() - 0.1).square().mean();
    for _ in 0..2 {
        let step = optimizer.step(1e-3, model, &loss);
        model = step
            .map_err(|error| BenchError::Step {
                optimizer: name.to_string(),
                message: error.to_string(),
            })?
            .model;
    }
    let bytes = rows * columns * size_of::<f32>();
    Ok(optimizer.state_bytes() as f64 / bytes as f64)
}
