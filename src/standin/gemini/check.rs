//! Owns: what Google refuses of a request before any model sees it (api-reference B2).
//! May not: look at keys or quotas.

use super::Data;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

type Fields = &'static [&'static str];

const REQUEST: Fields = &[
    "contents",
    "systemInstruction",
    "generationConfig",
    "safetySettings",
    "tools",
    "toolConfig",
    "cachedContent",
    "model",
    "labels",
    "serviceTier",
    "store",
];
const CONTENT: Fields = &["role", "parts"];
const PART: Fields = &[
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "thought",
    "thoughtSignature",
    "videoMetadata",
    "mediaResolution",
];
const BLOB: Fields = &["mimeType", "data", "displayName"];
const CONFIG: Fields = &[
    "temperature",
    "topP",
    "topK",
    "seed",
    "candidateCount",
    "maxOutputTokens",
    "stopSequences",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "presencePenalty",
    "frequencyPenalty",
    "thinkingConfig",
    "mediaResolution",
    "responseModalities",
    "speechConfig",
    "responseLogprobs",
    "logprobs",
    "enableEnhancedCivicAnswers",
    "imageConfig",
];
const THINKING: Fields = &["thinkingLevel", "thinkingBudget", "includeThoughts"];
const SAFETY: Fields = &["category", "threshold", "method"];
const CATEGORIES: Fields = &[
    "HARM_CATEGORY_HARASSMENT",
    "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    "HARM_CATEGORY_DANGEROUS_CONTENT",
    "HARM_CATEGORY_CIVIC_INTEGRITY",
];
const THRESHOLDS: Fields = &[
    "OFF",
    "BLOCK_NONE",
    "BLOCK_ONLY_HIGH",
    "BLOCK_MEDIUM_AND_ABOVE",
    "BLOCK_LOW_AND_ABOVE",
    "HARM_BLOCK_THRESHOLD_UNSPECIFIED",
];
/// Models that still let a request end with their own turn.
const END_ANYHOW: Fields = &["gemini-2.5-flash", "gemini-3.5-flash"];
const STOP_SEQUENCES_MAX: usize = 5;
const OUTPUT_TOKENS_MAX: i64 = 65_536;

/// Checks a request.
///
/// # Errors
/// Google's text for what is wrong with it.
pub(super) fn request(model: &str, body: &Data) -> Result<(), String> {
    if body.map().is_none() {
        return Err("Invalid JSON payload received. Unexpected token.".into());
    }
    known(body, REQUEST, "")?;
    let contents = body.at("contents").list();
    if contents.is_empty() {
        return Err("* GenerateContentRequest.contents: contents is not specified\n".into());
    }
    for (index, content) in contents.iter().enumerate() {
        self::content(content, &format!("contents[{index}]"))?;
        if !matches!(content.at("role").str(), "" | "user" | "model" | "function") {
            return Err("Please use a valid role: user, model.".into());
        }
    }
    let turns = || contents.iter().map(|content| content.at("role").str() == "model");
    if turns().next_back() == Some(true) && !END_ANYHOW.contains(&model) {
        return Err("Requests ending with a model turn are not supported for this model.".into());
    }
    let alternate = turns().zip((0..).map(|index| index % 2 == 1)).all(|(one, two)| one == two);
    if model.starts_with("gemini-2.") && !alternate {
        return Err(
            "Please ensure that multiturn requests alternate between user and model.".into()
        );
    }
    let system = body.any(&["systemInstruction", "system_instruction"]);
    if *system != Data::Null {
        content(system, "system_instruction")?;
    }
    config(model, body.any(&["generationConfig", "generation_config"]))?;
    for setting in body.any(&["safetySettings", "safety_settings"]).list() {
        known(setting, SAFETY, "safety_settings[0]")?;
        one_of(setting.at("category"), CATEGORIES, "safety_settings[0].category")?;
        one_of(setting.at("threshold"), THRESHOLDS, "safety_settings[0].threshold")?;
    }
    Ok(())
}

