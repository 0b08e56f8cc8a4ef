//! JSON whose numbers are read as they were written.
//!
//! `serde_json` reads a number to the last digit only with a feature that all programs of a workspace
//! would have to share; without it a number may come back as its neighbour, and a resumed run would
//! not be the run that was interrupted.

use serde::de::DeserializeOwned;
use serde_json::{Error, Number, Value};

/// Begins the texts that stand for numbers while the rest is parsed; no setting begins with it.
const MARK: &str = "\u{1}number:";

/// Reads a value.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    // Errors of syntax are those of the text as it is.
    serde_json::from_str::<serde::de::IgnoredAny>(text)?;
    let mut value: Value = serde_json::from_str(&marked(text))?;
    unmark(&mut value);
    serde_json::from_value(value)
}

/// The text of valid JSON with its fractional numbers as marked texts.
fn marked(text: &str) -> String {
    let mut marked = String::with_capacity(2 * text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '-' | '0'..='9' => rest
                .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
                .unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        let number = matches!(first, '-' | '0'..='9');
        if number && token.contains(['.', 'e', 'E']) {
            marked.push_str(&format!("\"\\u0001{}{token}\"", &MARK[1..]));
        } else {
            marked.push_str(token);
        }
        rest = after;
    }
    marked
}

/// Length of the string that a text begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn unmark(value: &mut Value) {
    match value {
        Value::String(text) => {
            let number = text
                .strip_prefix(MARK)
                .and_then(|number| number.parse::<f64>().ok())
                .and_then(Number::from_f64);
            if let Some(number) = number {
                *value = Value::Number(number);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(unmark),
        Value::Object(values) => values.values_mut().for_each(unmark),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_come_back_to_the_last_bit() {
        let mut bits = 0x3FF0_0000_0000_0001_u64;
        let mut hard = 0;
        for i in 0..20_000 {
            bits = bits
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // Sizes from 1e-18 to 1e18, as settings have them.
            let exponent = 1023 - 60 + (bits >> 52) % 120;
            let value = f64::from_bits(exponent << 52 | bits & ((1 << 52) - 1));
            let value = if i % 2 == 0 {
                value
            } else {
                f64::from(value as f32)
            };
            let text = serde_json::to_string(&value).unwrap();
            assert_eq!(read::<f64>(&text).unwrap(), value, "{text}");
            hard += usize::from(serde_json::from_str::<f64>(&text).unwrap() != value);
        }
        assert!(hard > 100, "{hard}: the usual way would have done");
    }

    #[test]
    fn the_rest_is_read_as_usual() {
        let value = json!({
            "a 1.5": [1, -2, 0.5, -1e-30, null, true, false, []],
            "b": { "c": "1.5 \\ \" 2.5e3, {3.5}", "d": "é \u{1} 4.5", "": 18446744073709551615_u64 },
        });
        for text in [
            value.to_string(),
            serde_json::to_string_pretty(&value).unwrap(),
        ] {
            assert_eq!(read::<Value>(&text).unwrap(), value);
        }
        for wrong in ["", "{", "[1.5", "{\"a\": 1.5.5}", "nul", "\"a"] {
            assert!(read::<Value>(wrong).is_err(), "{wrong}");
        }
        assert_eq!(read::<f64>("2").unwrap(), 2.0);
    }
}
