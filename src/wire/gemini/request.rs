//! Owns: what is asked of Gemini, built straight into the body (api-reference B2).
//! May not: send empty parts or end with the model's turn.

use crate::json::{Array, Object};
use crate::wire::{Method, Request};

/// Thinking included; visible answers of this length fill about four messages.
const OUTPUT_TOKENS_MAX: i64 = 8_192;
/// `gemini-2.5-pro` cannot do without thinking.
const PRO_BUDGET_MIN: i64 = 128;
/// Words in the names of models whose thinking is not known.
const NOT_CHAT: [&str; 6] = ["image", "tts", "audio", "live", "embedding", "robotics"];
/// Where a file's type or base64 goes; no quoted text holds it.
const HOLE: &str = "\u{1}";
/// Listing and looking up answer at once.
const CHECK_TIMEOUT_MS: u64 = 15_000;

/// One question with what it needs.
#[derive(Clone, Copy, Debug)]
pub struct GenerateArgs<'a> {
    /// As in settings, without `models/`.
    pub model: &'a str,
    /// Instructions; first in the body, so that a stable beginning can be cached.
    pub system: &'a str,
    /// Earlier (question, answer) rounds, oldest first.
    pub turns: &'a [(String, String)],
    /// The question.
    pub text: &'a str,
    /// As server-sent events.
    pub stream: bool,
    /// Until the whole answer is in.
    pub timeout_ms: u64,
}

/// The request for a question of text alone.
pub fn generate(args: &GenerateArgs<'_>) -> Request {
    post(args, Some(body(args, 0)))
}

/// The same with so many files: the request without a body, and the body's text around the holes,
/// two for each file: its quoted MIME type, and its base64 without quotes.
pub fn generate_around_media(args: &GenerateArgs<'_>, files: usize) -> (Request, Vec<String>) {
    let text = body(args, files);
    let pieces = text.split(HOLE).map(str::to_owned).collect();
    (
        Request {
            headers: vec![("content-type", "application/json".to_owned())],
            ..post(args, None)
        },
        pieces,
    )
}

fn post(args: &GenerateArgs<'_>, body: Option<String>) -> Request {
    Request {
        method: Method::Post,
        path: path(args),
        headers: Vec::new(),
        body,
        timeout_ms: args.timeout_ms,
    }
}

/// A page of the models that a key may see; spends no quota (api-reference B7).
pub fn list_models(page_size: u32) -> Request {
    get(format!("/v1beta/models?pageSize={page_size}"))
}

/// One model; spends no quota.
pub fn get_model(model: &str) -> Request {
    get(format!("/v1beta/models/{}", encode(model)))
}

fn get(path: String) -> Request {
    Request {
        method: Method::Get,
        path,
        headers: Vec::new(),
        body: None,
        timeout_ms: CHECK_TIMEOUT_MS,
    }
}

fn path(args: &GenerateArgs<'_>) -> String {
    let model = encode(args.model);
    if args.stream {
        format!("/v1beta/models/{model}:streamGenerateContent?alt=sse")
    } else {
        format!("/v1beta/models/{model}:generateContent")
    }
}

