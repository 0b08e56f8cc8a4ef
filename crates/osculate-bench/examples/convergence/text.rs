use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use osculate::prelude::*;
use osculate_problems::modules::seeded;

use crate::entrant::{Entrant, Settings, rates_or};
use crate::model::{CharLm, schedule};

const LENGTH: usize = 64;
const BATCH: usize = 16;
/// Batches of the validation loss.
const VALIDATION: u64 = 24;
/// The part of the text that is trained on.
const TRAINED: f64 = 0.9;

/// A text as numbers of its characters.
struct Text {
    train: Vec<i64>,
    validation: Vec<i64>,
    vocabulary: usize,
}

impl Text {
    fn load(path: &Path) -> Result<Self, Box<dyn Error>> {
        let text = fs::read_to_string(path)?;
        let mut characters: Vec<char> = text.chars().collect();
        characters.sort_unstable();
        characters.dedup();
        let tokens = text.chars().map(|c| characters.binary_search(&c));
        let tokens = tokens.map(|at| at.unwrap_or_default() as i64);
        let mut train: Vec<i64> = tokens.collect();
        let validation = train.split_off((train.len() as f64 * TRAINED) as usize);
        if validation.len() <= LENGTH + 1 {
            return Err(format!("{} is too short", path.display()).into());
        }
        Ok(Self {
            train,
            validation,
            vocabulary: characters.len(),
        })
    }

    /// Rows of a split, at places that `seed` and `number` decide, with their next characters.
    fn batch(
        split: &[i64],
        seed: u64,
        number: u64,
        device: &Device,
    ) -> (Tensor<2, Int>, Tensor<1, Int>) {
        let (mut tokens, mut next) = (Vec::<i64>::new(), Vec::<i64>::new());
        for row in 0..BATCH as u64 {
            // splitmix64's finaliser.
            let mut z = (seed << 40) ^ (number * BATCH as u64 + row + 1);
            z = z.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let start = ((z ^ (z >> 31)) % (split.len() - LENGTH - 1) as u64) as usize;
            tokens.extend(&split[start..start + LENGTH]);
            next.extend(&split[start + 1..start + 1 + LENGTH]);
        }
        let tokens = TensorData::new(tokens, [BATCH, LENGTH]);
        let next = TensorData::new(next, [BATCH * LENGTH]);
        (
            Tensor::from_data(tokens, device),
            Tensor::from_data(next, device),
        )
    }
}

/// Five learning rates around the best of each method.
fn rates(method: Entrant) -> [f64; 5] {
    match method {
        Entrant::Muon => [1e-2, 2e-2, 3e-2, 4e-2, 8e-2],
        Entrant::PsgdKron | Entrant::PsgdKronNewton => [3e-3, 5e-3, 8e-3, 1.2e-2, 2e-2],
        Entrant::Adamw | Entrant::Soap | Entrant::Shampoo => [1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2],
    }
}

/// Validation losses after a fixed number of steps.
pub fn study(
    path: &Path,
    steps: usize,
    methods: &[Entrant],
    settings: Settings,
    given: &[f64],
    device: &Device,
) -> Result<(), Box<dyn Error>> {
    let text = Text::load(path)?;
    let parameters = CharLm::new(text.vocabulary, LENGTH, device).num_params();
    println!(
        "text of {} characters, {} different; {parameters} parameters; {steps} steps of {BATCH} x \
         {LENGTH}; validation loss in nats a character",
        text.train.len() + text.validation.len(),
        text.vocabulary
    );
    for &method in methods {
        let mut best: Option<(f64, f64)> = None;
        let mut all = Vec::new();
        let start = Instant::now();
        for lr in rates_or(given, &rates(method)) {
            let loss = validation_loss(&text, method, settings, lr, steps, device)?;
            all.push(format!("{loss:.3}"));
            if loss.is_finite() && best.is_none_or(|(least, _)| loss < least) {
                best = Some((loss, lr));
            }
        }
        let millis = start.elapsed().as_secs_f64() * 1e3 / (all.len() * steps) as f64;
        let best = best.map_or("diverged".to_string(), |(loss, lr)| {
            format!("{loss:.3} at {lr}")
        });
        println!(
            "{:18} {best:18} (by rate: {}), {millis:.0} ms a step",
            method.name(),
            all.join(" ")
        );
    }
    Ok(())
}

fn validation_loss(
    text: &Text,
    method: Entrant,
    settings: Settings,
    lr: f64,
    steps: usize,
    device: &Device,
) -> Result<f64, Box<dyn Error>> {
    let mut optimizer = method.make::<CharLm>(settings)?;
    let mut model = seeded(CharLm::new(text.vocabulary, LENGTH, device), 0);
    for step in 0..steps {
        let (tokens, next) = Text::batch(&text.train, 1, step as u64, device);
        let objective = Supervised::new(
            move |model: &CharLm| model.forward(tokens.clone()),
            Criterion::cross_entropy(next),
        );
        let lr = lr * schedule(step, steps);
        let made = optimizer.step(lr, model, &objective).map_err(|e| e.cause)?;
        model = made.model;
    }
    let model = model.valid();
    let device = device.clone().inner();
    let mut sum = 0.0;
    for number in 0..VALIDATION {
        let (tokens, next) = Text::batch(&text.validation, 2, number, &device);
        let loss = Criterion::cross_entropy(next).loss(model.forward(tokens))?;
        sum += f64::from(loss.into_scalar::<f32>());
    }
    Ok(sum / VALIDATION as f64)
}
