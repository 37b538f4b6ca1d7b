//! Text in columns.

use std::borrow::Cow;

use crate::plain;

/// Returns rows under headings, every column as wide as its widest cell; `right` columns, such
/// as sizes, are aligned to the right.
pub fn table(headings: &[&str], right: &[usize], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<Cow<'_, str>>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| plain::line(cell)).collect())
        .collect();
    let cell_width = |text: &str| text.chars().count();
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(column, heading)| {
            let widest = rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell_width(cell))
                .max();
            widest.unwrap_or(0).max(cell_width(heading))
        })
        .collect();
    let line = |cells: &[&str]| {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let padding = " ".repeat(widths[column].saturating_sub(cell_width(cell)));
            let (before, after) = if right.contains(&column) {
                (padding.as_str(), "")
            } else {
                ("", padding.as_str())
            };
            line.push_str(before);
            line.push_str(cell);
            line.push_str(after);
            line.push_str("  ");
        }
        line.trim_end().to_owned() + "\n"
    };
    let mut text = line(headings);
    for row in &rows {
        let cells: Vec<&str> = row
            .iter()
            .take(headings.len())
            .map(|cell| &**cell)
            .collect();
        text.push_str(&line(&cells));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["a".to_owned(), "5".to_owned()],
            vec!["länger".to_owned(), "1000".to_owned()],
        ];
        assert_eq!(
            table(&["NAME", "N"], &[1], &rows),
            "NAME       N\na          5\nlänger  1000\n"
        );
    }
}
