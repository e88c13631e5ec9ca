//! Owns: the words of a rich message that came in, as plain text (api-reference A5: it has no `text`).
//! May not: keep formatting.

use crate::json::Ref;

/// Members of a block or of a run of text that hold words, in reading order.
const RUNS: [&str; 7] =
    ["label", "summary", "text", "expression", "alternative_text", "caption", "credit"];
/// Members that hold blocks, items or rows of cells.
const LISTS: [&str; 3] = ["blocks", "items", "cells"];
/// Bytes that are read; Telegram allows 32,768 characters.
const BYTES_MAX: usize = 32 * 1024;

/// The words of a `RichMessage`, a line for each block; empty where there are none.
pub(super) fn words(of: Ref<'_>) -> String {
    let mut out = String::new();
    blocks(of, &mut out);
    out.truncate(out.trim_end().len());
    out
}

/// Nesting is bounded by the parser (`json::DEPTH_MAX`).
fn blocks(of: Ref<'_>, out: &mut String) {
    for name in LISTS {
        for block in of.at(name).list() {
            if out.len() > BYTES_MAX {
                return;
            }
            // A row of a table is a list of cells.
            for cell in block.list() {
                runs(cell, out);
                out.push(' ');
            }
            if block.is_object() {
                runs(block, out);
            }
            if !out.is_empty() && !out.ends_with('\n') {
                out.push('\n');
            }
            blocks(block, out);
        }
    }
}

fn runs(of: Ref<'_>, out: &mut String) {
    if let Some(text) = of.str() {
        if out.len() <= BYTES_MAX {
            out.extend(text.chars().filter(|c| *c != '\0'));
        }
        return;
    }
    if of.is_list() {
        of.list().for_each(|run| runs(run, out));
        return;
    }
    if of.is_object() {
        RUNS.into_iter().for_each(|name| runs(of.at(name), out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_a_line_of_words() {
        let message = br#"{"blocks":[
            {"type":"heading","text":"Title","size":1},
            {"type":"paragraph","text":["a ",{"type":"bold","text":{"type":"italic","text":"b"}}," c"]},
            {"type":"divider"},
            {"type":"list","items":[{"label":"1. ","blocks":[{"type":"paragraph","text":"one"}]},{"label":"- ","blocks":[]}]},
            {"type":"table","cells":[[{"text":"x"},{"text":"y"}],[{"text":"1"}]]},
            {"type":"details","summary":"more","blocks":[{"type":"math","expression":"E=mc^2"}]}]}"#;
        let value = crate::json::parse(message).unwrap();
        assert_eq!(words(value.root()), "Title\na b c\n1. \none\n- \nx y \n1 \nmore\nE=mc^2");
        assert_eq!(words(crate::json::parse(b"{}").unwrap().root()), "");
    }
}
