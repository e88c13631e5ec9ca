//! Owns: laying a table out in columns of equal display width, East Asian characters counting two.
//! Invariant: padding never grows the text beyond a small multiple of the cells.

use pulldown_cmark::Alignment;
use unicode_segmentation::UnicodeSegmentation;

/// The widest column that others are padded to; a longer cell pushes its row out of line.
const COLUMN_WIDTH_MAX: usize = 40;
/// Padding allowed beyond twice the cells' own length, bytes; past it cells are only separated.
const PADDING_BYTES_SPARE: usize = 4096;
const SEPARATOR: &str = " | ";

/// A table while its cells come in.
#[derive(Debug, Default)]
pub(super) struct Table {
    aligns: Vec<Alignment>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(aligns: Vec<Alignment>) -> Self {
        Self { aligns, rows: Vec::new() }
    }

    /// Begins a row.
    pub(super) fn row(&mut self) {
        self.rows.push(Vec::new());
    }

    /// Begins a cell.
    pub(super) fn cell(&mut self) {
        if let Some(row) = self.rows.last_mut() {
            row.push(String::new());
        }
    }

    /// Appends to the cell; line ends become blanks.
    pub(super) fn text(&mut self, text: &str) {
        if let Some(cell) = self.rows.last_mut().and_then(|row| row.last_mut()) {
            cell.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
        }
    }

    /// The finished text, without a line end after the last row.
    pub(super) fn layout(mut self) -> String {
        for row in &mut self.rows {
            // The parser fills short rows up; empty cells at the end need no columns.
            while row.last().is_some_and(|cell| cell.trim().is_empty()) {
                row.pop();
            }
            for cell in row {
                let trimmed = cell.trim();
                if trimmed.len() != cell.len() {
                    *cell = trimmed.to_owned();
                }
            }
        }
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![0; columns];
        for row in &self.rows {
            for (cell, widest) in row.iter().zip(&mut widths) {
                *widest = width(cell).min(COLUMN_WIDTH_MAX).max(*widest);
            }
        }
        let own: usize = self.rows.iter().flatten().map(|cell| cell.len() + SEPARATOR.len()).sum();
        let padded: usize =
            self.rows.iter().map(|row| widths.iter().take(row.len()).sum::<usize>()).sum();
        let pad = padded <= own * 2 + PADDING_BYTES_SPARE;
        let mut out = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            if index != 0 {
                out.push('\n');
            }
            self.line(row, pad.then_some(widths.as_slice()), &mut out);
            if index == 0 && pad {
                rule(&widths, &mut out);
            }
        }
        out
    }

    fn line(&self, row: &[String], widths: Option<&[usize]>, out: &mut String) {
        let last = row.len().saturating_sub(1);
        for (column, cell) in row.iter().enumerate() {
            if column != 0 {
                out.push_str(SEPARATOR);
            }
            let wide = widths.and_then(|widths| widths.get(column)).copied().unwrap_or(0);
            let missing = wide.saturating_sub(width(cell));
            let before = match self.aligns.get(column) {
                Some(Alignment::Right) => missing,
                Some(Alignment::Center) => missing / 2,
                _ => 0,
            };
            blanks(before, out);
            out.push_str(cell);
            if column != last {
                blanks(missing - before, out);
            }
        }
    }
}

/// The line under the head.
fn rule(widths: &[usize], out: &mut String) {
    out.push('\n');
    for (column, wide) in widths.iter().enumerate() {
        if column != 0 {
            out.push_str("-+-");
        }
        out.extend(std::iter::repeat_n('-', *wide));
    }
}

fn blanks(count: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', count));
}

/// Columns that a text takes in a monospaced font.
pub(super) fn width(text: &str) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    text.graphemes(true)
        .map(|grapheme| {
            // An emoji made of several, or asked for by the selector, is drawn as one wide sign.
            let emoji = grapheme.contains('\u{fe0f}') || grapheme.contains('\u{200d}');
            let widest = grapheme.chars().map(char_width).max().unwrap_or(0);
            if emoji && widest != 0 { 2 } else { widest }
        })
        .sum()
}

fn char_width(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}'
        | '\u{483}'..='\u{489}'
        | '\u{591}'..='\u{5bd}'
        | '\u{610}'..='\u{61a}'
        | '\u{64b}'..='\u{65f}'
        | '\u{e31}'
        | '\u{e34}'..='\u{e3a}'
        | '\u{e47}'..='\u{e4e}'
        | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2060}'..='\u{206f}'
        | '\u{20d0}'..='\u{20ff}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{e0000}'..='\u{e0fff}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{231a}'
        | '\u{231b}'
        | '\u{23e9}'..='\u{23ec}'
        | '\u{23f0}'
        | '\u{23f3}'
        | '\u{25fd}'
        | '\u{25fe}'
        | '\u{2614}'
        | '\u{2615}'
        | '\u{2648}'..='\u{2653}'
        | '\u{267f}'
        | '\u{2693}'
        | '\u{26a1}'
        | '\u{26aa}'
        | '\u{26ab}'
        | '\u{26bd}'
        | '\u{26be}'
        | '\u{26c4}'
        | '\u{26c5}'
        | '\u{26ce}'
        | '\u{26d4}'
        | '\u{26ea}'
        | '\u{26f2}'
        | '\u{26f3}'
        | '\u{26f5}'
        | '\u{26fa}'
        | '\u{26fd}'
        | '\u{2705}'
        | '\u{270a}'
        | '\u{270b}'
        | '\u{2728}'
        | '\u{274c}'
        | '\u{274e}'
        | '\u{2753}'..='\u{2755}'
        | '\u{2757}'
        | '\u{2795}'..='\u{2797}'
        | '\u{27b0}'
        | '\u{27bf}'
        | '\u{2b1b}'
        | '\u{2b1c}'
        | '\u{2b50}'
        | '\u{2b55}'
        | '\u{2e80}'..='\u{303e}'
        | '\u{3041}'..='\u{a4cf}'
        | '\u{a960}'..='\u{a97f}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f004}'
        | '\u{1f0cf}'
        | '\u{1f18e}'
        | '\u{1f191}'..='\u{1f19a}'
        | '\u{1f1e6}'..='\u{1f320}'
        | '\u{1f32d}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1f6ff}'
        | '\u{1f7e0}'..='\u{1f7eb}'
        | '\u{1f900}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}
