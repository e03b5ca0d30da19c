//! Columns that line up.

/// Rows of cells under headings. An empty table renders as nothing.
#[derive(Debug)]
pub(super) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<const COLUMNS: usize>(headings: [&'static str; COLUMNS]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row<const COLUMNS: usize>(&mut self, cells: [String; COLUMNS]) {
        self.rows.push(cells.into());
    }

    /// A blank line, the headings and the rows; columns are two spaces apart, and lines end without spaces.
    pub(super) fn render(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain(self.headings.get(column).map(|heading| heading.len())).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(widest).collect();
        let mut out = format!("\n{}", line(self.headings.iter().copied(), &widths));
        for row in &self.rows {
            out.push_str(&line(row.iter().map(String::as_str), &widths));
        }
        out
    }
}

fn line<'a>(cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
    let padded: String = cells.zip(widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect();
    format!("{}\n", padded.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["A", "LONG HEADING", "C"]);
        table.row(["gr\u{fc}n".into(), "1".into(), String::new()]);
        table.row(["x".into(), String::new(), "c".into()]);
        let expected = "\nA     LONG HEADING  C\ngr\u{fc}n  1\nx                   c\n";
        assert_eq!(table.render(), expected);
        assert_eq!(Table::new(["A"]).render(), "");
    }
}
