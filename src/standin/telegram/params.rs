//! Owns: parameters of a call from query, form, JSON or multipart, flattened to text as the
//! Bot API server does (api-reference A1).
//! May not: judge them.

use super::{Data, Refusal, data, http};
use std::collections::BTreeMap;

/// An uploaded file.
#[derive(Clone, Debug, Default)]
pub(super) struct Upload {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) bytes: Vec<u8>,
}

/// Everything a call carries.
#[derive(Clone, Debug, Default)]
pub(super) struct Params {
    pub(super) fields: BTreeMap<String, String>,
    pub(super) files: BTreeMap<String, Upload>,
}

impl Params {
    pub(super) fn read(request: &http::Request) -> Result<Self, Refusal> {
        let mut params = Self::default();
        params.fields.extend(request.query.iter().cloned());
        let kind = request.header("content-type").unwrap_or_default().to_owned();
        let coded = request.header("content-encoding").unwrap_or("identity");
        if coded != "identity" {
            return Err(Refusal::new(415, "Unsupported Media Type: unknown encoding"));
        }
        if kind.starts_with("application/json") && !request.body.is_empty() {
            let body = Data::parse(&request.body)
                .map_err(|why| Refusal::bad(&format!("can't parse JSON: {why}")))?;
            let members = body.map().ok_or_else(|| Refusal::bad("object expected in JSON"))?;
            for (key, value) in members {
                // `null` becomes the text "null", as on the real server.
                let text = value.text().map_or_else(|| value.render(), str::to_owned);
                params.fields.insert(key.clone(), text);
            }
        } else if kind.starts_with("application/x-www-form-urlencoded") {
            let body = String::from_utf8_lossy(&request.body);
            params.fields.extend(http::form_pairs(&body));
        } else if let Some((_, boundary)) = kind.split_once("boundary=") {
            params.read_multipart(boundary.trim_matches('"'), &request.body)?;
        }
        Ok(params)
    }

    fn read_multipart(&mut self, boundary: &str, body: &[u8]) -> Result<(), Refusal> {
        let bad = || Refusal::bad("can't parse multipart form data");
        let mark = format!("--{boundary}");
        let mut rest = body.get(find(body, mark.as_bytes()).ok_or_else(bad)?..).unwrap_or_default();
        while let Some(part) = rest.strip_prefix(mark.as_bytes()) {
            if part.starts_with(b"--") {
                return Ok(());
            }
            let part = part.strip_prefix(b"\r\n").ok_or_else(bad)?;
            let end = find(part, format!("\r\n{mark}").as_bytes()).ok_or_else(bad)?;
            let (whole, next) = part.split_at_checked(end).ok_or_else(bad)?;
            rest = next.get(2..).unwrap_or_default();
            let head_end = find(whole, b"\r\n\r\n").ok_or_else(bad)?;
            let head = String::from_utf8_lossy(whole.get(..head_end).unwrap_or_default());
            let bytes = whole.get(head_end + 4..).unwrap_or_default();
            let name = attribute(&head, "name").ok_or_else(bad)?;
            if let Some(file) = attribute(&head, "filename") {
                let kind = head.lines().find_map(|line| line.strip_prefix("Content-Type: "));
                let kind = kind.unwrap_or("application/octet-stream").to_owned();
                self.files.insert(name, Upload { name: file, kind, bytes: bytes.to_vec() });
            } else {
                self.fields.insert(name, String::from_utf8_lossy(bytes).into_owned());
            }
        }
        Err(bad())
    }

    /// The text of a parameter, empty when it is absent, as in the real server.
    pub(super) fn get(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
    /// A whole number, clamped; garbage reads as absent.
    pub(super) fn int(&self, name: &str, default: i64, least: i64, most: i64) -> i64 {
        self.get(name).trim().parse().unwrap_or(default).clamp(least, most)
    }
    /// `true`, `yes`, `1` in any case.
    pub(super) fn is_true(&self, name: &str) -> bool {
        matches!(self.get(name).to_ascii_lowercase().as_str(), "true" | "yes" | "1")
    }
    /// A parameter that holds JSON; null when it is absent or unreadable.
    pub(super) fn json(&self, name: &str) -> Data {
        Data::parse(self.get(name).as_bytes()).unwrap_or_default()
    }
    pub(super) fn chat_id(&self) -> Option<i64> {
        self.get("chat_id").parse().ok()
    }
    /// Bytes of all parameters that are no files.
    pub(super) fn bytes(&self) -> usize {
        self.fields.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
    /// For the journal: texts as they came, files by size.
    pub(super) fn data(&self) -> Data {
        let mut all = data::map([]);
        for (key, value) in &self.fields {
            all.set(key, value.as_str());
        }
        for (key, file) in &self.files {
            all.set(key, format!("file of {} bytes", file.bytes.len()));
        }
        all
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn attribute(head: &str, name: &str) -> Option<String> {
    let start = format!("; {name}=\"");
    let (_, rest) = head.split_once(&start)?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}
