//! Formats tables as text, with columns padded to their widest cell. If a table is too wide, long words are shortened and the less
//! important columns are omitted; a last line names these.

use std::fmt;

/// A column's title, its alignment, and its rank if the table is too wide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    is_right: bool,
    /// Higher ranks are omitted first; rank 0 never is.
    rank: u8,
}

impl Column {
    /// Returns a column of words, aligned left.
    pub const fn words(title: &'static str, rank: u8) -> Self {
        Self { title, is_right: false, rank }
    }
    /// Returns a column of numbers, aligned right.
    pub const fn numbers(title: &'static str, rank: u8) -> Self {
        Self { title, is_right: true, rank }
    }
}

/// Characters between two columns.
const GAP: usize = 2;
/// Words are shortened to `SHORT` characters before a column is omitted, and to `SHORTEST` once no more columns can be omitted.
const SHORT: usize = 24;
const SHORTEST: usize = 8;

/// Writes `rows` under the titles of `columns`, at most `width` characters wide if the columns allow it.
pub(crate) fn write<const N: usize>(
    f: &mut dyn fmt::Write,
    columns: &[Column; N],
    rows: &[[String; N]],
    width: usize,
) -> fmt::Result {
    let title_and_cells = |c: usize| rows.iter().map(move |r| r[c].as_str()).chain([columns[c].title]);
    let mut widths: [usize; N] =
        std::array::from_fn(|c| title_and_cells(c).map(|cell| cell.chars().count()).max().unwrap_or(0));
    let mut shown: Vec<usize> = (0..N).collect();
    let total = |shown: &[usize], widths: &[usize; N]| {
        shown.iter().map(|&c| widths[c]).sum::<usize>() + GAP * shown.len().saturating_sub(1)
    };
    let mut left_out = Vec::new();
    let short: [usize; N] = std::array::from_fn(|c| if columns[c].is_right { widths[c] } else { widths[c].min(SHORT) });
    while total(&shown, &short) > width {
        // Of equal ranks, the last one goes first.
        let Some(&last) = shown.iter().filter(|&&c| columns[c].rank > 0).max_by_key(|&&c| columns[c].rank) else {
            break;
        };
        shown.retain(|&c| c != last);
        left_out.push(columns[last].title);
    }
    while total(&shown, &widths) > width {
        let words = shown.iter().filter(|&&c| !columns[c].is_right && widths[c] > SHORTEST);
        let Some(&widest) = words.max_by_key(|&&c| widths[c]) else { break };
        widths[widest] -= 1;
    }
    let titles: [String; N] = std::array::from_fn(|c| columns[c].title.to_owned());
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for &c in &shown {
            let (cell, width) = (shortened(&row[c], widths[c]), widths[c]);
            if columns[c].is_right {
                line += &format!("{cell:>width$}");
            } else {
                line += &format!("{cell:<width$}");
            }
            line += &" ".repeat(GAP);
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    if !left_out.is_empty() {
        writeln!(f, "(omitted to fit the width: {})", left_out.join(", "))?;
    }
    Ok(())
}

/// Shortens `text` to at most `width` characters: keeps its beginning and end, with `…` for the omitted middle.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let begin = kept.div_ceil(2);
    let mut short: String = text.chars().take(begin).collect();
    if width > 0 {
        short.push('…');
    }
    short.extend(text.chars().skip(count - (kept - begin)));
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] =
        [Column::words("name", 0), Column::numbers("ms", 0), Column::numbers("share", 1), Column::words("why", 2)];

    fn table(width: usize) -> String {
        let row = |cells: [&str; 4]| cells.map(String::from);
        let rows = [row(["conv_transpose2d.forward", "1.25", "7 %", "texels"]), row(["relu", "10", "93 %", ""])];
        let mut text = String::new();
        write(&mut text, &COLUMNS, &rows, width).unwrap();
        text
    }

    #[test]
    fn a_table_that_is_too_wide_leaves_columns_out_and_says_so_then_shortens_words() {
        let whole = "name                        ms  share  why\n\
                     conv_transpose2d.forward  1.25    7 %  texels\n\
                     relu                        10   93 %\n";
        assert_eq!(table(usize::MAX), whole);
        assert_eq!(table(45), whole);
        let narrower = table(44);
        assert!(narrower.starts_with("name                        ms  share\n"), "{narrower}");
        assert!(narrower.ends_with("(omitted to fit the width: why)\n"), "{narrower}");
        assert_eq!(
            table(20),
            "name              ms\n\
             conv_tr…orward  1.25\n\
             relu              10\n\
             (omitted to fit the width: why, share)\n"
        );
        assert!(table(1).starts_with("name        ms\nconv…ard  1.25\n"), "{}", table(1));
    }
}
