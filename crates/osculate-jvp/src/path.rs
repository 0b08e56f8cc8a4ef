//! Where a visit of a module is.

/// The dotted path of where a visit of a module is, such as `encoder.0.weight`. A visitor or mapper hands it
/// every name that it enters, and tells it of every exit.
///
/// ```
/// use osculate_jvp::ModulePath;
///
/// let mut path = ModulePath::default();
/// path.enter("encoder");
/// path.enter("weight");
/// assert_eq!(path.as_str(), "encoder.weight");
/// assert_eq!(path.name(), "weight");
/// path.exit();
/// assert_eq!(path.as_str(), "encoder");
/// ```
#[derive(Debug, Clone, Default)]
pub struct ModulePath {
    text: String,
    /// Length of the text before each name.
    lengths: Vec<usize>,
}

impl ModulePath {
    /// Goes into a field, or an element of a list.
    pub fn enter(&mut self, name: &str) {
        let before = self.text.len();
        if !self.lengths.is_empty() {
            self.text.push('.');
        }
        self.lengths.push(before);
        self.text.push_str(name);
    }

    /// Leaves what was entered last.
    pub fn exit(&mut self) {
        if let Some(before) = self.lengths.pop() {
            self.text.truncate(before);
        }
    }

    /// The whole path; empty outside all fields.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What was entered last; empty outside all fields.
    pub fn name(&self) -> &str {
        let before = match self.lengths.as_slice() {
            [] | [_] => 0,
            [.., before] => before + 1,
        };
        &self.text[before..]
    }
}
