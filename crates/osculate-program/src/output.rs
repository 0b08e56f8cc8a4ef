//! Standard output and standard error.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::{Error, ErrorKind, IsTerminal, Write};

use crate::exit::{CLOSED_PIPE, FAILURE};
use crate::terminal::columns;

/// Standard output of a program whose results are kept elsewhere.
///
/// What cannot be said does not end the work: `program | head -1` is done and saved all the same. After
/// the first failure nothing more is written, and [`end`](Self::end) says what it means for the exit
/// code.
pub struct Output<W: Write = std::io::Stdout> {
    to: RefCell<W>,
    failed: RefCell<Option<Error>>,
    columns: Option<usize>,
    coloured: bool,
}

impl Output {
    /// Standard output, as wide as [`columns`] tells, and in colours on a terminal unless the environment
    /// variable `NO_COLOR` is there.
    pub fn stdout() -> Self {
        let out = std::io::stdout();
        let coloured = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let made = Self::new(out);
        Self {
            columns: columns(),
            coloured,
            ..made
        }
    }
}

impl<W: Write> Output<W> {
    /// Another writer in its place, which is no terminal.
    pub fn new(to: W) -> Self {
        Self {
            to: RefCell::new(to),
            failed: RefCell::new(None),
            columns: None,
            coloured: false,
        }
    }

    /// The same, but of so many columns.
    pub fn with_columns(mut self, columns: usize) -> Self {
        self.columns = Some(columns);
        self
    }

    /// Columns that there is room for; `None` where lines are as long as they are.
    pub fn columns(&self) -> Option<usize> {
        self.columns
    }

    /// Whether colours are shown.
    pub fn is_coloured(&self) -> bool {
        self.coloured
    }

    /// Writes a line.
    pub fn say(&self, text: impl Display) {
        let mut failed = self.failed.borrow_mut();
        if failed.is_none() {
            // In one piece: lines of several writers do not mix.
            let line = format!("{text}\n");
            *failed = self.to.borrow_mut().write_all(line.as_bytes()).err();
        }
    }

    /// Writes a paragraph, in lines of as many columns as there are. Elsewhere than on a terminal it is one line.
    pub fn tell(&self, text: impl Display) {
        let text = text.to_string();
        match self.columns {
            Some(columns) => self.say(textwrap::fill(&text, columns)),
            None => self.say(text),
        }
    }

    /// Writes an item of a list.
    pub fn item(&self, text: impl Display) {
        let text = format!("- {text}");
        let lines = |columns| textwrap::Options::new(columns).subsequent_indent("  ");
        match self.columns {
            Some(columns) => self.say(textwrap::fill(&text, lines(columns))),
            None => self.say(text),
        }
    }

    /// Ends the output of a program that would end with `code`, and gives the code that it ends with:
    /// where it would be 0, [`CLOSED_PIPE`] if the reader went away, and [`FAILURE`], with a line on
    /// standard error, if anything else kept the output from being written.
    pub fn end(self, code: u8) -> u8 {
        let flushed = self.to.into_inner().flush();
        let Some(error) = self.failed.into_inner().or(flushed.err()) else {
            return code;
        };
        let meant = if error.kind() == ErrorKind::BrokenPipe {
            CLOSED_PIPE
        } else {
            complain(format_args!("error: cannot write standard output: {error}"));
            FAILURE
        };
        if code == 0 { meant } else { code }
    }
}

/// Writes a line to standard error. Where that is closed or full there is nobody to be told.
pub fn complain(text: impl Display) {
    let line = format!("{text}\n");
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, then fails.
    struct Narrow {
        room: usize,
        kind: ErrorKind,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            if taken == 0 {
                return Err(self.kind.into());
            }
            Ok(taken)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn ended(room: usize, kind: ErrorKind, code: u8) -> u8 {
        let output = Output::new(Narrow { room, kind });
        output.say("one");
        output.say(2);
        output.end(code)
    }

    #[test]
    fn a_reader_who_leaves_is_no_error_but_known() {
        assert_eq!(ended(6, ErrorKind::BrokenPipe, 0), 0);
        assert_eq!(ended(5, ErrorKind::BrokenPipe, 0), CLOSED_PIPE);
        assert_eq!(ended(0, ErrorKind::BrokenPipe, 0), CLOSED_PIPE);
    }

    #[test]
    fn paragraphs_are_as_wide_as_there_is_room() {
        let mut text = Vec::new();
        let whole = Output::new(&mut text);
        whole.tell("one two three");
        assert_eq!((whole.columns(), whole.end(0)), (None, 0));
        let narrow = Output::new(&mut text).with_columns(8);
        narrow.tell("one two three");
        assert_eq!(narrow.end(0), 0);
        assert_eq!(text, b"one two three\none two\nthree\n");
    }

    #[test]
    fn a_full_disk_is_an_error() {
        assert_eq!(ended(3, ErrorKind::StorageFull, 0), FAILURE);
    }

    #[test]
    fn a_program_that_fails_for_another_reason_keeps_its_code() {
        assert_eq!(ended(0, ErrorKind::BrokenPipe, 130), 130);
        assert_eq!(ended(0, ErrorKind::StorageFull, 2), 2);
    }

    #[test]
    fn what_fails_at_the_flush_counts() {
        struct Late;
        impl Write for Late {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Err(ErrorKind::BrokenPipe.into())
            }
        }
        let output = Output::new(Late);
        output.say("kept back");
        assert_eq!(output.end(0), CLOSED_PIPE);
    }
}
