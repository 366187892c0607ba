//! Columns of text.

use unicode_width::UnicodeWidthStr;

/// On which side of its column a cell is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Rows under each other, two spaces between columns, none at the ends of lines.
pub fn table<const N: usize>(columns: [Align; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let space = " ".repeat(widths[column] - cell.width());
            match columns[column] {
                Align::Left => format!("{cell}{space}"),
                Align::Right => format!("{space}{cell}"),
            }
        });
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "1", "x"], ["long", "22", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(table([Align::Left, Align::Right, Align::Left], &rows), "a      1  x\nlong  22\n");
    }

    /// A wide character takes two columns of a terminal, and what is put on top of the one before it takes none.
    #[test]
    fn columns_are_as_wide_as_a_terminal_shows_them() {
        let rows = [["日本", "1"], ["e\u{301}t\u{e9}", "2"], ["\u{200b}abcd", "3"]]
            .map(|row| row.map(str::to_owned));
        assert_eq!(
            table([Align::Left, Align::Left], &rows),
            "日本  1\ne\u{301}t\u{e9}   2\n\u{200b}abcd  3\n"
        );
        assert_eq!(table([Align::Right, Align::Left], &rows[..2]), "日本  1\n e\u{301}t\u{e9}  2\n");
    }
}
