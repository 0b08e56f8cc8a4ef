//! Numbers in JSON that may be infinite or no number: they stand there as text.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Text(String),
}

/// Writes a number, or its name where JSON has no notation for it.
///
/// # Errors
/// As the serializer.
pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(*value)
    } else {
        serializer.collect_str(value)
    }
}

/// Reads what [`serialize`] has written.
///
/// # Errors
/// Text that names no number.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match Written::deserialize(deserializer)? {
        Written::Number(value) => Ok(value),
        Written::Text(text) => text.parse().map_err(|_| {
            D::Error::custom(format_args!(
                "expected a number, \"inf\", \"-inf\" or \"NaN\", got {text:?}"
            ))
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Holder(#[serde(with = "crate::number")] f64);

    #[test]
    fn every_number_comes_back() {
        for value in [1.5, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            let text = serde_json::to_string(&Holder(value)).unwrap();
            let Holder(read) = serde_json::from_str(&text).unwrap();
            assert!(read == value || (read.is_nan() && value.is_nan()), "{text}");
        }
        assert!(serde_json::from_str::<Holder>("\"many\"").is_err());
    }
}
