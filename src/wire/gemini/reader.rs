//! Owns: an answer read while it comes in: server-sent events, one object or a list (api-reference B3).
//! May not: hold more than one event and the visible text, both bounded.

use super::error;
use crate::json::{self, JsonError, Ref, Value};
use crate::types::model::{Finish, ModelFailure, Reply, Usage};
use std::ops::ControlFlow;

/// Bytes of one event or document that are held.
const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of visible text; an answer that never ends is cut here.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// What `usageMetadata` is read for.
const TOKENS: [&str; 3] = ["promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"];

/// What kind of body it is, known from its first character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// Nothing but blanks so far.
    Unknown,
    /// Server-sent events, and what comes between them.
    Events,
    /// One object or a list of them: kept whole until its end.
    Document,
}

/// Fed with the body of a 2xx in chunks of any size.
#[derive(Debug)]
pub struct Reader {
    model: String,
    body: Body,
    /// The line being read, as far as it has come.
    line: Vec<u8>,
    /// The `data:` lines of the event being read, joined; or a document.
    event: Vec<u8>,
    /// `event` is JSON that came without `data:`.
    event_is_bare: bool,
    text: String,
    finish: Option<String>,
    block: Option<String>,
    usage: Usage,
    failure: Option<ModelFailure>,
    too_long: bool,
    stopped: bool,
    /// No more bytes will come.
    at_end: bool,
}

impl Reader {
    /// For an answer of this model.
    pub fn new(model: &str) -> Self {
        Self {
            model: model.to_owned(),
            body: Body::Unknown,
            line: Vec::new(),
            event: Vec::new(),
            event_is_bare: false,
            text: String::new(),
            finish: None,
            block: None,
            usage: Usage::default(),
            failure: None,
            too_long: false,
            stopped: false,
            at_end: false,
        }
    }

    /// The visible text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Nothing more is wanted: the text so far is the answer, unless it is complete.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Whether all is there even if the connection breaks now: the reason of the end has come.
    pub fn is_complete(&self) -> bool {
        self.failure.is_none() && (self.too_long || self.finish.is_some() || self.block.is_some())
    }

