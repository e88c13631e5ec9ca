//! Owns: what is answered and how it looks as JSON and as a stream (api-reference B3).
//! May not: depend on anything but the request and the script.

use super::{Act, Data, map};

/// Characters of the question that the usual answer repeats.
const ECHO_CHARS_MAX: usize = 600;

/// An answer before it is whole or in pieces.
pub(super) struct Answer {
    model: String,
    thoughts: String,
    text: String,
    finish: String,
    block: String,
    raw: Option<Data>,
    prompt_tokens: u32,
}

impl Answer {
    pub(super) fn of(model: &str, body: &Data, act: &Act) -> Self {
        let mut answer = Self {
            model: model.to_owned(),
            thoughts: String::new(),
            text: String::new(),
            finish: "STOP".into(),
            block: String::new(),
            raw: None,
            prompt_tokens: prompt_tokens(body),
        };
        match act {
            Act::Say(text) => answer.text.clone_from(text),
            Act::Think(thoughts, text) => {
                answer.thoughts.clone_from(thoughts);
                answer.text.clone_from(text);
            }
            Act::Raw(data) => answer.raw = Some(data.clone()),
            Act::BlockPrompt(reason) => answer.block.clone_from(reason),
            Act::Finish(reason, text) => {
                answer.finish.clone_from(reason);
                answer.text.clone_from(text);
            }
            _ => answer.text = usual(body),
        }
        answer.limit(body);
        answer
    }

    /// `maxOutputTokens` counts thoughts as well.
    fn limit(&mut self, body: &Data) {
        let config = body.any(&["generationConfig", "generation_config"]);
        let most = config.any(&["maxOutputTokens", "max_output_tokens"]).count();
        let Some(most) = most.and_then(|it| u32::try_from(it).ok()) else { return };
        let left = most.saturating_sub(tokens(&self.thoughts));
        if left < tokens(&self.text) {
            let bytes = usize::try_from(left).unwrap_or(0) * 4;
            let end = self.text.floor_char_boundary(bytes);
            self.text.truncate(end);
            self.finish = "MAX_TOKENS".into();
        }
    }

    pub(super) fn whole(&self) -> Data {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        if !self.block.is_empty() {
            let feedback = map([("blockReason", self.block.as_str().into())]);
            return self.envelope("").with("promptFeedback", feedback);
        }
        let mut parts = Vec::new();
        if !self.thoughts.is_empty() {
            parts.push(thought(&self.thoughts));
        }
        if !self.text.is_empty() {
            parts.push(map([("text", self.text.as_str().into())]));
        }
        let candidate = candidate(parts, Some(&self.finish));
        self.envelope(&self.text).with("candidates", vec![candidate])
    }

