/// A scale of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::report) enum Scale {
    Linear,
    Logarithmic,
}

impl Scale {
    /// The place of a value on the axis. Values that a logarithm does not have are no numbers.
    pub(in crate::report) fn place(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            Scale::Logarithmic if value > 0.0 => value.log10(),
            Scale::Logarithmic => f64::NAN,
        }
    }

    /// The value at a place.
    pub(in crate::report) fn value(self, place: f64) -> f64 {
        match self {
            Scale::Linear => place,
            Scale::Logarithmic => 10.0_f64.powf(place),
        }
    }

    /// Places of tick marks between two places: five or so.
    pub(super) fn ticks(self, low: f64, high: f64) -> Vec<f64> {
        let width = high - low;
        if !(width > 0.0 && width.is_finite()) {
            return vec![low];
        }
        match self {
            Scale::Logarithmic if width < 1.5 => {
                let decades = low.floor() as i32..=high.ceil() as i32;
                let marks = [1.0_f64, 2.0, 5.0].map(f64::log10);
                let all = decades.flat_map(|decade| marks.map(|mark| f64::from(decade) + mark));
                all.filter(|place| (low..=high).contains(place)).collect()
            }
            Scale::Logarithmic => every((width / 5.0).ceil().max(1.0), low, high),
            Scale::Linear => {
                let rough = width / 5.0;
                let size = 10.0_f64.powf(rough.log10().floor());
                let part = [1.0, 2.0, 5.0, 10.0]
                    .into_iter()
                    .find(|part| part * size >= rough);
                every(part.unwrap_or(10.0) * size, low, high)
            }
        }
    }

    /// The text at a tick mark.
    pub(super) fn text(self, place: f64) -> String {
        let value = self.value(place);
        let size = value.abs();
        if size < 1e-12 {
            "0".to_string()
        } else if (1e-2..1e5).contains(&size) {
            // Three significant digits, without the zeros at the end.
            let digits = (2 - size.log10().floor() as i32).clamp(0, 4) as usize;
            let text = format!("{value:.digits$}");
            if text.contains('.') {
                text.trim_end_matches('0').trim_end_matches('.').to_string()
            } else {
                text
            }
        } else {
            format!("{value:.0e}")
        }
    }
}

/// The multiples of a step between two numbers.
fn every(step: f64, low: f64, high: f64) -> Vec<f64> {
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last)
        .map(|multiple| multiple as f64 * step)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        let texts = |scale: Scale, low, high| -> Vec<String> {
            let ticks = scale.ticks(low, high);
            ticks.into_iter().map(|tick| scale.text(tick)).collect()
        };
        assert_eq!(texts(Scale::Linear, 0.0, 276.0), ["0", "100", "200"]);
        assert_eq!(texts(Scale::Linear, 92.3, 99.8), ["94", "96", "98"]);
        assert_eq!(
            texts(Scale::Logarithmic, -3.2, 0.1),
            ["1e-3", "0.01", "0.1", "1"]
        );
        assert_eq!(texts(Scale::Logarithmic, -1.1, -0.2), ["0.1", "0.2", "0.5"]);
        assert_eq!(Scale::Linear.ticks(1.0, 1.0), [1.0]);
    }
}
