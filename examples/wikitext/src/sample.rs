//! Text from a model.

use burn::tensor::{Int, Tensor, TensorData};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::error::WikitextError;
use crate::model::Transformer;
use crate::tokenizer::Tokenizer;

/// How text is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Tokens to draw.
    pub tokens: usize,
    /// Divides the logits: below 1 the likely tokens become likelier; 0 takes the likeliest.
    pub temperature: f64,
    /// Only so many of the likeliest tokens are drawn from; 0 for all.
    pub top_k: usize,
    /// Seed of the draws.
    pub seed: u64,
}

/// Continues a text. The model, in evaluation mode, sees the last `context` tokens.
///
/// # Errors
/// [`WikitextError::Setting`] for a temperature out of range, and [`WikitextError::Tokenizer`].
pub fn sample(
    model: &Transformer,
    tokenizer: &Tokenizer,
    prompt: &str,
    context: usize,
    sampling: &Sampling,
) -> Result<String, WikitextError> {
    if !sampling.temperature.is_finite() || sampling.temperature < 0.0 {
        return Err(WikitextError::Setting {
            name: "temperature",
            value: sampling.temperature.to_string(),
            expected: "a finite number, zero or greater",
        });
    }
    let mut tokens = tokenizer.encode(prompt)?;
    if tokens.is_empty() {
        // Something must stand before the first token: a line's end.
        tokens = tokenizer.encode("\n")?;
    }
    let prompted = tokens.len();
    let device = burn::module::Module::devices(model)
        .into_iter()
        .next()
        .unwrap_or_default();
    let mut rng = ChaCha8Rng::seed_from_u64(sampling.seed);
    for _ in 0..sampling.tokens {
        let seen = &tokens[tokens.len().saturating_sub(context)..];
        let seen: Vec<i64> = seen.iter().copied().map(i64::from).collect();
        let shape = [1, seen.len()];
        let seen = Tensor::<2, Int>::from_data(TensorData::new(seen, shape), &device);
        let logits: Vec<f64> = model.next(seen).into_data().iter::<f64>().collect();
        tokens.push(draw(&logits, sampling, rng.random::<f64>()));
    }
    let text = tokenizer.decode(&tokens[prompted..])?;
    Ok(format!("{prompt}{text}"))
}

/// The token on which a uniform number falls.
fn draw(logits: &[f64], sampling: &Sampling, uniform: f64) -> u32 {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let kept = match sampling.top_k {
        0 => order.len(),
        k => k.min(order.len()),
    };
    let order = &order[..kept];
    let Some(&first) = order.first() else {
        return 0;
    };
    if sampling.temperature == 0.0 {
        return first as u32;
    }
    let weight = |token: usize| ((logits[token] - logits[first]) / sampling.temperature).exp();
    let total: f64 = order.iter().map(|token| weight(*token)).sum();
    let mut left = uniform * total;
    for &token in order {
        left -= weight(token);
        if left < 0.0 {
            return token as u32;
        }
    }
    first as u32
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::tensor::Device;

    use super::*;
    use crate::config::{Config, Size};

    fn sampling() -> Sampling {
        Sampling {
            tokens: 20,
            temperature: 1.0,
            top_k: 0,
            seed: 3,
        }
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits = [0.0, 3.0_f64.ln(), f64::NEG_INFINITY];
        let count = |sampling: &Sampling| {
            let mut counts = [0; 3];
            for i in 0..1000 {
                counts[draw(&logits, sampling, f64::from(i) / 1000.0) as usize] += 1;
            }
            counts
        };
        assert_eq!(count(&sampling()), [250, 750, 0]);
        let mut sharp = sampling();
        sharp.temperature = 0.5;
        assert_eq!(count(&sharp), [100, 900, 0]);
        let mut one = sampling();
        one.top_k = 1;
        assert_eq!(count(&one), [0, 1000, 0]);
        let mut cold = sampling();
        cold.temperature = 0.0;
        assert_eq!(count(&cold), [0, 1000, 0]);
    }

    #[test]
    fn a_seed_gives_one_text() {
        let device = Device::flex();
        device.seed(1);
        let model = Transformer::new(&Config::new(Size::Tiny).model(256), &device).valid();
        let tokenizer = Tokenizer::bytes();
        let text = |seed, prompt: &str| {
            let sampling = Sampling { seed, ..sampling() };
            sample(&model, &tokenizer, prompt, 8, &sampling).unwrap()
        };
        assert_eq!(text(3, "hack"), text(3, "hack"));
        assert_ne!(text(3, "hack"), text(4, "hack"));
        assert!(text(3, "hack").starts_with("hack"));
        assert!(!text(3, "").is_empty());
        let mut wrong = sampling();
        wrong.temperature = -1.0;
        assert!(sample(&model, &tokenizer, "", 8, &wrong).is_err());
    }
}
