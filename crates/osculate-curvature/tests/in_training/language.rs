//! Transformers.

use burn::module::Module;
use burn::nn::attention::{
    CrossAttention, CrossAttentionConfig, generate_autoregressive_mask, generate_padding_mask,
};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::transformer::{
    TransformerDecoder, TransformerDecoderConfig, TransformerDecoderInput, TransformerEncoder,
    TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{
    Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig,
    PositionalEncoding, PositionalEncodingConfig, RotaryEncoding, RotaryEncodingConfig, SwiGlu,
    SwiGluConfig,
};
use burn::tensor::{Bool, Device, Int, Tensor, activation};

use crate::turns::{holds, integers, numbers, turn};

type Labelled = (Tensor<2, Int>, Tensor<2, Bool>, Tensor<1, Int>);

/// burn's text classification example, narrower.
#[derive(Module, Debug)]
struct TextClassifier {
    tokens: Embedding,
    places: Embedding,
    encoder: TransformerEncoder,
    head: Linear,
}

impl TextClassifier {
    fn new(norm_first: bool, device: &Device) -> Self {
        let config = TransformerEncoderConfig::new(4, 6, 2, 2);
        Self {
            tokens: EmbeddingConfig::new(7, 4).init(device),
            places: EmbeddingConfig::new(5, 4).init(device),
            encoder: config
                .with_dropout(0.1)
                .with_norm_first(norm_first)
                .with_quiet_softmax(true)
                .init(device),
            head: LinearConfig::new(4, 3).init(device),
        }
    }

    fn loss(&self, (tokens, padding, labels): &Labelled) -> Tensor<1> {
        let [rows, length] = tokens.dims();
        let places = Tensor::arange(0..length as i64, &tokens.device())
            .reshape([1, length])
            .repeat_dim(0, rows);
        let x = (self.places.forward(places) + self.tokens.forward(tokens.clone())) / 2.0;
        let input = TransformerEncoderInput::new(x).mask_pad(padding.clone());
        let logits = self.head.forward(self.encoder.forward(input));
        let first = logits.slice([0..rows, 0..1]).reshape([rows, 3]);
        let loss = CrossEntropyLossConfig::new().init(&first.device());
        loss.forward(first, labels.clone())
    }
}

#[test]
fn the_text_classification_example() {
    let _turn = turn();
    for norm_first in [false, true] {
        holds(
            "text classification",
            |device| TextClassifier::new(norm_first, device),
            |device| {
                let sentences = vec![vec![1, 4, 2], vec![3, 5, 6, 1, 2], vec![6, 2, 1, 1]];
                let padded = generate_padding_mask(0, sentences, Some(5usize), device);
                (padded.tensor, padded.mask, integers([3], 3, 1, device))
            },
            |model, batch| model.loss(batch),
        );
    }
}

/// A masked language model whose one layer is applied three times, as in ALBERT: factorised
/// embedding, fixed places, and an output tied to the embedding.
#[derive(Module, Debug)]
struct Shared {
    tokens: Embedding,
    places: PositionalEncoding,
    wide: Linear,
    layer: TransformerEncoder,
    narrow: Linear,
    norm: LayerNorm,
}

impl Shared {
    fn new(device: &Device) -> Self {
        Self {
            tokens: EmbeddingConfig::new(6, 2).init(device),
            places: PositionalEncodingConfig::new(4).init(device),
            wide: LinearConfig::new(2, 4).init(device),
            layer: TransformerEncoderConfig::new(4, 6, 2, 1)
                .with_dropout(0.1)
                .init(device),
            narrow: LinearConfig::new(4, 2).init(device),
            norm: LayerNormConfig::new(2).init(device),
        }
    }

    /// The loss of the tokens at `masked` places of the flattened batch.
    fn loss(
        &self,
        (tokens, masked, labels): &(Tensor<2, Int>, Tensor<1, Int>, Tensor<1, Int>),
    ) -> Tensor<1> {
        let x = self.wide.forward(self.tokens.forward(tokens.clone()));
        let x = (0..3).fold(self.places.forward(x), |x, _| {
            self.layer.forward(TransformerEncoderInput::new(x))
        });
        let x = x.flatten::<2>(0, 1).select(0, masked.clone());
        let x = self.norm.forward(activation::gelu(self.narrow.forward(x)));
        let logits = x.matmul(self.tokens.weight.val().transpose());
        let config = CrossEntropyLossConfig::new().with_smoothing(Some(0.1));
        config
            .init(&logits.device())
            .forward(logits, labels.clone())
    }
}

#[test]
fn a_masked_language_model_of_one_shared_layer() {
    let _turn = turn();
    holds(
        "shared layer",
        Shared::new,
        |device| {
            (
                integers([2, 4], 6, 1, device),
                Tensor::from_data([1, 3, 6], device),
                integers([3], 6, 2, device),
            )
        },
        |model, batch| model.loss(batch),
    );
}

/// A decoder with attention to another sequence, by burn's decoder and by its grouped queries.
#[derive(Module, Debug)]
struct Translator {
    target: Embedding,
    decoder: TransformerDecoder,
    attention: CrossAttention,
    head: Linear,
}

#[test]
fn a_decoder_with_cross_attention() {
    let _turn = turn();
    holds(
        "decoder",
        |device| Translator {
            target: EmbeddingConfig::new(5, 4).init(device),
            decoder: TransformerDecoderConfig::new(4, 6, 2, 1)
                .with_dropout(0.1)
                .init(device),
            attention: CrossAttentionConfig::new(4, 4, 2, 1, 2)
                .with_dropout(0.1)
                .init(device),
            head: LinearConfig::new(4, 5).init(device),
        },
        |device| {
            (
                integers([2, 3], 5, 1, device),
                numbers([2, 4, 4], 4, device),
                integers([6], 5, 3, device),
            )
        },
        |model: &Translator, (tokens, memory, next)| {
            let mask = generate_autoregressive_mask(2, 3, &tokens.device());
            let input =
                TransformerDecoderInput::new(model.target.forward(tokens.clone()), memory.clone());
            let x = model.decoder.forward(input.target_mask_attn(mask));
            let x = x.clone() + model.attention.forward(x, memory.clone(), None);
            let logits = model.head.forward(x).flatten::<2>(0, 1);
            let loss = CrossEntropyLossConfig::new().init(&logits.device());
            loss.forward(logits, next.clone())
        },
    );
}

/// A block as in LLaMA, with a normalisation by the root mean square.
#[derive(Module, Debug)]
struct Rotary {
    query: Linear,
    key: Linear,
    value: Linear,
    rotary: RotaryEncoding,
    swiglu: SwiGlu,
    down: Linear,
}

impl Rotary {
    fn new(device: &Device) -> Self {
        let linear = |from, to| LinearConfig::new(from, to).with_bias(false).init(device);
        Self {
            query: linear(4, 4),
            key: linear(4, 4),
            value: linear(4, 4),
            rotary: RotaryEncodingConfig::new(4, 4).init(device),
            swiglu: SwiGluConfig::new(4, 6).init(device),
            down: linear(6, 4),
        }
    }

    fn norm(x: Tensor<3>) -> Tensor<3> {
        let size = (x.clone().square().mean_dim(2) + 1e-5).sqrt();
        x / size
    }

    fn loss(&self, x: &Tensor<3>) -> Tensor<1> {
        let inner = Self::norm(x.clone());
        let query = self.rotary.forward(self.query.forward(inner.clone()));
        let key = self.rotary.forward(self.key.forward(inner.clone()));
        let scores = query.matmul(key.swap_dims(1, 2)) / 2.0;
        let mask = generate_autoregressive_mask(x.dims()[0], 4, &x.device());
        let weights = activation::softmax(scores.mask_fill(mask, f32::NEG_INFINITY), 2);
        let x = x.clone() + weights.matmul(self.value.forward(inner));
        let x = x.clone() + self.down.forward(self.swiglu.forward(Self::norm(x)));
        x.square().mean()
    }
}

#[test]
fn rotary_places_and_gated_units() {
    let _turn = turn();
    holds(
        "rotary",
        Rotary::new,
        |device| numbers([2, 4, 4], 3, device),
        |model, x| model.loss(x),
    );
}

/// Experts, two of which see each token.
#[derive(Module, Debug)]
struct Experts {
    router: Linear,
    experts: Vec<Linear>,
}

#[test]
fn a_mixture_of_experts() {
    let _turn = turn();
    holds(
        "experts",
        |device| Experts {
            router: LinearConfig::new(3, 4).with_bias(false).init(device),
            experts: (0..4)
                .map(|_| LinearConfig::new(3, 3).init(device))
                .collect(),
        },
        |device| (numbers([6, 3], 3, device), numbers([6, 3], 4, device)),
        |model: &Experts, (x, y)| {
            let logits = model.router.forward(x.clone());
            let (top, chosen) = logits.clone().topk_with_indices(2, 1);
            let weights = logits.zeros_like().scatter(
                1,
                chosen.clone(),
                activation::softmax(top, 1),
                burn::tensor::IndexingUpdateOp::Add,
            );
            let outputs = model
                .experts
                .iter()
                .map(|expert| activation::silu(expert.forward(x.clone())));
            let outputs = Tensor::stack::<3>(outputs.collect(), 1);
            let mixed = (outputs * weights.unsqueeze_dim(2))
                .sum_dim(1)
                .squeeze_dim::<2>(1);
            // How evenly the tokens are spread is part of the loss.
            let experts = Tensor::<1, Int>::arange(0..4, &x.device()).reshape([1, 1, 4]);
            let share = chosen
                .unsqueeze_dim::<3>(2)
                .equal(experts.expand([6, 2, 4]));
            let share = share
                .float()
                .cast(x.dtype())
                .sum_dim(1)
                .mean_dim(0)
                .flatten::<2>(0, 1);
            let balance = (activation::softmax(logits, 1).mean_dim(0) * share).sum();
            (mixed - y.clone()).square().mean() + balance.mul_scalar(0.1)
        },
    );
}
