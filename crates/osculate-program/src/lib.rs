//! What a program owes to the system that runs it.
//!
//! - [`Interrupt`]: signals end the work after the step under way, so that it is saved.
//! - [`Output`] and [`complain`]: standard streams that may be closed or full at any time.
//! - [`columns`]: how wide what is shown may be.
//! - [`FolderLock`]: one process in an output folder.
//! - [`write_whole`]: a file is whole, or as it was.
//! - [`caught`]: a library that panics on damaged input is an error like others.
//! - [`exit`]: the exit codes of all programs.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod exit;
mod folder_lock;
mod interrupt;
#[cfg(feature = "log")]
mod log;
mod output;
mod panics;
mod terminal;
mod whole_file;

pub use folder_lock::FolderLock;
pub use interrupt::Interrupt;
#[cfg(feature = "log")]
pub use log::log_to_stderr;
pub use output::{Output, complain};
pub use panics::caught;
pub use terminal::columns;
pub use whole_file::write_whole;
