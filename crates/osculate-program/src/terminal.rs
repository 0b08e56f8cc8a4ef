//! The place where results are shown.

/// Columns that there is room for on standard output: what the environment variable `COLUMNS` says, else the
/// terminal's width. `None` where standard output is a file or a pipe, in which lines are as long as they are.
pub fn columns() -> Option<usize> {
    let said = std::env::var("COLUMNS").ok();
    let said = said.and_then(|text| text.trim().parse::<usize>().ok());
    said.filter(|columns| *columns > 0).or_else(|| {
        let size = terminal_size::terminal_size_of(std::io::stdout());
        size.map(|(width, _)| usize::from(width.0))
    })
}
