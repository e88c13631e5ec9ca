//! What the fuzzer kept is tried again on every run, and so are changes of it from fixed seeds.
//! `scripts/fuzz` searches further.

#[path = "fuzz/targets.rs"]
mod targets;

use nanorand::{Rng, WyRand};
use std::path::{Path, PathBuf};

/// Changed inputs for each target: some seconds in a debug build.
const CHANGES: u64 = 4_000;
/// Targets that the golden inputs of a folder serve as well.
const GOLDEN: &[(&str, &str)] = &[
    ("update", "telegram-updates"),
    ("gemini_events", "gemini-answers"),
    ("gemini_error", "gemini-errors"),
];
/// Renders in eight ways each time, under a judge of its own.
const SLOW: &[&str] = &["render"];

#[test]
fn what_was_found_stays_found_out() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for (name, _) in targets::TARGETS {
        let mut files = files(&tests.join("fuzz/corpus").join(name), "");
        if let Some((_, golden)) = GOLDEN.iter().find(|(target, _)| target == name) {
            files.extend(self::files(&tests.join("golden").join(golden), ".in"));
        }
        assert!(files.len() >= 3, "{name}: a corpus of {} files", files.len());
        let kept: Vec<Vec<u8>> = files.iter().map(|path| std::fs::read(path).unwrap()).collect();
        for bytes in &kept {
            targets::run(name, bytes);
        }
        let changes = if SLOW.contains(name) { CHANGES / 8 } else { CHANGES };
        for seed in 0..changes {
            targets::run(name, &changed(&kept, &mut WyRand::new_seed(seed)));
        }
    }
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map_while(Result::ok).map(|it| it.path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    files
}

/// Some bytes replaced, left out, doubled, or another file's put in their place.
fn changed(kept: &[Vec<u8>], dice: &mut WyRand) -> Vec<u8> {
    let mut bytes = kept[dice.generate_range(0..kept.len())].clone();
    for _ in 0..dice.generate_range(1_usize..6) {
        let at = dice.generate_range(0..=bytes.len());
        let end = bytes.len().min(at + dice.generate_range(0_usize..16));
        match dice.generate_range(0_u8..4) {
            0 => bytes[at..end].iter_mut().for_each(|byte| *byte = dice.generate()),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.extend_from_within(at..end),
            _ => {
                let other = &kept[dice.generate_range(0..kept.len())];
                let from = dice.generate_range(0..=other.len());
                let upto = other.len().min(from + 32);
                bytes.splice(at..end, other[from..upto].iter().copied());
            }
        }
    }
    bytes
}
