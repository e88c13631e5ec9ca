//! Owns: what this box holds, as it is written down for its next process.
//! May not: know whether that still is so.

use super::PARTITIONS;
use std::collections::BTreeMap;

/// What this box holds, as it is written down: the name of Redis' data, and fences by partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Empty before Redis first answered.
    pub name: String,
    /// Fences by partition.
    pub fences: BTreeMap<usize, i64>,
}

impl Held {
    /// As one line.
    pub fn to_text(&self) -> String {
        let fences: Vec<_> =
            self.fences.iter().map(|(part, fence)| format!("{part}:{fence}")).collect();
        format!("{}\t{}", self.name, fences.join(","))
    }

    /// Reads [`Held::to_text`]; what is none holds nothing.
    pub fn read(text: &str) -> Self {
        let (name, fences) = text.split_once('\t').unwrap_or_default();
        let fences = fences.split(',').filter_map(|pair| {
            let (part, fence) = pair.split_once(':')?;
            Some((part.parse().ok().filter(|part| *part < PARTITIONS)?, fence.parse().ok()?))
        });
        Self { name: name.to_owned(), fences: fences.collect() }
    }
}
