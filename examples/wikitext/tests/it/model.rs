//! The transformer does what its name says.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData, Tolerance};
use osculate::curvature::{
    Criterion, CurvatureOperator, GradientOracle, Hessian, ParamVec, Provenance, SupervisedBatch,
};
use osculate_problems::modules::seeded;
use wikitext::model::{Transformer, TransformerConfig};

const CONFIG: TransformerConfig = TransformerConfig {
    vocab: 11,
    width: 16,
    layers: 2,
    heads: 2,
    dropout: 0.0,
};

/// Drawn on the host: the device's generator is shared with the tests beside.
fn model(device: &Device) -> Transformer {
    seeded(Transformer::new(&CONFIG, device), 5)
}

fn tokens(tokens: &[i64], device: &Device) -> Tensor<2, Int> {
    let data = TensorData::new(tokens.to_vec(), [1, tokens.len()]);
    Tensor::from_data(data, device)
}

#[test]
fn a_token_changes_no_logit_before_it() {
    let device = Device::flex();
    let model = model(&device);
    let text = [3, 1, 4, 1, 5, 9, 2, 6];
    let before = model.forward(tokens(&text, &device));
    assert_eq!(before.dims(), [8, 11]);
    for at in 0..text.len() {
        let mut changed = text;
        changed[at] = 10;
        let after = model.forward(tokens(&changed, &device));
        let difference = (after - before.clone()).abs().max_dim(1);
        let moved: Vec<f32> = difference.into_data().iter::<f32>().collect();
        assert!(
            moved[..at].iter().all(|moved| *moved == 0.0),
            "{at}: {moved:?}"
        );
        assert!(moved[at] > 0.0, "{at}: {moved:?}");
        assert!(
            moved[at..].iter().all(|moved| *moved > 0.0),
            "{at}: {moved:?}"
        );
    }
}

#[test]
fn the_order_of_tokens_matters() {
    let device = Device::flex();
    let model = model(&device);
    let last = |text: &[i64]| model.next(tokens(text, &device)).into_data();
    assert_ne!(last(&[1, 2, 3, 7]), last(&[3, 2, 1, 7]));
}

#[test]
fn the_next_token_has_the_last_row() {
    let device = Device::flex();
    let model = model(&device);
    let text = tokens(&[3, 1, 4, 1, 5], &device);
    let rows = model.forward(text.clone());
    let last = rows.narrow(0, 4, 1).into_data();
    last.assert_approx_eq::<f32>(&model.next(text).into_data(), Tolerance::default());
}

fn batch(
    device: &Device,
) -> SupervisedBatch<Tensor<2, Int>, impl Fn(&Transformer, &Tensor<2, Int>) -> Tensor<2> + use<>> {
    SupervisedBatch::new(
        tokens(&[3, 1, 4, 1, 5, 9], device),
        |model: &Transformer, tokens: &Tensor<2, Int>| model.forward(tokens.clone()),
        Criterion::cross_entropy(Tensor::from_data([1, 4, 1, 5, 9, 2], device)),
    )
}

/// The embedding's gradient is that of a matrix that is used twice: a row that is no input, and only
/// a wrong answer, has one, and every row's agrees with differences of the loss.
#[test]
fn the_embedding_is_the_output_too() {
    let device = Device::flex().autodiff();
    let model = model(&device);
    assert_eq!(
        model.num_params(),
        11 * 16 + 2 * (12 * 16 * 16 + 2 * 16) + 16
    );
    let objective = batch(&device);
    let oracle = GradientOracle::new(&model, &objective);
    let clean = oracle.clean().unwrap();
    let layout = clean.gradient.layout();
    let position = layout.position("embedding.weight").unwrap();
    let gradient: Vec<f64> = clean.gradient.tensors()[position]
        .to_data()
        .iter()
        .collect();
    // Token 10 is neither input nor target.
    let unused = gradient[10 * 16..].iter().map(|g| g.abs()).sum::<f64>();
    assert!(unused > 1e-5, "{unused}");

    let mut checked = 0;
    let offset: usize = layout.entries()[..position]
        .iter()
        .map(|e| e.num_elements())
        .sum();
    for element in [0, 3 * 16 + 1, 9 * 16 + 5, 10 * 16 + 7] {
        let basis = ParamVec::basis(layout, offset + element);
        let loss = |h: f64| -> f64 {
            let loss = oracle.evaluate_at(&basis, h).unwrap().loss;
            loss.to_data().iter::<f64>().next().unwrap()
        };
        let difference = (loss(2e-3) - loss(-2e-3)) / 4e-3;
        assert!(
            (difference - gradient[element]).abs() < 1e-3,
            "{difference} and {}",
            gradient[element]
        );
        checked += 1;
    }
    assert_eq!(checked, 4);
}

#[test]
fn its_hessian_products_are_exact() {
    let device = Device::flex().autodiff();
    let model = model(&device);
    let objective = batch(&device);
    let oracle = GradientOracle::new(&model, &objective);
    let hessian = Hessian::new(&oracle).unwrap();
    let product = hessian
        .apply(&ParamVec::gaussian(&hessian.layout(), 1))
        .unwrap();
    assert_eq!(product.provenance, Provenance::Exact);
}

/// burn recomputes activations from what a module keeps: with tables kept as plain tensors this
/// would fail.
#[test]
fn gradient_checkpointing_changes_nothing() {
    let gradient = |device: Device| {
        let model = model(&device);
        let objective = batch(&device);
        let oracle = GradientOracle::new(&model, &objective);
        oracle.clean().unwrap().gradient.to_values()
    };
    let plain = gradient(Device::flex().autodiff());
    let recomputed = gradient(Device::flex().autodiff().gradient_checkpointing());
    assert_eq!(plain.len(), recomputed.len());
    for (a, b) in plain.iter().zip(&recomputed) {
        assert!((a - b).abs() < 1e-6, "{a} and {b}");
    }
}
