//! Owns: Gemini's errors → the scope that is to blame (api-reference B4).
//! May not: blame a key for what is not the key's (contract §5.4).

use crate::json::{self, Ref, Value};
use crate::types::model::{ModelFailure, QuotaHit, Window};

/// Characters kept of Google's message.
const WHY_CHARS_MAX: usize = 200;
/// Characters of a quoted name in it, and how many pieces between quotes are looked at.
const QUOTE_CHARS_MAX: usize = 40;
const PIECES_MAX: usize = 64;
/// No pause longer than this is believed.
const RETRY_MS_MAX: i64 = 48 * crate::types::HOUR_MS;

/// Words of a 400 that is about size alone.
const TOO_LARGE: [&str; 4] = [
    "too large",
    "exceeds the maximum number of tokens",
    "payload size exceeds",
    "exceeds the maximum allowed size",
];
/// Words of a 429 that is about money.
const SPENT: [&str; 5] =
    ["spend cap", "spending cap", "spending limit", "spend limit", "credits are depleted"];

/// Reads the reply of a call that was refused; any body is possible.
pub fn classify(status: u16, body: &[u8], retry_after_s: Option<u32>) -> ModelFailure {
    let value = json::parse_small(body).ok();
    let found = value.as_ref().map(Value::root).map(|root| root.list().next().unwrap_or(root));
    let error = match found.map(|found| found.at("error")) {
        Some(error) if error.is_object() => error,
        _ => return without_json(status, retry_after_s),
    };
    // Inside a stream the status is 200 and the code counts; a code that is no HTTP status does not.
    let code = error.at("code").u32().and_then(|code| u16::try_from(code).ok());
    let code = code.filter(|code| (400..600).contains(code)).unwrap_or(status);
    let message = error.at("message").str().unwrap_or_default();
    let folded = message.to_lowercase();
    let reasons: Vec<&str> =
        error.at("details").list().filter_map(|d| d.at("reason").str()).collect();
    let has = |reason: &str| reasons.contains(&reason);
    match code {
        400 if folded.contains("api key expired") => ModelFailure::BadKey { why: "expired" },
        400 if has("API_KEY_INVALID")
            || folded.contains("api key not valid")
            || folded.contains("api key not found") =>
        {
            ModelFailure::BadKey { why: "invalid" }
        }
        400 if folded.contains("user location is not supported")
            || folded.contains("not available in your country") =>
        {
            ModelFailure::Region
        }
        400 if TOO_LARGE.iter().any(|words| folded.contains(words)) => ModelFailure::TooLarge,
        401 => ModelFailure::BadKey { why: "retired" },
        403 => ModelFailure::BadKey { why: forbidden(&folded, &reasons) },
        404 if folded.contains("no longer available to new users") => ModelFailure::ModelClosed,
        404 => ModelFailure::ModelUnknown,
        413 => ModelFailure::TooLarge,
        429 => ModelFailure::Quota(quota(error, &folded, retry_after_s)),
        408 | 499 | 504 => {
            ModelFailure::Network { sent: true, why: format!("gemini: {code}: no answer in time") }
        }
        503 => ModelFailure::Overloaded,
        500.. => ModelFailure::Internal,
        _ => ModelFailure::BadRequest { why: cut(message) },
    }
}

fn without_json(status: u16, retry_after_s: Option<u32>) -> ModelFailure {
    match status {
        429 => ModelFailure::Quota(QuotaHit {
            window: Window::Unknown,
            tokens: false,
            limit: None,
            retry_ms: retry_after_s.map(|s| (i64::from(s) * 1_000).min(RETRY_MS_MAX)),
            learned: Vec::new(),
        }),
        413 => ModelFailure::TooLarge,
        503 => ModelFailure::Overloaded,
        504 | 408 => ModelFailure::Network {
            sent: true,
            why: format!("gemini: {status}: no answer in time"),
        },
        500.. => ModelFailure::Internal,
        // Whoever leads elsewhere has not answered, so nothing was spent.
        300..=399 => ModelFailure::Network {
            sent: false,
            why: format!("answers with a redirect ({status}), which is not followed"),
        },
        // A door that is not Gemini's: whoever stands there, the key is not to blame.
        _ => ModelFailure::Network { sent: true, why: format!("gemini: {status} without JSON") },
    }
}

fn forbidden(folded: &str, reasons: &[&str]) -> &'static str {
    let has = |reason: &str| reasons.contains(&reason);
    if folded.contains("leaked") {
        "leaked"
    } else if has("CONSUMER_SUSPENDED")
        || folded.contains("suspended")
        || folded.contains("denied access")
    {
        "suspended"
    } else if has("SERVICE_DISABLED") || folded.contains("has not been used in project") {
        "disabled"
    } else {
        "blocked"
    }
}

