//! JSON whose numbers come back as they were.
//!
//! `serde_json` reads a number to the last digit only with a feature that the programs of a workspace
//! would have to share; without it the shortest text of a number may be read as its neighbour. Here a
//! number is written with as many digits as it takes.

use std::io::{Error, Result, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// Writes a value, indented.
pub(crate) fn write(to: impl Write, value: &impl Serialize) -> Result<()> {
    let formatter = Exact(PrettyFormatter::new());
    let mut serializer = Serializer::with_formatter(to, formatter);
    value.serialize(&mut serializer).map_err(Error::from)
}

struct Exact(PrettyFormatter<'static>);

/// The digits that a text of a number may have.
const DIGITS: std::ops::RangeInclusive<usize> = 15..=19;
/// How far the last of them is moved.
const NEIGHBOURS: i128 = 4;

/// A text that `serde_json` reads as `value`; the shortest where none is found.
fn text(value: f64) -> String {
    let reads = |text: &str| {
        serde_json::from_str::<f64>(text).is_ok_and(|read| read.to_bits() == value.to_bits())
    };
    let shortest = format!("{value:?}");
    if reads(&shortest) {
        return shortest;
    }
    for digits in DIGITS {
        let scientific = format!("{value:.*e}", digits - 1);
        let Some((mantissa, exponent)) = scientific.split_once('e') else {
            break;
        };
        let (Ok(mantissa), Ok(exponent)) = (
            mantissa.replace('.', "").parse::<i128>(),
            exponent.parse::<i64>(),
        ) else {
            break;
        };
        let exponent = exponent - (digits as i64 - 1);
        for moved in -NEIGHBOURS..=NEIGHBOURS {
            let text = format!("{}e{exponent}", mantissa + moved);
            if reads(&text) {
                return text;
            }
        }
    }
    shortest
}

impl Formatter for Exact {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> Result<()> {
        writer.write_all(text(value).as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn numbers_come_back_to_the_last_bit() {
        let mut bits = 0x3FF0_0000_0000_0001_u64;
        let mut hard = 0;
        for i in 0..20_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Sizes from 1e-18 to 1e18, as settings have them.
            let exponent = 1023 - 60 + (bits >> 52) % 120;
            let value = f64::from_bits(exponent << 52 | bits & ((1 << 52) - 1));
            let value = if i % 2 == 0 {
                value
            } else {
                f64::from(value as f32)
            };
            let text = text(value);
            if text != format!("{value:?}") {
                hard += 1;
            }
            assert_eq!(serde_json::from_str::<f64>(&text).unwrap(), value, "{text}");
        }
        assert!(hard > 100, "{hard}: the shortest text would have done");
    }

    #[test]
    fn the_rest_is_usual_json() {
        let value =
            json!({ "a": [1, -2, 0.5, null], "b": { "c": "d" }, "e": f64::from(0.999_f32) });
        let mut bytes = Vec::new();
        write(&mut bytes, &value).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), value);
        assert!(String::from_utf8(bytes).unwrap().contains("\n  \"b\": {\n"));
    }
}
