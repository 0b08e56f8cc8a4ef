use std::io::Write;

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, TableStyle, Width};
use osculate_program::Output;

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// With lines, for a terminal of so many columns.
    Terminal(usize),
    /// Markdown.
    Markdown,
    /// HTML.
    Html,
}

impl Notation {
    /// The one for an output: as wide as that is, and whole, in Markdown, in a file or a pipe.
    pub fn of<W: Write>(out: &Output<W>) -> Self {
        out.columns().map_or(Self::Markdown, Self::Terminal)
    }
}

/// A heading, and what becomes of its column where there is no room for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub heading: String,
    /// Columns of the least importance are left out first.
    importance: Importance,
    /// Of prose, whose lines may be broken: the least width.
    prose: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Importance {
    Spare(u8),
    Needed,
}

impl Column {
    /// A column that is never left out.
    pub fn new(heading: impl Into<String>) -> Self {
        Self {
            heading: heading.into(),
            importance: Importance::Needed,
            prose: None,
        }
    }

    /// The same, but left out where there is no room for it, the less important ones first.
    pub fn spare(mut self, importance: u8) -> Self {
        self.importance = Importance::Spare(importance);
        self
    }

    /// The same, but of texts to the left whose lines may be broken, to no fewer columns than this.
    pub fn prose(mut self, least: usize) -> Self {
        self.prose = Some(least);
        self
    }
}

impl<T: Into<String>> From<T> for Column {
    fn from(heading: T) -> Self {
        Self::new(heading)
    }
}

/// A table: a column of names on the left and columns of values, set to the right.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grid {
    /// Headings.
    pub header: Vec<Column>,
    /// Rows of as many cells.
    pub rows: Vec<Vec<String>>,
}

/// Columns that a heading has in one line at least.
const HEADING: usize = 12;