    /// Takes the next bytes; breaks when no more are wanted.
    pub fn feed(&mut self, chunk: &[u8]) -> ControlFlow<()> {
        if self.failure.is_some() || self.too_long {
            return ControlFlow::Break(());
        }
        if self.body == Body::Unknown {
            self.body = match chunk.iter().find(|byte| !byte.is_ascii_whitespace()) {
                None => Body::Unknown,
                Some(b'{' | b'[') => Body::Document,
                Some(_) => Body::Events,
            };
        }
        if self.body == Body::Document {
            self.event.extend_from_slice(chunk);
            return self.within_bounds();
        }
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                // Most lines come whole: they are read where they stand.
                Some(whole) if self.line.is_empty() => self.end_line(whole),
                Some(rest) => {
                    let mut line = std::mem::take(&mut self.line);
                    line.extend_from_slice(rest);
                    self.end_line(&line);
                    line.clear();
                    self.line = line;
                }
                None => self.line.extend_from_slice(piece),
            }
            self.within_bounds()?;
        }
        ControlFlow::Continue(())
    }

    fn within_bounds(&mut self) -> ControlFlow<()> {
        if self.line.len() + self.event.len() > EVENT_BYTES_MAX {
            self.fail(broken("an event of more than 1 MiB"));
        }
        if self.failure.is_some() || self.too_long {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// The answer, or why there is none.
    ///
    /// # Errors
    /// Blocked, empty, truncated, or an error in the middle.
    pub fn finish(mut self) -> Result<Reply, ModelFailure> {
        if self.failure.is_none() && !self.too_long && !self.stopped {
            self.at_end = true;
            let line = std::mem::take(&mut self.line);
            self.end_line(&line);
            self.end_event();
        }
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let usage = self.usage;
        if self.text.trim().is_empty() {
            return Err(match (self.block, self.finish.as_deref()) {
                (Some(reason), _) => ModelFailure::Safety { reason, usage },
                (None, Some(reason)) if is_refusal(reason) => {
                    ModelFailure::Safety { reason: reason.to_owned(), usage }
                }
                (None, Some(_)) => ModelFailure::Empty { usage },
                (None, None) => truncated(),
            });
        }
        let finish = match (self.finish.as_deref(), self.block) {
            _ if self.too_long => Finish::TooLong,
            (Some("STOP"), _) => Finish::Stop,
            (None, None) if self.stopped => Finish::Stopped,
            (Some("MAX_TOKENS"), _) => Finish::MaxTokens,
            (Some(reason), _) => Finish::Blocked(reason.to_owned()),
            (None, Some(reason)) => Finish::Blocked(reason),
            // End of body without a reason: the rest is missing (api-reference B3).
            (None, None) => return Err(truncated()),
        };
        Ok(Reply { text: self.text, finish, usage, model: self.model })
    }

    fn fail(&mut self, failure: ModelFailure) {
        self.failure.get_or_insert(failure);
    }

    fn end_line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(data) = line.strip_prefix(b"data:") {
            if self.event_is_bare {
                self.end_event();
            }
            if !self.event.is_empty() {
                self.event.push(b'\n');
            }
            self.event.extend_from_slice(data);
        } else if line.iter().all(u8::is_ascii_whitespace) {
            self.end_event();
        } else if self.event_is_bare || !is_field(line) {
            // An error in the middle that is no event, perhaps over several lines (api-reference B3).
            if !self.event_is_bare {
                self.end_event();
                self.event_is_bare = true;
            }
            self.event.extend_from_slice(line);
        }
    }

    fn end_event(&mut self) {
        self.event_is_bare = false;
        let mut event = std::mem::take(&mut self.event);
        match event.trim_ascii() {
            // Some doors in between end a stream as other vendors do.
            b"" | b"[DONE]" => {}
            text => match self.read(text) {
                Ok(()) => {}
                // Half an event at the end of a whole answer is missed by nobody.
                Err(_) if self.at_end && self.is_complete() => {}
                Err(_) if self.at_end => self.fail(truncated()),
                Err(error) => self.fail(broken(&format!("an event cannot be read: {error}"))),
            },
        }
        event.clear();
        self.event = event;
    }

    /// An event of the usual kind costs only what is wanted of it; any other is parsed whole.
    fn read(&mut self, text: &[u8]) -> Result<(), JsonError> {
        let wanted = ["error", "promptFeedback", "usageMetadata", "candidates"];
        if let Some([None, None, usage, candidates]) = json::pick(text, wanted) {
            let candidates = candidates.map(json::parse_small).transpose()?;
            if let Some([input, output, thoughts]) =
                usage.and_then(|usage| json::pick(usage, TOKENS))
            {
                let tokens = |bytes: Option<&[u8]>| {
                    let count = bytes.and_then(json::picked_i64).unwrap_or(0).max(0);
                    u32::try_from(count).unwrap_or(u32::MAX)
                };
                self.count(tokens(input), tokens(output), tokens(thoughts));
            }
            if let Some(candidate) = candidates.as_ref().and_then(|list| list.root().list().next())
            {
                self.candidate(candidate);
            }
            return Ok(());
        }
        json::parse_small(text).map(|value| self.value(&value))
    }

    fn value(&mut self, value: &Value) {
        let root = value.root();
        let mut listed = false;
        for item in root.list() {
            listed = true;
            self.response(item);
        }
        if !listed {
            self.response(root);
        }
    }

    fn response(&mut self, of: Ref<'_>) {
        if !of.at("error").is_null() {
            let code = of.at("error").at("code").u32().and_then(|code| u16::try_from(code).ok());
            self.fail(error::classify(code.unwrap_or(500), of.to_text().as_bytes(), None));
            return;
        }
        if let Some(reason) = of.at("promptFeedback").at("blockReason").str() {
            self.block = Some(reason.to_owned());
        }
        let usage = of.at("usageMetadata");
        if !usage.is_null() {
            let [input, output, thoughts] = TOKENS.map(|name| usage.at(name).u32().unwrap_or(0));
            self.count(input, output, thoughts);
        }
        if let Some(candidate) = of.at("candidates").list().next() {
            self.candidate(candidate);
        }
    }

    fn candidate(&mut self, candidate: Ref<'_>) {
        for part in candidate.at("content").at("parts").list() {
            if part.at("thought").bool() != Some(true) {
                self.append(part.at("text").str().unwrap_or_default());
            }
        }
        if let Some(reason) = candidate.at("finishReason").str() {
            self.finish = Some(reason.to_owned());
        }
    }

    fn append(&mut self, text: &str) {
        if text.contains('\0') {
            // PostgreSQL cannot hold it, and nobody misses it.
            return self.append(&text.replace('\0', ""));
        }
        let room = TEXT_BYTES_MAX.saturating_sub(self.text.len());
        if text.len() <= room {
            self.text.push_str(text);
            return;
        }
        let fits =
            text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= room);
        self.text.push_str(text.get(..fits.last().unwrap_or(0)).unwrap_or_default());
        self.too_long = true;
    }

    /// Cumulative where it stands on every event: the last one counts (api-reference B3).
    fn count(&mut self, input: u32, output: u32, thoughts: u32) {
        self.usage = Usage { input, output: output.saturating_add(thoughts) };
    }
}