fn quota(error: Ref<'_>, folded: &str, retry_after_s: Option<u32>) -> QuotaHit {
    let violations: Vec<_> = error
        .at("details")
        .list()
        .flat_map(|detail| detail.at("violations").list())
        .map(violation)
        .collect();
    // The first of the worst: a limit of requests stands before one of tokens.
    let mut worst = Violation { window: Window::Unknown, tokens: false, limit: None };
    for found in &violations {
        if worst.window < found.window {
            worst = *found;
        }
    }
    if says_limit_zero(folded) {
        // Zero is left out of `quotaValue` as every zero is (api-reference B3): the words have it.
        (worst.window, worst.limit) = (Window::Nothing, Some(0));
    } else if worst.window < Window::Spend && SPENT.iter().any(|words| folded.contains(words)) {
        worst.window = Window::Spend;
    }
    let mut learned = Vec::new();
    for found in violations.iter().filter(|found| found.window != Window::Unknown) {
        learned.extend(found.limit.map(|limit| (found.window, found.tokens, limit)));
    }
    // RetryInfo is cut to whole seconds where the words are exact: the later of the two is safe.
    let told = error.at("details").list().filter_map(|detail| detail.at("retryDelay").str());
    let retry_ms = told
        .filter_map(duration_ms)
        .chain(retry_in(folded))
        .max()
        .or(retry_after_s.map(|s| i64::from(s) * 1_000))
        .map(|ms| ms.clamp(0, RETRY_MS_MAX));
    QuotaHit { window: worst.window, tokens: worst.tokens, limit: worst.limit, retry_ms, learned }
}

#[derive(Clone, Copy)]
struct Violation {
    window: Window,
    tokens: bool,
    limit: Option<u32>,
}

/// `quotaId` names the window and `quotaValue`, a number in a text, the limit (api-reference B4).
fn violation(of: Ref<'_>) -> Violation {
    let text = |name: &str| of.at(name).str().unwrap_or_default();
    let id = text("quotaId");
    let limit = of.at("quotaValue");
    let limit = limit.str().and_then(|value| value.trim().parse().ok()).or(limit.u32());
    let window = match limit {
        Some(0) => Window::Nothing,
        _ if id.contains("PerDay") => Window::Day,
        _ if id.contains("PerMinute") => Window::Minute,
        _ => Window::Unknown,
    };
    let tokens = id.contains("Token") || id.is_empty() && text("quotaMetric").contains("token");
    Violation { window, tokens, limit }
}

fn says_limit_zero(folded: &str) -> bool {
    folded
        .split("limit: 0")
        .skip(1)
        .any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
}

/// `please retry in 14h27m56.2s.`
fn retry_in(folded: &str) -> Option<i64> {
    let rest = folded.split("retry in ").nth(1)?;
    let word = rest.split(|c: char| c.is_whitespace() || c == ',').next()?;
    duration_ms(word.trim_end_matches(['.', ';']))
}

/// `56s`, `34.07s`, `13.29ms`, `14h27m56.2s`, in milliseconds, rounded up.
fn duration_ms(text: &str) -> Option<i64> {
    let mut total_ms = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at_checked(unit_end)?;
        let unit_ms = match unit {
            "ms" => 1.0,
            "s" => 1_000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            "d" => 86_400_000.0,
            _ => return None,
        };
        total_ms += number.parse::<f64>().ok()? * unit_ms;
        rest = next;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "finite, and saturating where it is absurd"
    )]
    total_ms.is_finite().then_some(total_ms.ceil() as i64)
}

