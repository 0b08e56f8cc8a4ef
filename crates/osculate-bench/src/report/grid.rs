use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, Table, TableStyle};

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// With lines, for a terminal.
    Terminal,
    /// Markdown.
    Markdown,
    /// HTML.
    Html,
}

/// A table: a column of names on the left and columns of values, set to the right.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grid {
    /// Headings.
    pub header: Vec<String>,
    /// Rows of as many cells.
    pub rows: Vec<Vec<String>>,
}

impl Grid {
    /// A table without rows.
    pub fn new<T: Into<String>>(header: impl IntoIterator<Item = T>) -> Self {
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
                self.header.remove(column);
                for row in self.rows.iter_mut().filter(|row| row.len() > column) {
                    row.remove(column);
                }
            }
        }
        self
    }

    /// The table as text.
    pub fn write(&self, notation: Notation) -> String {
        match notation {
            Notation::Html => self.html(),
            Notation::Terminal => self.table(UTF8_FULL_CONDENSED),
            Notation::Markdown => self.table(ASCII_MARKDOWN),
        }
    }

    fn table(&self, style: TableStyle) -> String {
        let mut table = Table::new();
        table.load_style(style).set_header(&self.header);
        for row in &self.rows {
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }

    fn html(&self) -> String {
        let cells = |tag: &str, row: &[String]| -> String {
            row.iter()
                .map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)))
                .collect()
        };
        let rows: String = self
            .rows
            .iter()
            .map(|row| format!("<tr>{}</tr>\n", cells("td", row)))
            .collect();
        format!(
            "<div class=\"table\"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n",
            cells("th", &self.header)
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
        assert_eq!(grid.header, ["name", "a<b"]);
        assert!(grid.write(Notation::Markdown).contains("| x & y | "));
        assert!(grid.write(Notation::Terminal).contains("x & y"));
        let html = grid.write(Notation::Html);
        assert!(html.contains("<th>a&lt;b</th>") && html.contains("<td>x &amp; y</td>"));
    }
}
