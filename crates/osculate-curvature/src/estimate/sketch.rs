//! What the estimators with a low-rank part share.

use faer::Mat;

use super::Estimate;
use crate::cost::Cost;
use crate::error::CurvatureError;
use crate::operator::{CurvatureOperator, Provenance};
use crate::params::{ParamVec, ThinQr};
use crate::tally::{Budget, Tally};

/// Settings of [`hutch_pp`](super::hutch_pp), [`xtrace`](super::xtrace),
/// [`xnystrace`](super::xnystrace) and [`xdiag`](super::xdiag).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SketchConfig {
    /// Number of products to spend. Default 30.
    pub products: usize,
    /// Seed of the probes. Default 0.
    pub seed: u64,
    /// What may be spent: fewer probes are drawn where it does not cover `products`. Default: no
    /// limit.
    pub budget: Budget,
}

impl Default for SketchConfig {
    fn default() -> Self {
        Self {
            products: 30,
            seed: 0,
            budget: Budget::default(),
        }
    }
}

impl SketchConfig {
    /// Checks the settings against what a method needs at the least.
    pub(super) fn tally(&self, least: usize) -> Result<Tally, CurvatureError> {
        let tally = Tally::new(self.budget)?;
        let products = self.products.min(tally.affordable());
        CurvatureError::check(
            products >= least,
            "products, or the budget's",
            products,
            match least {
                0..=4 => "at least 4 products",
                _ => "at least 6 products",
            },
        )?;
        Ok(tally)
    }
}

/// A trace from a low-rank part and probes of the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct SketchedTrace {
    /// The trace, with its standard error and the number of its samples.
    pub estimate: Estimate,
    /// Rank of the part that is known without sampling error.
    pub rank: usize,
    /// Whether all products with unit vectors were made instead, because they were no more than
    /// those asked for: there is then no sampling error.
    pub exact: bool,
    /// Number of products made.
    pub products: usize,
    /// What they cost.
    pub cost: Cost,
    /// Largest known error of a product; `None` where the products are exact or carry no estimate.
    pub product_error: Option<f64>,
    /// How the products were made: exactly, or by differences, then with the longest step and the
    /// largest errors of any, and why.
    pub provenance: Provenance,
    /// Whether the budget allowed all products asked for, or the tolerance was reached.
    pub converged: bool,
}

/// The diagonal from one product with each unit vector.
pub(super) fn unit_diagonal(
    operator: &dyn CurvatureOperator,
    tally: &mut Tally,
) -> Result<ParamVec, CurvatureError> {
    let layout = operator.layout();
    let n = layout.num_elements();
    let mut diagonal = ParamVec::zeros(&layout).to_compute_dtype();
    let mut index = 0;
    while index < n {
        let end = n.min(index + operator.width().max(1));
        let units: Vec<ParamVec> = (index..end).map(|i| ParamVec::basis(&layout, i)).collect();
        let products = tally.apply_all(operator, &units)?;
        for (unit, product) in units.iter().zip(products) {
            diagonal = diagonal.add(&unit.to_compute_dtype().hadamard(&product));
        }
        index = end;
    }
    Ok(diagonal)
}

/// The trace from one product with each unit vector.
pub(super) fn unit_trace(
    operator: &dyn CurvatureOperator,
    mut tally: Tally,
) -> Result<SketchedTrace, CurvatureError> {
    let diagonal = unit_diagonal(operator, &mut tally)?;
    let one = diagonal.map(|(_, x)| x.ones_like());
    let value = finite(diagonal.dot(&one))?;
    Ok(SketchedTrace {
        estimate: Estimate::exact(value),
        rank: diagonal.layout().num_elements(),
        exact: true,
        products: tally.products,
        cost: tally.cost,
        product_error: tally.product_error,
        provenance: tally.provenance,
        converged: true,
    })
}