/// Google's message, short, on one line, with whatever looks like a key left out, and without quotes so
/// long that they could be people's words.
fn cut(message: &str) -> String {
    let mut unquoted = String::new();
    for (at, piece) in message.split('"').take(PIECES_MAX).enumerate() {
        let quoted = at % 2 == 1;
        unquoted.push_str(if quoted { "\"" } else { "" });
        let too_long = quoted && piece.chars().nth(QUOTE_CHARS_MAX).is_some();
        unquoted.push_str(if too_long { "…" } else { piece });
        unquoted.push_str(if quoted { "\"" } else { "" });
    }
    unquoted
        .split_whitespace()
        .map(|word| {
            let secret = ["AIza", "AQ.", "key=", "://"].iter().any(|shape| word.contains(shape));
            if secret { "…" } else { word }
        })
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(WHY_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, want: ModelFailure) {
        assert_eq!(classify(status, body.as_bytes(), None), want, "{body}");
        assert_eq!(
            classify(status, format!("[{body}]").as_bytes(), None),
            want,
            "in a list: {body}"
        );
    }

    fn error(code: u16, message: &str, details: &str) -> String {
        format!(
            r#"{{"error":{{"code":{code},"message":"{message}","status":"X","details":[{details}]}}}}"#
        )
    }

    fn reason(reason: &str) -> String {
        format!(r#"{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}"}}"#)
    }

    #[test]
    fn what_is_the_keys_is_blamed_on_the_key() {
        let bad = |why| ModelFailure::BadKey { why };
        check(
            400,
            &error(
                400,
                "API key not valid. Please pass a valid API key.",
                &reason("API_KEY_INVALID"),
            ),
            bad("invalid"),
        );
        check(
            400,
            &error(400, "API Key not found. Please pass a valid API key.", ""),
            bad("invalid"),
        );
        let expired = "API key expired. Please renew the API key.";
        check(400, &error(400, expired, &reason("API_KEY_INVALID")), bad("expired"));
        check(
            401,
            &error(
                401,
                "Request had invalid authentication credentials. Expected OAuth 2 access token",
                &reason("ACCESS_TOKEN_TYPE_UNSUPPORTED"),
            ),
            bad("retired"),
        );
        check(
            403,
            &error(403, "Your API key was reported as leaked. Please use another API key.", ""),
            bad("leaked"),
        );
        check(
            403,
            &error(403, "Permission denied", &reason("CONSUMER_SUSPENDED")),
            bad("suspended"),
        );
        check(403, &error(403, "Your project has been denied access.", ""), bad("suspended"));
        check(
            403,
            &error(403, "Requests to this API are blocked.", &reason("API_KEY_SERVICE_BLOCKED")),
            bad("blocked"),
        );
        check(403, &error(403, "Disabled", &reason("SERVICE_DISABLED")), bad("disabled"));
    }

    #[test]
    fn what_is_not_the_keys_is_not() {
        check(
            400,
            &error(400, "Request contains an invalid argument.", ""),
            ModelFailure::BadRequest { why: "Request contains an invalid argument.".into() },
        );
        check(
            400,
            &error(400, "bad AIzaSyX see https://x/?key=AIza", ""),
            ModelFailure::BadRequest { why: "bad … see …".into() },
        );
        let echo = format!(
            r#"Invalid value at \"contents\" (x), \"{}\" AQ.Ab8 ok"#,
            "my words ".repeat(9)
        );
        check(
            400,
            &error(400, &echo, ""),
            ModelFailure::BadRequest {
                why: r#"Invalid value at "contents" (x), "…" … ok"#.into()
            },
        );
        let long = ModelFailure::BadRequest { why: "x".repeat(WHY_CHARS_MAX) };
        check(400, &error(400, &"x".repeat(999), ""), long);
        for words in [
            "Request payload size exceeds the limit: 20971520 bytes.",
            "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).",
        ] {
            check(400, &error(400, words, ""), ModelFailure::TooLarge);
        }
        check(
            400,
            &error(400, "The free tier of the API is not available in your country.", ""),
            ModelFailure::Region,
        );
        check(
            400,
            &error(400, "User location is not supported for the API use.", ""),
            ModelFailure::Region,
        );
        check(
            404,
            &error(404, "models/x is not found for API version v1beta, or is not supported", ""),
            ModelFailure::ModelUnknown,
        );
        check(
            404,
            &error(404, "This model models/x is no longer available to new users.", ""),
            ModelFailure::ModelClosed,
        );
        check(413, &error(413, "Request payload too large", ""), ModelFailure::TooLarge);
        check(500, &error(500, "Internal error", ""), ModelFailure::Internal);
        check(
            503,
            &error(503, "The model is overloaded. Please try again later.", ""),
            ModelFailure::Overloaded,
        );
        assert!(matches!(classify(504, b"", None), ModelFailure::Network { sent: true, .. }));
        assert_eq!(classify(503, b"", None), ModelFailure::Overloaded);
        assert_eq!(classify(413, b"<html>", None), ModelFailure::TooLarge);
        for (status, body) in
            [(401, &b""[..]), (404, b"<html>"), (200, b""), (400, b"[]"), (403, b"{}")]
        {
            let failure = classify(status, body, None);
            assert!(matches!(failure, ModelFailure::Network { sent: true, .. }), "{status}");
        }
        assert!(
            matches!(classify(302, b"", None), ModelFailure::Network { sent: false, why } if why.contains("redirect (302)"))
        );
        // In a stream the status is 200; a code that is none of HTTP's does not count.
        assert_eq!(classify(200, error(503, "x", "").as_bytes(), None), ModelFailure::Overloaded);
        assert_eq!(classify(503, error(14, "x", "").as_bytes(), None), ModelFailure::Overloaded);
        assert_eq!(classify(502, b"<html>", None), ModelFailure::Internal);
        assert!(matches!(classify(403, b"<html>proxy</html>", None), ModelFailure::Network { .. }));
    }

    fn violation(id: &str, value: &str) -> String {
        format!(r#"{{"quotaMetric":"m","quotaId":"{id}","quotaValue":"{value}"}}"#)
    }

    fn failure(violations: &[String], delay: &str) -> String {
        format!(
            r#"{{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{}]}},{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{delay}"}}"#,
            violations.join(",")
        )
    }

    const MINUTE: &str = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier";
    const DAY: &str = "GenerateRequestsPerDayPerProjectPerModel-FreeTier";
    const TOKENS: &str = "GenerateContentInputTokensPerModelPerMinute-FreeTier";

    fn hit(body: &str) -> QuotaHit {
        match classify(429, body.as_bytes(), None) {
            ModelFailure::Quota(hit) => hit,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_quota_id_counts_before_the_delay_and_the_worst_of_several() {
        let minute = hit(&error(429, "x", &failure(&[violation(MINUTE, "15")], "25.5s")));
        assert_eq!(
            (minute.window, minute.limit, minute.retry_ms),
            (Window::Minute, Some(15), Some(25_500))
        );
        let both = hit(&error(
            429,
            "Please retry in 9s.",
            &failure(
                &[violation(MINUTE, "5"), violation(DAY, "20"), violation(TOKENS, "250000")],
                "9s",
            ),
        ));
        assert_eq!((both.window, both.tokens, both.limit), (Window::Day, false, Some(20)));
        assert_eq!(both.learned.len(), 3);
        let tokens = hit(&error(429, "x", &failure(&[violation(TOKENS, "250000")], "0.5s")));
        assert_eq!(
            (tokens.window, tokens.tokens, tokens.retry_ms),
            (Window::Minute, true, Some(500))
        );
    }

    #[test]
    fn a_limit_of_none_is_told_from_one_that_begins_with_zero() {
        let none = hit(&error(
            429,
            "quota exceeded, limit: 0, model: x",
            &failure(&[violation(DAY, "0")], "9s"),
        ));
        assert_eq!(none.window, Window::Nothing);
        assert_eq!(hit(&error(429, "limit: 0, model: x", "")).window, Window::Nothing);
        let silent = r#"{"violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"},{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]}"#;
        let zero =
            hit(&error(429, "Quota exceeded, limit: 0, model: x\\nPlease retry in 9s.", silent));
        assert_eq!((zero.window, zero.retry_ms), (Window::Nothing, Some(9_000)));
        assert_eq!(hit(&error(429, "limit: 20, model: x", silent)).window, Window::Day);
        let mixed = failure(&[violation(DAY, "20"), violation(TOKENS, "0")], "9s");
        assert_eq!(hit(&error(429, "x", &mixed)).window, Window::Nothing);
        assert_eq!(hit(&error(429, "limit: 05", "")).window, Window::Unknown);
        assert_eq!(
            hit(&error(429, "Your project reached its spend cap", "")).window,
            Window::Spend
        );
        assert_eq!(
            hit(&error(429, "Your prepayment credits are depleted. See billing.", "")).window,
            Window::Spend
        );
        let billing =
            "You exceeded your current quota, please check your plan and billing details.";
        assert_eq!(hit(&error(429, billing, "")).window, Window::Unknown);
        let html = classify(429, b"<html>", Some(7));
        assert!(matches!(html, ModelFailure::Quota(hit) if hit.retry_ms == Some(7_000)));
        assert_eq!(hit(&error(429, "RATE_LIMIT_EXCEEDED", "")).window, Window::Unknown);
    }

    #[test]
    fn every_spelling_of_a_duration_is_read() {
        let cases = [
            ("56s", Some(56_000)),
            ("34.07s", Some(34_070)),
            ("13.29ms", Some(14)),
            ("14h27m56.2s", Some(52_076_200)),
            ("65205s", Some(65_205_000)),
            ("soon", None),
            ("", None),
            ("5", None),
        ];
        for (text, want) in cases {
            assert_eq!(duration_ms(text), want, "{text}");
        }
        assert_eq!(hit(&error(429, "x\\nPlease retry in 25.7s.", "")).retry_ms, Some(25_700));
        assert_eq!(hit(&error(429, "Please retry in 99999h", "")).retry_ms, Some(RETRY_MS_MAX));
    }
}
