//! Commands as they are typed.

/// Words as a line for a shell.
pub(crate) fn line<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = words
        .into_iter()
        .map(|word| quoted(word.as_ref()))
        .collect();
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,/:".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The command of this process, under the program's usual name.
pub(crate) fn typed() -> String {
    let words = std::env::args_os().skip(1);
    let words = words.map(|word| word.to_string_lossy().into_owned());
    line(std::iter::once("osculate".to_string()).chain(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_would_read_otherwise_is_quoted() {
        let words = ["osculate", "--optimizer", "sam(soap)", "a=b", "it's", ""];
        assert_eq!(
            line(words),
            r"osculate --optimizer 'sam(soap)' a=b 'it'\''s' ''"
        );
    }
}