/// A model's name comes from settings; nothing in it may leave its place in the URL.
fn encode(model: &str) -> String {
    let mut out = String::with_capacity(model.len());
    for byte in model.trim_start_matches("models/").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                out.push(char::from(byte))
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

fn body(args: &GenerateArgs<'_>, files: usize) -> String {
    let turns: usize =
        args.turns.iter().map(|(asked, answered)| asked.len() + answered.len() + 64).sum();
    let mut out = String::with_capacity(args.system.len() + args.text.len() + turns + 512);
    {
        let mut object = Object::new(&mut out);
        if !args.system.trim().is_empty() {
            object.object("systemInstruction").array("parts").object().str("text", args.system);
        }
        contents(&mut object.array("contents"), args, files);
        let mut config = object.object("generationConfig");
        config.int("maxOutputTokens", OUTPUT_TOKENS_MAX);
        thinking(&mut config, args.model);
    }
    out
}

/// Begins and ends with the user; a round with an empty half would be refused, so it is left out.
fn contents(list: &mut Array<'_>, args: &GenerateArgs<'_>, files: usize) {
    for (asked, answered) in args.turns {
        if asked.trim().is_empty() || answered.trim().is_empty() {
            continue;
        }
        turn(list, "user", asked);
        turn(list, "model", answered);
    }
    let mut last = list.object();
    last.str("role", "user");
    let mut parts = last.array("parts");
    for _ in 0..files {
        let bytes = format!("\"{HOLE}\"");
        parts.object().object("inlineData").raw("mimeType", HOLE).raw("data", &bytes);
    }
    if !args.text.trim().is_empty() || files == 0 {
        // A space is text enough where there is none; an empty part would be refused.
        parts.object().str("text", if args.text.is_empty() { " " } else { args.text });
    }
}

fn turn(list: &mut Array<'_>, role: &str, text: &str) {
    let mut content = list.object();
    content.str("role", role);
    content.array("parts").object().str("text", text);
}

/// The least thinking that each family takes; names that are not plainly of one keep their default,
/// because a level that a model does not know is refused (api-reference B2).
fn thinking(config: &mut Object<'_>, model: &str) {
    let model = model.trim_start_matches("models/");
    let talks = !NOT_CHAT.iter().any(|word| model.contains(word));
    let moving =
        matches!(model, "gemini-flash-latest" | "gemini-flash-lite-latest" | "gemini-pro-latest");
    if model.starts_with("gemini-2.5-flash") && talks {
        config.object("thinkingConfig").int("thinkingBudget", 0);
    } else if model.starts_with("gemini-2.5-pro") && talks {
        config.object("thinkingConfig").int("thinkingBudget", PRO_BUDGET_MIN);
    } else if (model.starts_with("gemini-3") || moving) && talks {
        let level = if model.contains("-lite") { "minimal" } else { "low" };
        config.object("thinkingConfig").str("thinkingLevel", level);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> GenerateArgs<'_> {
        GenerateArgs {
            model: "gemini-3.5-flash-lite",
            system: "Be kind.",
            turns: &[],
            text,
            stream: true,
            timeout_ms: 60_000,
        }
    }

    #[test]
    fn a_hello_is_small_and_stable_text_comes_first() {
        let request = generate(&args("hello"));
        assert_eq!(
            request.path,
            "/v1beta/models/gemini-3.5-flash-lite:streamGenerateContent?alt=sse"
        );
        assert_eq!(
            request.body.as_deref(),
            Some(
                r#"{"systemInstruction":{"parts":[{"text":"Be kind."}]},"contents":[{"role":"user","parts":[{"text":"hello"}]}],"generationConfig":{"maxOutputTokens":8192,"thinkingConfig":{"thinkingLevel":"minimal"}}}"#
            )
        );
    }

    #[test]
    fn a_question_of_nothing_is_still_a_part_of_something() {
        for (text, files) in [("", 0), ("", 1), (" \n", 1)] {
            let (_, pieces) = generate_around_media(&args(text), files);
            let value = crate::json::parse(filled(&pieces).as_bytes()).unwrap();
            let content = value.at("contents").list().next().unwrap();
            assert_eq!(content.at("parts").list().count(), 1, "{text:?} {files}");
            assert_ne!(content.at("parts").list().next().unwrap().at("text").str(), Some(""));
        }
        let bare = generate(&GenerateArgs { system: " ", ..args("x") }).body.unwrap();
        assert!(bare.starts_with(r#"{"contents":"#), "{bare}");
    }

    #[test]
    fn memory_alternates_and_ends_with_the_question() {
        let turns = [("q1".to_owned(), "a1".to_owned()), ("q2".to_owned(), String::new())];
        let request = generate(&GenerateArgs { turns: &turns, stream: false, ..args("") });
        let value = crate::json::parse(request.body.unwrap().as_bytes()).unwrap();
        let roles: Vec<&str> =
            value.at("contents").list().filter_map(|c| c.at("role").str()).collect();
        assert_eq!(roles, ["user", "model", "user"]);
        assert!(request.path.ends_with(":generateContent"));
    }

    #[test]
    fn each_family_thinks_as_little_as_it_may() {
        let of = |model: &'static str| {
            let body = generate(&GenerateArgs { model, ..args("x") }).body.unwrap();
            body.split("\"maxOutputTokens\":8192").nth(1).unwrap().to_owned()
        };
        assert_eq!(of("gemini-3.8-flash"), r#","thinkingConfig":{"thinkingLevel":"low"}}}"#);
        assert_eq!(of("gemini-2.5-flash-lite"), r#","thinkingConfig":{"thinkingBudget":0}}}"#);
        assert_eq!(of("models/gemini-2.5-pro"), r#","thinkingConfig":{"thinkingBudget":128}}}"#);
        assert_eq!(of("gemini-3.1-pro-preview"), r#","thinkingConfig":{"thinkingLevel":"low"}}}"#);
        let lite = r#","thinkingConfig":{"thinkingLevel":"minimal"}}}"#;
        assert_eq!(of("gemini-flash-lite-latest"), lite);
        for unknown in ["my-model", "gemini-2.5-flash-image", "gemini-3.8-flash-tts", "gemma-4"] {
            assert_eq!(of(unknown), "}}", "{unknown}");
        }
    }

    /// Types and bytes put into the holes between the pieces, in turn.
    fn filled(pieces: &[String]) -> String {
        let fillings = ["\"image/jpeg\"", "QUJD"].into_iter().cycle();
        let mut out = pieces.first().cloned().unwrap_or_default();
        for (piece, filling) in pieces.iter().skip(1).zip(fillings) {
            out.push_str(filling);
            out.push_str(piece);
        }
        out
    }

    #[test]
    fn media_leave_holes_and_names_stay_in_their_place() {
        let (request, pieces) = generate_around_media(&args("what?"), 2);
        assert!(request.body.is_none());
        let value = crate::json::parse(filled(&pieces).as_bytes()).unwrap();
        let contents = value.at("contents");
        let parts: Vec<_> = contents.list().next().unwrap().at("parts").list().collect();
        assert_eq!((pieces.len(), parts.len()), (5, 3));
        let (_, tricky) = generate_around_media(&args("\u{1}\"\u{1}"), 1);
        assert_eq!(tricky.len(), 3, "nothing that anybody writes makes a hole");
        assert_eq!(parts[1].at("inlineData").at("data").str(), Some("QUJD"));
        assert!(get_model("a/../b?x").path.ends_with("/models/a%2F..%2Fb%3Fx"));
    }
}
