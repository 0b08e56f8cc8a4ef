//! burn's recurrent layers, whose states are made inside.

use burn::module::Module;
use burn::nn::loss::{CrossEntropyLossConfig, MseLoss, Reduction};
use burn::nn::{
    BiGru, BiGruConfig, BiLstm, BiLstmConfig, Dropout, DropoutConfig, Embedding, EmbeddingConfig,
    Gru, GruConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig, Lstm, LstmConfig, LstmState,
};
use burn::tensor::{Device, Int, Tensor, s};

use crate::turns::{holds, integers, numbers, turn};

/// burn's bidirectional LSTM, with its output at every place and its last states.
#[derive(Module, Debug)]
struct Bidirectional {
    lstm: BiLstm,
    norm: LayerNorm,
    dropout: Dropout,
    head: Linear,
}

impl Bidirectional {
    fn new(dropout: f64, device: &Device) -> Self {
        Self {
            lstm: BiLstmConfig::new(3, 4, true).init(device),
            norm: LayerNormConfig::new(8).init(device),
            dropout: DropoutConfig::new(dropout).init(),
            head: LinearConfig::new(8, 3).init(device),
        }
    }

    fn loss(&self, (x, labels): &(Tensor<3>, Tensor<1, Int>)) -> Tensor<1> {
        let (outputs, state) = self.lstm.forward(x.clone(), None);
        let pooled = outputs.mean_dim(1).squeeze_dim::<2>(1);
        let [rows, _] = pooled.dims();
        let last = state.hidden.swap_dims(0, 1).reshape([rows, 8]);
        let x = self.dropout.forward(self.norm.forward(pooled + last));
        let loss = CrossEntropyLossConfig::new().init(&x.device());
        loss.forward(self.head.forward(x), labels.clone())
    }
}

#[test]
fn a_bidirectional_lstm() {
    let _turn = turn();
    for dropout in [0.0, 0.3] {
        holds(
            "bidirectional",
            |device| Bidirectional::new(dropout, device),
            |device| (numbers([3, 4, 3], 2, device), integers([3], 3, 1, device)),
            |model, batch| model.loss(batch),
        );
    }
}

/// A language model whose state comes from the sequence before: truncated backpropagation.
#[derive(Module, Debug)]
struct LanguageModel {
    embedding: Embedding,
    dropout: Dropout,
    lstm: Lstm,
}

type Truncated = (Tensor<2, Int>, Tensor<1, Int>, Tensor<2>, Tensor<2>);

impl LanguageModel {
    fn new(device: &Device) -> Self {
        Self {
            embedding: EmbeddingConfig::new(6, 4).init(device),
            dropout: DropoutConfig::new(0.25).init(),
            lstm: LstmConfig::new(4, 4, true).init(device),
        }
    }

    fn loss(&self, (tokens, next, cell, hidden): &Truncated) -> Tensor<1> {
        let x = self.dropout.forward(self.embedding.forward(tokens.clone()));
        let state = LstmState::new(cell.clone(), hidden.clone());
        let (outputs, _) = self.lstm.forward(x, Some(state));
        let x = self.dropout.forward(outputs).flatten::<2>(0, 1);
        // The embedding is the output matrix too.
        let logits = x.matmul(self.embedding.weight.val().transpose());
        let config = CrossEntropyLossConfig::new().with_pad_tokens(Some(vec![0]));
        config.init(&logits.device()).forward(logits, next.clone())
    }
}

#[test]
fn a_language_model_that_carries_its_state() {
    let _turn = turn();
    holds(
        "truncated backpropagation",
        LanguageModel::new,
        |device| {
            (
                integers([2, 4], 6, 1, device),
                integers([8], 6, 2, device),
                numbers([2, 4], 3, device),
                numbers([2, 4], 4, device),
            )
        },
        |model, batch| model.loss(batch),
    );
}

#[derive(Module, Debug)]
struct Gated {
    gru: Gru,
    both: BiGru,
    head: Linear,
}

#[test]
fn gated_units_in_one_direction_and_in_two() {
    let _turn = turn();
    holds(
        "gru",
        |device| Gated {
            gru: GruConfig::new(2, 3, true).init(device),
            both: BiGruConfig::new(3, 2, true).init(device),
            head: LinearConfig::new(4, 2).init(device),
        },
        |device| (numbers([3, 4, 2], 2, device), numbers([3, 2], 5, device)),
        |model: &Gated, (x, y)| {
            let x = model.gru.forward(x.clone(), None);
            let (x, _) = model.both.forward(x, None);
            let last = x.slice(s![.., 3..4, ..]).squeeze_dim::<2>(1);
            MseLoss::new().forward(model.head.forward(last), y.clone(), Reduction::Mean)
        },
    );
}
