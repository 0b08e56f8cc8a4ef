use indicatif::{ProgressBar, ProgressStyle};

/// A bar of so many parts; nothing is drawn where standard error is no terminal.
pub(super) fn bar(parts: usize) -> ProgressBar {
    let bar = ProgressBar::new(parts as u64);
    let style = "{bar:32} {percent:>3}%  {elapsed} of about {duration}  {wide_msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}
