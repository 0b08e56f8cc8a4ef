use super::grid::{Grid, Notation, escape};

/// A part of a page.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Block {
    /// A heading of a level from 1.
    Heading(usize, String),
    /// A paragraph.
    Text(String),
    /// A list.
    List(Vec<String>),
    /// A command, to be typed.
    Command(String),
    /// A table.
    Table(Grid),
    /// A table that is shown when it is asked for, under a line that says what it is.
    Folded(String, Grid),
    /// A figure.
    Figure(Figure),
}

/// A figure of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Name of its file, without the ending.
    pub name: String,
    /// The figure.
    pub svg: String,
    /// What it shows.
    pub caption: String,
}

/// The blocks as Markdown that links to the figures' files beside it.
pub(super) fn markdown(blocks: &[Block]) -> String {
    let mut parts = Vec::new();
    for block in blocks {
        parts.push(match block {
            Block::Heading(level, text) => format!("{} {text}", "#".repeat(*level)),
            Block::Text(text) => text.clone(),
            Block::List(items) => {
                let lines: Vec<String> = items.iter().map(|item| format!("- {item}")).collect();
                lines.join("\n")
            }
            Block::Command(text) => format!("```sh\n{text}\n```"),
            Block::Table(grid) => grid.write(Notation::Markdown),
            Block::Folded(text, grid) => format!("{text}:\n\n{}", grid.write(Notation::Markdown)),
            Block::Figure(figure) => format!("![{}]({}.svg)", figure.caption, figure.name),
        });
    }
    parts.join("\n\n") + "\n"
}

/// The blocks as one page of HTML that needs nothing else: no script, no file, no network.
pub(super) fn html(title: &str, blocks: &[Block]) -> String {
    let body: String = blocks.iter().map(html_block).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         </body>\n</html>\n",
        escape(title)
    )
}

const STYLE: &str = include_str!("style.css");

fn html_block(block: &Block) -> String {
    match block {
        Block::Heading(level, text) => {
            format!(
                "<h{level} id=\"{}\">{}</h{level}>\n",
                anchor(text),
                escape(text)
            )
        }
        Block::Text(text) => format!("<p>{}</p>\n", escape(text)),
        Block::List(items) => {
            let items: String = items
                .iter()
                .map(|item| format!("<li>{}</li>\n", escape(item)))
                .collect();
            format!("<ul>\n{items}</ul>\n")
        }
        Block::Command(text) => format!("<pre><code>{}</code></pre>\n", escape(text)),
        Block::Table(grid) => grid.write(Notation::Html),
        Block::Folded(text, grid) => format!(
            "<details><summary>{}</summary>\n{}</details>\n",
            escape(text),
            grid.write(Notation::Html)
        ),
        Block::Figure(figure) => format!(
            "<figure>\n{}\n<figcaption>{}</figcaption>\n</figure>\n",
            scalable(&figure.svg),
            escape(&figure.caption)
        ),
    }
}

/// The figure at its size, or smaller where the page is: its `viewBox` gives the proportions. The
/// drawing library writes the width first.
fn scalable(svg: &str) -> String {
    let width = svg.split('"').nth(1).unwrap_or_default();
    match svg.find("viewBox=") {
        Some(rest) => {
            format!(
                "<svg role=\"img\" style=\"max-width:{width}px\" {}",
                &svg[rest..]
            )
        }
        None => svg.to_string(),
    }
}

fn anchor(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_page_in_two_notations() {
        let mut grid = Grid::new(["optimizer", "score"]);
        grid.rows.push(vec!["soap".to_string(), "1".to_string()]);
        let blocks = [
            Block::Heading(2, "Who is < fast".to_string()),
            Block::List(vec!["one".to_string(), "two".to_string()]),
            Block::Folded("More".to_string(), grid),
            Block::Figure(Figure {
                name: "curves".to_string(),
                svg: "<svg width=\"9\" height=\"9\" viewBox=\"0 0 9 9\" xmlns=\"http://www.w3.org/2000/svg\">\n</svg>".to_string(),
                caption: "Curves".to_string(),
            }),
        ];
        let text = markdown(&blocks);
        assert!(
            text.starts_with("## Who is < fast\n\n- one\n- two\n\nMore:\n\n| "),
            "{text}"
        );
        assert!(text.contains("![Curves](curves.svg)"));
        let page = html("T", &blocks);
        assert!(page.contains("<h2 id=\"who-is---fast\">Who is &lt; fast</h2>"));
        assert!(
            page.contains("<svg role=\"img\" style=\"max-width:9px\" viewBox=\"0 0 9 9\" xmlns")
        );
        for outside in ["src=", "href=", "@import", "url(", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