fn content(content: &Data, at: &str) -> Result<(), String> {
    known(content, CONTENT, at)?;
    let parts = content.at("parts").list();
    if parts.is_empty() {
        return Err(format!(
            "* GenerateContentRequest.{at}.parts: contents.parts must not be empty.\n"
        ));
    }
    for (index, part) in parts.iter().enumerate() {
        let at = format!("{at}.parts[{index}]");
        known(part, PART, &at)?;
        let blob = part.any(&["inlineData", "inline_data"]);
        let other = ["fileData", "functionCall", "functionResponse"];
        let has_data = *blob != Data::Null || *part.any(&other) != Data::Null;
        if part.at("text").str().is_empty() && !has_data {
            return Err(format!(
                "* GenerateContentRequest.{at}.data: required oneof field 'data' must have one initialized field\n"
            ));
        }
        if *blob != Data::Null {
            known(blob, BLOB, &format!("{at}.inline_data"))?;
            if blob.any(&["mimeType", "mime_type"]).str().is_empty() {
                return Err("Unable to determine the MIME type of the inline data.".into());
            }
            // Some proto parsers take base64 without padding; the bot always pads.
            if STANDARD.decode(blob.at("data").str()).is_err() {
                return Err(format!(
                    "Invalid value at '{at}.inline_data.data' (TYPE_BYTES), Base64 decoding failed"
                ));
            }
        }
    }
    Ok(())
}

fn config(model: &str, config: &Data) -> Result<(), String> {
    known(config, CONFIG, "generation_config")?;
    let number = |name: &str, snake: &str| config.any(&[name, snake]).int();
    if number("candidateCount", "candidate_count").is_some_and(|count| 1 < count) {
        return Err("Multiple candidates is not enabled for this model".into());
    }
    if let Some(most) = number("maxOutputTokens", "max_output_tokens")
        && !(1..=OUTPUT_TOKENS_MAX).contains(&most)
    {
        return Err(format!(
            "Unable to submit request because it has a maxOutputTokens value of {most} but the supported range is from 1 (inclusive) to 65537 (exclusive)."
        ));
    }
    if STOP_SEQUENCES_MAX < config.any(&["stopSequences", "stop_sequences"]).list().len() {
        return Err("* GenerateContentRequest.generation_config.stop_sequences: at most 5\n".into());
    }
    let thinking = config.any(&["thinkingConfig", "thinking_config"]);
    known(thinking, THINKING, "generation_config.thinking_config")?;
    let level = thinking.any(&["thinkingLevel", "thinking_level"]);
    let budget = thinking.any(&["thinkingBudget", "thinking_budget"]);
    if *level == Data::Null {
        return Ok(());
    }
    if *budget != Data::Null {
        return Err("You can only set only one of thinking budget and thinking level.".into());
    }
    let level = level.str().to_ascii_lowercase();
    if !["minimal", "low", "medium", "high"].contains(&level.as_str()) {
        return Err(format!(
            "Invalid value at 'generation_config.thinking_config.thinking_level', \"{level}\""
        ));
    }
    if model.starts_with("gemini-2.") {
        return Err("Thinking level is not supported for this model.".into());
    }
    let strict = ["gemini-3.7-flash", "gemini-3.8-flash", "gemini-3.1-pro-preview"];
    if level == "minimal" && strict.contains(&model) {
        return Err("Thinking level MINIMAL is not supported for this model. Please retry with other thinking level.".into());
    }
    Ok(())
}

/// Refuses members that are not in the list, in camelCase or in snake_case.
fn known(value: &Data, fields: Fields, at: &str) -> Result<(), String> {
    for key in value.map().into_iter().flat_map(|map| map.keys()) {
        if !fields.iter().any(|field| key == field || *key == snake_case(field)) {
            let place = if at.is_empty() { String::new() } else { format!(" at '{at}'") };
            return Err(format!(
                "Invalid JSON payload received. Unknown name \"{key}\"{place}: Cannot find field."
            ));
        }
    }
    Ok(())
}

fn one_of(value: &Data, allowed: Fields, at: &str) -> Result<(), String> {
    if allowed.contains(&value.str()) {
        return Ok(());
    }
    Err(format!("Invalid value at '{at}' (type.googleapis.com), \"{}\"", value.str()))
}

fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}
