//! Curves in a terminal.

use osculate::optim::RangeCurve;
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Style};
use ratatui_core::symbols::Marker;
use ratatui_core::widgets::Widget;
use ratatui_widgets::chart::{Axis, Chart, Dataset, GraphType};

use super::figure::{Curve, Palette, range_of, scale};
use crate::analysis::{Cost, Results, WorkloadResults};

/// Rows of a chart.
const HEIGHT: u16 = 14;
/// Columns of the names at the ends of the curves.
const NAMES: usize = 12;
/// Columns with which there is room for two charts.
const WIDE: usize = 100;
/// Columns beyond which a chart becomes no wider.
const WIDEST: usize = 72;

/// The metric over steps, and over seconds where there is room, in so many columns. `None` where there is nothing
/// to draw.
pub fn chart(
    one: &WorkloadResults,
    results: &Results,
    columns: usize,
    coloured: bool,
) -> Option<String> {
    Some(drawn(one, results, columns, coloured)?.join("\n"))
}

fn drawn(
    one: &WorkloadResults,
    results: &Results,
    columns: usize,
    coloured: bool,
) -> Option<Vec<String>> {
    let palette = Palette::of(results);
    let costs: &[Cost] = if columns >= WIDE {
        &[Cost::Steps, Cost::Seconds]
    } else {
        &[Cost::Steps]
    };
    let width = (columns / costs.len()).min(WIDEST);
    let panels: Option<Vec<Vec<String>>> = costs
        .iter()
        .map(|cost| panel(one, &palette, *cost, width, coloured))
        .collect();
    let panels = panels?;
    let rows = panels.iter().map(Vec::len).max().unwrap_or(0);
    let row = |index: usize| {
        let parts = panels.iter().filter_map(|panel| panel.get(index));
        let line: String = parts.map(String::as_str).collect();
        line.trim_end().to_string()
    };
    Some((0..rows).map(row).collect())
}

/// Rows of so many columns, colour codes not counted.
fn panel(
    one: &WorkloadResults,
    palette: &Palette,
    cost: Cost,
    width: usize,
    coloured: bool,
) -> Option<Vec<String>> {
    let metric = &one.about.metric;
    let scale = scale(metric);
    let mut curves = Curve::all(one, palette, cost);
    let (low, high) = range_of(&curves, metric);
    let [bottom, top] = [low, high].map(|value| scale.place(value));
    let end = curves
        .iter()
        .flat_map(|curve| curve.points.last())
        .map(|point| point.0);
    let end = end.fold(0.0, f64::max);
    if !(bottom < top && end > 0.0) {
        return None;
    }
    for point in curves.iter_mut().flat_map(|curve| &mut curve.points) {
        point.1 = scale.place(point.1).clamp(bottom, top);
    }
    let unit = if metric.percent { 100.0 } else { 1.0 };
    let label = |place: f64| metric.show(scale.value(place) / unit);
    let steps = |part: f64| match cost {
        Cost::Seconds => format!("{:.1} s", part * end),
        _ => format!(
            "{:.0} {}",
            part * end,
            if part == 1.0 { cost.name() } else { "" }
        ),
    };
    let datasets = curves.iter().map(|curve| {
        Dataset::default()
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(colour(curve)))
            .data(&curve.points)
    });
    let buffer = rendered(
        datasets.collect(),
        Axis::default()
            .bounds([0.0, end])
            .labels([steps(0.0), steps(0.5), steps(1.0)]),
        Axis::default().bounds([bottom, top]).labels([
            label(bottom),
            label(0.5 * (bottom + top)),
            label(top),
        ]),
        width - NAMES,
    );
    let names = names(&curves, bottom, top);
    let rows = (0..HEIGHT).map(|y| {
        let mut text = painted(&buffer, y, coloured);
        let name = names.iter().find(|(row, _)| *row == usize::from(y));
        let (name, place) =
            name.map_or(("", 0), |(_, index)| (curves[*index].name.as_str(), *index));
        let name: String = name.chars().take(NAMES - 2).collect();
        let padding = " ".repeat(NAMES - 1 - name.chars().count());
        let name = match coloured && !name.is_empty() {
            true => in_colour(&name, colour(&curves[place])),
            false => name,
        };
        text.push(' ');
        text + &name + &padding
    });
    Some(rows.collect())
}

