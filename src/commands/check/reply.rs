//! Owns: the few fields of the services' replies that `check` looks at.
//! May not: keep a body; fail on anything that was sent.

use crate::json::{self, Ref, Value};

/// A reply, read; every getter gives nothing where there is nothing.
pub(super) struct Fields(Option<Value>);

impl Fields {
    pub(super) fn read(body: &[u8]) -> Self {
        Self(json::parse(body).ok())
    }

    fn at(&self, path: &[&str]) -> Option<Ref<'_>> {
        let root = self.0.as_ref()?.root();
        Some(path.iter().fold(root, |value, name| value.at(name)))
    }

    pub(super) fn text(&self, path: &[&str]) -> String {
        self.at(path).and_then(Ref::str).unwrap_or_default().to_owned()
    }

    pub(super) fn is_true(&self, path: &[&str]) -> bool {
        self.at(path).and_then(Ref::bool).unwrap_or(false)
    }

    pub(super) fn number(&self, path: &[&str]) -> i64 {
        self.at(path).and_then(Ref::i64).unwrap_or(0)
    }

    pub(super) fn texts(&self, path: &[&str]) -> Vec<String> {
        let items = self.at(path).into_iter().flat_map(Ref::list);
        items.filter_map(Ref::str).map(str::to_owned).collect()
    }

    /// Google's `details[].reason`, where there is one.
    pub(super) fn reason(&self) -> String {
        let details = self.at(&["error", "details"]).into_iter().flat_map(Ref::list);
        let reason = details.filter_map(|detail| detail.at("reason").str()).next();
        reason.unwrap_or_default().to_owned()
    }
}
