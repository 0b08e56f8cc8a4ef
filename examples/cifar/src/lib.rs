//! Image classifiers on CIFAR-10, CIFAR-100, Fashion-MNIST, folders of PNG files and the embedded
//! digits, trained by any optimizer of osculate or burn.
//!
//! The program is in `main.rs`; `cifar --help` lists its flags.

pub mod augment;
pub mod config;
pub mod data;
mod error;
pub mod label_noise;
pub mod models;
pub mod normalise;
pub mod task;

pub use error::CifarError;
