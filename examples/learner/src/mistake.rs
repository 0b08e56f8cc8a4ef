//! What was asked for and makes no sense, apart from what failed.

use std::error::Error;
use std::fmt::{self, Display};

use osculate::device::DeviceError;
use osculate::prelude::SpecError;
use osculate_program::exit;

/// A mistake of who started the program, in words.
#[derive(Debug)]
pub struct Mistake(String);

impl Mistake {
    pub fn new(message: impl Display) -> Self {
        Self(message.to_string())
    }
}

impl Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Mistake {}

/// The exit code of a program that ends with an error.
pub fn exit_code(error: &(dyn Error + 'static)) -> u8 {
    if error.is::<Mistake>() || error.is::<SpecError>() || error.is::<DeviceError>() {
        exit::USAGE
    } else {
        exit::FAILURE
    }
}
