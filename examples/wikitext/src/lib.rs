//! A transformer language model on WikiText or the embedded Jargon File.
//!
//! `wikitext --help` lists the flags; the training loop is
//! [`osculate_train::trainer`].

pub mod chunks;
pub mod cli;
pub mod config;
pub mod corpus;
pub mod error;
pub mod model;
pub mod sample;
pub mod task;
pub mod tokenizer;