/// Draws probes, and their products, while the budget covers `further` products for each of them
/// besides its own. At least one is drawn.
pub(super) fn probed(
    operator: &dyn CurvatureOperator,
    count: usize,
    further: usize,
    draw: impl Fn(usize) -> ParamVec,
    tally: &mut Tally,
) -> Result<(Vec<ParamVec>, Vec<ParamVec>), CurvatureError> {
    let (mut probes, mut products): (Vec<ParamVec>, Vec<ParamVec>) = (Vec::new(), Vec::new());
    while probes.len() < count {
        let mut abreast = operator.width().clamp(1, count - probes.len());
        while abreast > 1 && !tally.affords(abreast + further * (probes.len() + abreast)) {
            abreast -= 1;
        }
        if !probes.is_empty() && !tally.affords(abreast + further * (probes.len() + abreast)) {
            break;
        }
        let new: Vec<ParamVec> = (probes.len()..probes.len() + abreast)
            .map(|index| draw(index).to_compute_dtype())
            .collect();
        products.extend(tally.apply_all(operator, &new)?);
        probes.extend(new);
    }
    Ok((probes, products))
}

/// Columns that are smaller than this share of the largest add nothing but rounding to a basis.
pub(super) fn rank_tolerance(columns: &[ParamVec]) -> f64 {
    let entries = columns.iter().flat_map(|column| column.layout().entries());
    let all_f64 = entries
        .map(|entry| entry.dtype)
        .all(|dtype| dtype == burn::tensor::DType::F64);
    if all_f64 { 1e-12 } else { 1e-6 }
}

/// For each column of `Y = Q R`, the unit vector `s` for which `Q (I - s sᵀ) Qᵀ` projects on the
/// span of all other columns; zero where these span the same space without it.
pub(super) fn leave_one_out(qr: &ThinQr) -> Mat<f64> {
    let (rank, count) = (qr.r.nrows(), qr.r.ncols());
    let unit = |column: Vec<f64>| {
        let norm = column.iter().map(|x| x * x).sum::<f64>().sqrt();
        column
            .into_iter()
            .map(move |x| if norm > 0.0 { x / norm } else { 0.0 })
    };
    let columns: Vec<Vec<f64>> = (0..count)
        .map(|left_out| {
            if rank == count {
                // The other columns are orthogonal to this column of the inverse transposed.
                return unit(transposed_solve(&qr.r, left_out)).collect();
            }
            let others = Mat::from_fn(rank, count - 1, |row, column| {
                qr.r[(row, column + usize::from(column >= left_out))]
            });
            outside(&others).unwrap_or_else(|| vec![0.0; rank])
        })
        .collect();
    Mat::from_fn(rank, count, |row, column| columns[column][row])
}

/// Solves `Rᵀ x = e_index` for an upper triangular `R` without zeros on its diagonal.
fn transposed_solve(r: &Mat<f64>, index: usize) -> Vec<f64> {
    let mut x = vec![0.0; r.nrows()];
    for row in index..r.nrows() {
        let known: f64 = (index..row).map(|k| r[(k, row)] * x[k]).sum();
        x[row] = (f64::from(u8::from(row == index)) - known) / r[(row, row)];
    }
    x
}

/// The direction that the columns do not reach, where there is one.
fn outside(columns: &Mat<f64>) -> Option<Vec<f64>> {
    let rank = columns.nrows();
    if columns.ncols() == 0 {
        return Some((0..rank).map(|row| f64::from(u8::from(row == 0))).collect());
    }
    let svd = columns.svd().ok()?;
    let values: Vec<f64> = svd.S().column_vector().iter().copied().collect();
    let reached = values.len() == rank && values[rank - 1] > 1e-6 * values[0];
    (!reached).then(|| (0..rank).map(|row| svd.U()[(row, rank - 1)]).collect())
}

/// A sum of products that must be finite.
pub(super) fn finite(value: f64) -> Result<f64, CurvatureError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(CurvatureError::NonFinite {
            what: "a probe's quadratic form",
            value,
        })
    }
}