impl Grid {
    /// A table without rows.
    pub fn new<T: Into<Column>>(header: impl IntoIterator<Item = T>) -> Self {
        Self {
            header: header.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// The same without the columns in which no row says anything.
    pub fn without_empty_columns(mut self) -> Self {
        for column in (1..self.header.len()).rev() {
            let empty = |row: &Vec<String>| row.get(column).is_none_or(|cell| cell == NOTHING);
            if !self.rows.is_empty() && self.rows.iter().all(empty) {
                self.remove(column);
            }
        }
        self
    }

    fn remove(&mut self, column: usize) {
        self.header.remove(column);
        for row in self.rows.iter_mut().filter(|row| row.len() > column) {
            row.remove(column);
        }
    }

    /// The table as text.
    pub fn write(&self, notation: Notation) -> String {
        match notation {
            Notation::Html => self.html(),
            Notation::Terminal(columns) => self.fitted(columns),
            Notation::Markdown => self.table(ASCII_MARKDOWN, false).to_string(),
        }
    }

    /// In so many columns: what is spare is left out, and named in a line below, until the rest fits.
    fn fitted(&self, columns: usize) -> String {
        let mut grid = self.clone();
        let mut left_out = Vec::new();
        while grid.least_width() > columns {
            let spare = grid.header.iter().enumerate();
            let spare = spare.filter(|(_, column)| column.importance < Importance::Needed);
            // Of equal ones the last.
            let Some((index, _)) = spare.rev().min_by_key(|(_, column)| column.importance) else {
                break;
            };
            left_out.insert(0, grid.header[index].heading.clone());
            grid.remove(index);
        }
        let mut table = grid.table(UTF8_FULL_CONDENSED, true);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(columns).unwrap_or(u16::MAX));
        let widths = table.column_max_content_widths();
        for ((column, about), width) in table.column_iter_mut().zip(&grid.header).zip(widths) {
            // What is no prose keeps its lines whole while there is room for the least of the prose.
            if about.prose.is_none() && grid.least_width() <= columns {
                let padded = width + column.padding_width();
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(padded)));
            }
        }
        let table = table.to_string();
        if left_out.is_empty() {
            return table;
        }
        let note = format!("No room in {columns} columns for: {}.", left_out.join(", "));
        format!("{table}\n{}", textwrap::fill(&note, columns))
    }

    /// Columns that the table takes with its prose as narrow as may be.
    fn least_width(&self) -> usize {
        let table = self.table(UTF8_FULL_CONDENSED, true);
        let widths = table.column_max_content_widths();
        let widths = widths.into_iter().zip(&self.header);
        let cell = |(width, about): (u16, &Column)| {
            let width = usize::from(width);
            // A line on the left and a space on both sides.
            3 + about.prose.map_or(width, |least| width.min(least))
        };
        1 + widths.map(cell).sum::<usize>()
    }

    /// `broken` breaks headings that are wider than what stands below them.
    fn table(&self, style: TableStyle, broken: bool) -> Table {
        let mut table = Table::new();
        table.load_style(style);
        let headings = self.header.iter().enumerate().map(|(index, column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(index));
            let width = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            if broken {
                textwrap::fill(&column.heading, width.max(HEADING))
            } else {
                column.heading.clone()
            }
        });
        table.set_header(headings);
        for row in &self.rows {
            table.add_row(row);
        }
        for (column, about) in table.column_iter_mut().zip(&self.header).skip(1) {
            if about.prose.is_none() {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    fn html(&self) -> String {
        let cells = |tag: &str, row: &mut dyn Iterator<Item = &String>| -> String {
            row.zip(&self.header)
                .map(|(cell, column)| {
                    let prose = column.prose.is_some();
                    let class = if prose { " class=\"prose\"" } else { "" };
                    format!("<{tag}{class}>{}</{tag}>", escape(cell))
                })
                .collect()
        };
        let rows: String = self
            .rows
            .iter()
            .map(|row| format!("<tr>{}</tr>\n", cells("td", &mut row.iter())))
            .collect();
        let mut headings = self.header.iter().map(|column| &column.heading);
        format!(
            "<div class=\"table\"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n",
            cells("th", &mut headings)
        )
    }
}

/// What stands in a cell without a value.
pub(super) const NOTHING: &str = "—";

/// Text as HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_table_in_three_notations() {
        let mut grid = Grid::new(["name", "a<b", "nothing"]);
        grid.rows
            .push(vec!["x & y".into(), "1".into(), NOTHING.into()]);
        let grid = grid.without_empty_columns();
        let headings: Vec<&str> = grid.header.iter().map(|c| c.heading.as_str()).collect();
        assert_eq!(headings, ["name", "a<b"]);
        assert!(grid.write(Notation::Markdown).contains("| x & y | "));
        assert!(grid.write(Notation::Terminal(80)).contains("x & y"));
        let html = grid.write(Notation::Html);
        assert!(html.contains("<th>a&lt;b</th>") && html.contains("<td>x &amp; y</td>"));
    }

    #[test]
    fn what_is_spare_goes_first_and_is_named() {
        let mut grid = Grid::new([
            Column::new("name"),
            Column::new("what it does").prose(30),
            Column::new("steps"),
            Column::new("state").spare(2),
            Column::new("sharpness").spare(1),
        ]);
        let text = "words that may be broken where there is no room for all of them in one line";
        grid.rows.push(
            ["soap", text, "12345", "4.00", "17.3"]
                .map(String::from)
                .to_vec(),
        );
        for columns in [50, 60, 80, 100, 140] {
            let shown = grid.write(Notation::Terminal(columns));
            for line in shown.lines() {
                assert!(line.chars().count() <= columns, "{columns}:\n{shown}");
            }
            assert!(shown.contains("12345"), "{shown}");
            assert_eq!(shown.contains("17.3"), columns >= 69, "{columns}:\n{shown}");
            assert_eq!(shown.contains("4.00"), columns >= 57, "{columns}:\n{shown}");
        }
        let narrow = grid.write(Notation::Terminal(50));
        assert!(
            narrow.ends_with("No room in 50 columns for: state, sharpness."),
            "{narrow}"
        );
        assert!(grid.write(Notation::Markdown).contains(text));
    }
}