/// `event:`, `id:`, `retry:` and comments carry nothing here.
fn is_field(line: &[u8]) -> bool {
    [&b":"[..], b"event:", b"id:", b"retry:"].iter().any(|field| line.starts_with(field))
}

/// Ends without text that say nothing against the words: another try may do. Reasons to come are taken
/// for refusals, whose name the person is told.
fn is_refusal(reason: &str) -> bool {
    let failed = matches!(
        reason,
        "STOP" | "MAX_TOKENS" | "OTHER" | "IMAGE_OTHER" | "NO_IMAGE" | "FINISH_REASON_UNSPECIFIED"
    );
    !failed && !["FUNCTION_CALL", "TOOL_CALL", "MALFORMED"].iter().any(|word| reason.contains(word))
}

fn truncated() -> ModelFailure {
    broken("the answer broke off")
}

fn broken(why: &str) -> ModelFailure {
    ModelFailure::Network { sent: true, why: format!("gemini: {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, chunk: usize) -> Result<Reply, ModelFailure> {
        let mut reader = Reader::new("m");
        for piece in body.as_bytes().chunks(chunk.max(1)) {
            if reader.feed(piece).is_break() {
                break;
            }
        }
        reader.finish()
    }

    fn check(body: &str, want: &str) {
        for chunk in [1, 2, 3, 7, body.len()] {
            let got = match read(body, chunk) {
                Ok(reply) => format!(
                    "{} {:?} {}+{}",
                    reply.text, reply.finish, reply.usage.input, reply.usage.output
                ),
                Err(failure) => format!("{failure:?}"),
            };
            assert!(got.starts_with(want), "chunks of {chunk}: {got}");
        }
    }

    const HALF: &str = r#"{"candidates":[{"content":{"parts":[{"text":"plan","thought":true},{"text":"你好"}]}}],"usageMetadata":{"promptTokenCount":3}}"#;
    const REST: &str = r#"{"candidates":[{"content":{"parts":[{"text":" 😀"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4,"thoughtsTokenCount":5}}"#;

    #[test]
    fn events_objects_and_lists_give_the_same_answer() {
        check(&format!("data: {HALF}\r\n\r\ndata: {REST}\r\n\r\n"), "你好 😀 Stop 3+9");
        check(&format!(": hi\nevent: x\ndata:{HALF}\n\ndata: {REST}"), "你好 😀 Stop 3+9");
        check(&format!("[{HALF}\n,\n{REST}]"), "你好 😀 Stop 3+9");
        check(REST, " 😀 Stop 3+9");
        check(&format!("\r\n data: {HALF}\n"), "Network");
        check(
            &format!("\r\n\r\ndata: {HALF}\n\ndata: {REST}\n\ndata: [DONE]\n\n"),
            "你好 😀 Stop 3+9",
        );
        let multi = REST.replacen(',', ",\ndata: ", 1);
        check(&format!("data: {HALF}\n\ndata: {multi}\n\n"), "你好 😀 Stop 3+9");
    }

    #[test]
    fn an_answer_without_a_reason_at_its_end_is_truncated() {
        check(
            &format!("data: {HALF}\n\n"),
            r#"Network { sent: true, why: "gemini: the answer broke off""#,
        );
        check("", r#"Network { sent: true, why: "gemini: the answer broke off""#);
        check("data: {\"cand", r#"Network { sent: true, why: "gemini: the answer broke off""#);
        check(
            "data: {\"cand\n\ndata: ",
            r#"Network { sent: true, why: "gemini: an event cannot be"#,
        );
        check(
            "<html>log in</html>\n\n<p>",
            r#"Network { sent: true, why: "gemini: an event cannot be"#,
        );
        check(&format!("data: {REST}\n\ndata: {{\"cand"), " 😀 Stop 3+9");
    }

    #[test]
    fn blocked_and_empty_answers_are_told_apart() {
        check(r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#, r#"Safety { reason: "SAFETY""#);
        check(
            r#"{"candidates":[{"finishReason":"PROHIBITED_CONTENT"}]}"#,
            r#"Safety { reason: "PROHIBITED_CONTENT""#,
        );
        check(r#"{"candidates":[{"finishReason":"STOP","content":{}}]}"#, "Empty");
        check(r#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}]}"#, "Empty");
        check(r#"{"candidates":[{"finishReason":"REASON_TO_COME"}]}"#, "Safety");
        check(
            r#"{"candidates":[{"content":{"parts":[{"text":"so","thought":true}]},"finishReason":"STOP"}]}"#,
            "Empty",
        );
        check(
            &format!("data: {HALF}\n\ndata: {{\"promptFeedback\":{{\"blockReason\":\"OTHER\"}}}}"),
            r#"你好 Blocked("OTHER")"#,
        );
        check(
            r#"{"candidates":[{"finishReason":"MAX_TOKENS"}],"usageMetadata":{"thoughtsTokenCount":7}}"#,
            "Empty { usage: Usage { input: 0, output: 7 } }",
        );
        check(
            r#"{"candidates":[{"content":{"parts":[{"text":"half"}]},"finishReason":"SAFETY"}]}"#,
            r#"half Blocked("SAFETY")"#,
        );
        check(
            r#"{"candidates":[{"content":{"parts":[{"text":"half"}]},"finishReason":"MAX_TOKENS"}]}"#,
            "half MaxTokens",
        );
    }

    #[test]
    fn an_error_in_the_middle_is_the_error() {
        let error =
            r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#;
        check(&format!("data: {HALF}\n\n{error}\n\n"), "Overloaded");
        check(&format!("data: {HALF}\n\n{error}"), "Overloaded");
        check(&format!("data: {error}\n\n"), "Overloaded");
        check(&format!("data: {HALF}\n{error}\n"), "Overloaded");
        let lines = error.replace('{', "{\r\n  ").replace(',', ",\r\n  ");
        check(&format!("data: {HALF}\r\n\r\n{lines}\r\n"), "Overloaded");
        check(&format!("[{HALF},\n{error}]"), "Overloaded");
        check(&format!("[{error}]"), "Overloaded");
    }

    #[test]
    fn what_never_ends_is_cut_and_what_is_too_large_is_refused() {
        let event = format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{}\"}}]}}}}]}}\n\n",
            "好".repeat(5_000)
        );
        let mut reader = Reader::new("m");
        let mut events = 0;
        while reader.feed(event.as_bytes()).is_continue() {
            events += 1;
            assert!(events < 10);
        }
        let reply = reader.finish().unwrap();
        assert_eq!(reply.finish, Finish::TooLong);
        assert!(reply.text.len() <= TEXT_BYTES_MAX);
        let mut flood = Reader::new("m");
        let chunk = [b'x'; 8_192];
        while flood.feed(&chunk).is_continue() {}
        assert!(matches!(flood.finish(), Err(ModelFailure::Network { sent: true, .. })));
    }

    #[test]
    fn an_answer_is_complete_once_the_reason_of_its_end_has_come() {
        let mut reader = Reader::new("m");
        assert!(reader.feed(format!("data: {HALF}\n\n").as_bytes()).is_continue());
        assert!(!reader.is_complete());
        assert_eq!(reader.text(), "你好");
        assert!(reader.feed(format!("data: {REST}\n\n").as_bytes()).is_continue());
        assert!(reader.is_complete());
    }

    #[test]
    fn broken_streams_never_panic() {
        let mut dice = json::tests::Dice::new(11);
        let body = format!("data: {HALF}\r\n\r\n: x\ndata: {REST}\n\n{{\"error\":{{}}}}\n");
        for _ in 0..500 {
            let mut bytes = body.clone().into_bytes();
            for _ in 0..dice.below(4) {
                let at = dice.below(bytes.len());
                bytes[at] = b"\\\"\n\r{}d: \xff"[dice.below(10)];
            }
            let mut reader = Reader::new("m");
            for piece in bytes.chunks(1 + dice.below(40)) {
                if reader.feed(piece).is_break() {
                    break;
                }
            }
            let _ = reader.finish();
        }
    }
}
