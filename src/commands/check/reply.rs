//! Owns: the few fields of the services' replies that `check` looks at.
//! May not: keep a body; fail on anything that was sent.

use tinyjson::JsonValue;

/// A reply, read; every getter gives nothing where there is nothing.
pub(super) struct Fields(Option<JsonValue>);

impl Fields {
    pub(super) fn read(body: &[u8]) -> Self {
        Self(std::str::from_utf8(body).ok().and_then(|text| text.parse().ok()))
    }

    fn at(&self, path: &[&str]) -> Option<&JsonValue> {
        let mut value = self.0.as_ref()?;
        for name in path {
            value = value.get::<std::collections::HashMap<String, JsonValue>>()?.get(*name)?;
        }
        Some(value)
    }

    pub(super) fn text(&self, path: &[&str]) -> String {
        self.at(path).and_then(|value| value.get::<String>()).cloned().unwrap_or_default()
    }

    pub(super) fn is_true(&self, path: &[&str]) -> bool {
        self.at(path).and_then(|value| value.get::<bool>()).copied().unwrap_or(false)
    }

    #[expect(clippy::cast_possible_truncation, reason = "ids and dates fit 2^53")]
    pub(super) fn number(&self, path: &[&str]) -> i64 {
        self.at(path).and_then(|value| value.get::<f64>()).map_or(0, |number| *number as i64)
    }

    pub(super) fn texts(&self, path: &[&str]) -> Vec<String> {
        let list = self.at(path).and_then(|value| value.get::<Vec<JsonValue>>());
        let texts = list.into_iter().flatten().filter_map(|value| value.get::<String>().cloned());
        texts.collect()
    }

    /// Google's `details[].reason`, where there is one.
    pub(super) fn reason(&self) -> String {
        let details =
            self.at(&["error", "details"]).and_then(|value| value.get::<Vec<JsonValue>>());
        let reasons = details.into_iter().flatten().filter_map(|detail| {
            let object = detail.get::<std::collections::HashMap<String, JsonValue>>()?;
            object.get("reason")?.get::<String>().cloned()
        });
        reasons.into_iter().next().unwrap_or_default()
    }
}
