//! probe
use burn::tensor::{DType, Device};
use osculate_curvature::GradientOracle;
use osculate_tests::layered::{Layers, Targets, Change};
#[test]
fn probe() {
    let device = Device::flex().autodiff();
    for dtype in [DType::F32, DType::F64] {
    let a = Layers::new(&device, dtype);
    let b = a.clone().changed(Change::Wider);
    for m in [&a, &b] {
        let t = Targets::new(m, 3);
        let o = GradientOracle::new(m, &t);
        let e = o.clean().unwrap();
        for (entry, g) in e.gradient.iter() { let v: Vec<f64> = g.to_data().iter::<f64>().collect(); println!("{} {:?}", entry.path, &v[..3]); }
    }}
}