    /// Each event of a stream; the last alone has a `finishReason`.
    pub(super) fn pieces(&self, piece_chars: usize) -> Vec<Data> {
        if self.raw.is_some() || !self.block.is_empty() || piece_chars == 0 {
            return vec![self.whole()];
        }
        let mut events = Vec::new();
        if !self.thoughts.is_empty() {
            let first = candidate(vec![thought(&self.thoughts)], None);
            events.push(self.envelope("").with("candidates", vec![first]));
        }
        let mut said = String::new();
        let mut rest = self.text.as_str();
        while !rest.is_empty() {
            let end = rest.char_indices().nth(piece_chars).map_or(rest.len(), |(at, _)| at);
            let (piece, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
            rest = tail;
            said.push_str(piece);
            let finish = rest.is_empty().then_some(self.finish.as_str());
            let parts = vec![map([("text", piece.into())])];
            let event = candidate(parts, finish);
            events.push(self.envelope(&said).with("candidates", vec![event]));
        }
        if self.text.is_empty() {
            let event = candidate(Vec::new(), Some(&self.finish));
            events.push(self.envelope("").with("candidates", vec![event]));
        }
        events
    }

    fn envelope(&self, said: &str) -> Data {
        let (said, thoughts) = (tokens(said), tokens(&self.thoughts));
        let total = self.prompt_tokens + said + thoughts;
        let mut usage = map([
            ("promptTokenCount", self.prompt_tokens.into()),
            ("totalTokenCount", total.into()),
        ]);
        // Google leaves zero counts out.
        if said != 0 {
            usage.set("candidatesTokenCount", said);
        }
        if thoughts != 0 {
            usage.set("thoughtsTokenCount", thoughts);
        }
        map([
            ("usageMetadata", usage),
            ("modelVersion", self.model.as_str().into()),
            ("responseId", "standin".into()),
        ])
    }
}

fn thought(text: &str) -> Data {
    map([("text", text.into()), ("thought", true.into())])
}

fn candidate(parts: Vec<Data>, finish: Option<&str>) -> Data {
    let mut candidate = map([("index", 0_i64.into())]);
    if let Some(finish) = finish {
        candidate.set("finishReason", finish);
    }
    if !parts.is_empty() {
        let content = map([("role", "model".into()), ("parts", parts.into())]);
        candidate.set("content", content);
    }
    candidate
}

/// The bytes of each event: SSE, or the elements of one JSON array.
pub(super) fn frame(events: &[Data], sse: bool) -> Vec<Vec<u8>> {
    let last = events.len().saturating_sub(1);
    let one = |(index, event): (usize, &Data)| {
        let event = event.render();
        let text = match (sse, index) {
            (true, _) => format!("data: {event}\r\n\r\n"),
            (false, 0) if last == 0 => format!("[{event}]"),
            (false, 0) => format!("[{event}"),
            (false, _) if index == last => format!(",\r\n{event}]"),
            (false, _) => format!(",\r\n{event}"),
        };
        text.into_bytes()
    };
    events.iter().enumerate().map(one).collect()
}

/// About as many tokens as Google would count.
fn tokens(text: &str) -> u32 {
    u32::try_from(text.len().div_ceil(4)).unwrap_or(u32::MAX)
}

/// Tokens of everything the model is given.
pub(super) fn prompt_tokens(body: &Data) -> u32 {
    let system = body.any(&["systemInstruction", "system_instruction"]);
    let contents = body.at("contents").list().iter().chain([system]);
    let parts = contents.flat_map(|content| content.at("parts").list());
    parts
        .map(
            |part| {
                if part.at("text").str().is_empty() { 258 } else { tokens(part.at("text").str()) }
            },
        )
        .sum()
}

fn parts_of_last(body: &Data) -> &[Data] {
    body.at("contents").list().last().map_or(&[], |content| content.at("parts").list())
}

/// The last text of the last turn: what the person has just written.
pub(super) fn last_text(body: &Data) -> &str {
    let mut texts = parts_of_last(body).iter().map(|part| part.at("text").str());
    texts.rfind(|text| !text.is_empty()).unwrap_or_default()
}

/// A friendly answer that shows Markdown, in the language of the question.
fn usual(body: &Data) -> String {
    let asked = last_text(body);
    let echo: String = asked.chars().take(ECHO_CHARS_MAX).collect();
    let echo = echo.trim().replace('\n', "\n> ");
    let is_chinese = asked.chars().any(|letter| ('\u{4e00}'..='\u{9fff}').contains(&letter));
    let rounds = body.at("contents").list().len() / 2;
    let media = parts_of_last(body).iter().find_map(|part| {
        let blob = part.any(&["inlineData", "inline_data"]);
        blob.any(&["mimeType", "mime_type"]).text()
    });
    let mut text = String::new();
    if is_chinese {
        text.push_str(&format!("你说：\n\n> {echo}\n\n"));
        if let Some(kind) = media {
            text.push_str(&format!("还附了一个 `{kind}` 文件。\n\n"));
        }
        text.push_str(&format!(
            "我记得之前的 **{rounds}** 轮对话。我只是演示用的 *Gemini 替身*，会重复听到的话；填上真正的密钥就能聊天了。"
        ));
    } else {
        text.push_str(&format!("You wrote:\n\n> {echo}\n\n"));
        if let Some(kind) = media {
            text.push_str(&format!("and attached a file of type `{kind}`.\n\n"));
        }
        text.push_str(&format!(
            "I remember **{rounds}** earlier rounds. I am only a *stand-in for Gemini* and say back what I hear; give the bot a real key and it will talk."
        ));
    }
    text
}
