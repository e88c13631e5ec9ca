//! `cargo run --release --example render_bench [FOLDER]`: how fast Markdown becomes parts, over every
//! README below the folder (by default cargo's registry), as one line of JSON.
#![allow(clippy::disallowed_methods, reason = "a measurement needs a clock and its arguments")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;
use svs_bot::engine::render;

/// Every file is rendered so often; the best run counts, because others use this machine too.
const RUNS: u32 = 5;
/// Folders below the given one.
const DEPTH_MAX: u32 = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = match std::env::args().nth(1) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(
            std::env::var("CARGO_HOME")
                .or_else(|_| std::env::var("HOME").map(|home| home + "/.cargo"))?,
        )
        .join("registry/src"),
    };
    let mut texts = Vec::new();
    collect(&folder, DEPTH_MAX, &mut texts);
    let bytes: usize = texts.iter().map(String::len).sum();
    let (mut best_s, mut parts) = (f64::MAX, 0);
    for _ in 0..RUNS {
        let begun = Instant::now();
        parts = texts.iter().map(|text| render::render(text, None).len()).sum();
        best_s = best_s.min(begun.elapsed().as_secs_f64());
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (megabytes, files) = (bytes as f64 / 1e6, texts.len());
    writeln!(
        std::io::stdout(),
        "{{\"files\":{files},\"megabytes\":{megabytes:.3},\"parts\":{parts},\"megabytes_a_second\":{:.2}}}",
        megabytes / best_s
    )?;
    Ok(())
}

fn collect(folder: &Path, depth: u32, texts: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, texts);
        } else if path.file_name().is_some_and(|name| name == "README.md") {
            texts.extend(std::fs::read_to_string(&path));
        }
    }
}