/// A chart of so many columns.
fn rendered<'a>(datasets: Vec<Dataset<'a>>, x: Axis<'a>, y: Axis<'a>, width: usize) -> Buffer {
    let area = Rect::new(0, 0, width as u16, HEIGHT);
    let mut buffer = Buffer::empty(area);
    let chart = Chart::new(datasets).legend_position(None);
    chart.x_axis(x).y_axis(y).render(area, &mut buffer);
    buffer
}

/// The averaged losses of a range test over the logarithm of the rate, with a dot at each of some rates, in so many
/// columns. `None` where there is nothing to draw.
pub fn range_chart(curve: &RangeCurve, marks: &[f64], columns: usize) -> Option<String> {
    let points = curve.points.iter();
    let points: Vec<(f64, f64)> = points
        .map(|point| (point.lr.log10(), point.average))
        .collect();
    let [left, right] = [points.first()?.0, points.last()?.0];
    let values = || points.iter().map(|point| point.1);
    let (bottom, top) = (
        values().fold(f64::INFINITY, f64::min),
        values().fold(f64::NEG_INFINITY, f64::max),
    );
    if !(left < right && bottom < top) {
        return None;
    }
    let marked = marks.iter().filter_map(|mark| {
        let mut all = curve.points.iter().zip(&points);
        all.find(|(point, _)| point.lr == *mark).map(|(_, at)| *at)
    });
    let marked: Vec<(f64, f64)> = marked.collect();
    let rate = |place: f64| format!("{:.1e}", 10_f64.powf(place));
    let loss = |value: f64| format!("{value:.3}");
    let buffer = rendered(
        vec![
            Dataset::default()
                .marker(Marker::Braille)
                .graph_type(GraphType::Line)
                .data(&points),
            Dataset::default()
                .marker(Marker::Dot)
                .graph_type(GraphType::Scatter)
                .data(&marked),
        ],
        Axis::default().bounds([left, right]).labels([
            rate(left),
            rate(0.5 * (left + right)),
            format!("{} rate", rate(right)),
        ]),
        Axis::default().bounds([bottom, top]).labels([
            loss(bottom),
            loss(0.5 * (bottom + top)),
            loss(top),
        ]),
        columns.min(WIDEST),
    );
    let rows = (0..HEIGHT).map(|y| painted(&buffer, y, false).trim_end().to_string());
    Some(rows.collect::<Vec<_>>().join("\n"))
}

/// The row of each curve's name, beside its end; names that would meet move apart.
fn names(curves: &[Curve], bottom: f64, top: f64) -> Vec<(usize, usize)> {
    // The two last rows are the axis and its labels.
    let rows = usize::from(HEIGHT) - 2;
    let mut ends: Vec<(f64, usize)> = curves
        .iter()
        .enumerate()
        .filter_map(|(index, curve)| Some((curve.points.last()?.1, index)))
        .collect();
    ends.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut placed: Vec<(usize, usize)> = Vec::new();
    for (number, (value, index)) in ends.iter().enumerate() {
        let wanted = ((top - value) / (top - bottom) * (rows - 1) as f64).round() as usize;
        let above = placed.last().map_or(0, |(row, _)| row + 1);
        // Room for those that come below.
        let below = rows.saturating_sub(ends.len() - number);
        placed.push((wanted.max(above).min(below.max(above)), *index));
    }
    placed
}

fn colour(curve: &Curve) -> Color {
    match curve.colour.terminal() {
        Some([r, g, b]) => Color::Rgb(r, g, b),
        None => Color::Reset,
    }
}

fn painted(buffer: &Buffer, y: u16, coloured: bool) -> String {
    let mut text = String::new();
    for x in 0..buffer.area.width {
        let cell = &buffer[(x, y)];
        if coloured && cell.fg != Color::Reset && cell.symbol() != " " {
            text += &in_colour(cell.symbol(), cell.fg);
        } else {
            text += cell.symbol();
        }
    }
    text
}

fn in_colour(text: &str, colour: Color) -> String {
    match colour {
        Color::Rgb(r, g, b) => format!("\u{1b}[38;5;{}m{text}\u{1b}[0m", cube([r, g, b])),
        _ => text.to_string(),
    }
}

/// The nearest of the 216 colours that every terminal with colours has.
fn cube(rgb: [u8; 3]) -> u16 {
    const LEVELS: [i32; 6] = [0, 95, 135, 175, 215, 255];
    let near = |value: u8| {
        let distance = |level: &(usize, &i32)| (level.1 - i32::from(value)).abs();
        LEVELS
            .iter()
            .enumerate()
            .min_by_key(distance)
            .map_or(0, |(index, _)| index as u16)
    };
    16 + 36 * near(rgb[0]) + 6 * near(rgb[1]) + near(rgb[2])
}

#[cfg(test)]
mod tests {
    use osculate::optim::RangePoint;

    use super::*;
    use crate::analysis::example::race;

    #[test]
    fn curves_are_named_at_their_ends_and_fit() {
        let results = race(3, &[("adamw", 0.9, 0.1), ("sam", 0.8, 0.2)]);
        for columns in [60, 80, 100, 140] {
            let rows = drawn(&results.workloads[0], &results, columns, false).unwrap();
            assert_eq!(rows.len(), usize::from(HEIGHT));
            let text = rows.join("\n");
            for row in &rows {
                assert!(row.chars().count() <= columns, "{columns}:\n{text}");
            }
            assert!(text.contains("adamw") && text.contains("sam"), "{text}");
            assert!(
                text.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)),
                "{text}"
            );
            assert!(!text.contains('\u{1b}'));
        }
        let coloured = drawn(&results.workloads[0], &results, 80, true)
            .unwrap()
            .join("\n");
        assert!(coloured.contains("\u{1b}[38;5;"), "{coloured}");
    }

    #[test]
    fn a_range_of_rates_is_drawn_with_its_marks() {
        let point = |k: i32| RangePoint {
            lr: 1e-4 * 1.3_f64.powi(k),
            loss: 0.0,
            average: 2.0 - (f64::from(k - 20) / 8.0).tanh() + f64::from((k - 30).max(0)),
        };
        let mut curve = RangeCurve {
            points: (0..34).map(point).collect(),
            diverged: true,
        };
        let marks = [curve.points[12].lr, curve.points[30].lr];
        for columns in [60, 80, 100] {
            let text = range_chart(&curve, &marks, columns).unwrap();
            assert_eq!(text.lines().count(), usize::from(HEIGHT));
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(columns), "{text}");
            assert_eq!(text.matches('•').count(), 2, "{text}");
            assert!(text.contains("1.0e-4") && text.contains("rate"), "{text}");
        }
        curve.points.truncate(1);
        assert_eq!(range_chart(&curve, &marks, 80), None);
    }

    #[test]
    fn names_that_would_meet_move_apart() {
        let curve = |end: f64| Curve {
            name: end.to_string(),
            points: vec![(1.0, end)],
            ..Curve::default()
        };
        let curves: Vec<Curve> = [0.0, 0.0, 0.01, 1.0].map(curve).to_vec();
        let found = names(&curves, 0.0, 1.0);
        assert_eq!(found, [(0, 3), (9, 2), (10, 0), (11, 1)]);
    }
}
