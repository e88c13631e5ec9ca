//! Owns: every error body of api-reference B4, by a short name.
//! May not: decide when one is due.

use super::data::{Data, map};
use super::http::Reply;

/// An error reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// HTTP status.
    pub status: u16,
    /// `{"error":{…}}`, or a text for a gateway's HTML page.
    pub body: Data,
}

impl Failure {
    pub(super) fn reply(&self) -> Reply {
        if let Some(page) = self.body.text() {
            let body = page.as_bytes().to_vec();
            return Reply { status: self.status, kind: "text/html", body, ..Reply::default() };
        }
        Reply::json(self.status, self.body.render())
    }
}

/// A refused request, by its text.
pub(super) fn bad_request(text: &str) -> Failure {
    failed(400, "INVALID_ARGUMENT", text, Vec::new())
}

/// One violated quota of a 429.
pub(super) struct Violation {
    pub(super) metric: &'static str,
    pub(super) id: &'static str,
    pub(super) limit: u32,
}

const REQUESTS: &str = "generate_content_free_tier_requests";
const TOKENS: &str = "generate_content_free_tier_input_token_count";

pub(super) fn per_minute(limit: u32) -> Violation {
    let id = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier";
    Violation { metric: REQUESTS, id, limit }
}
pub(super) fn per_day(limit: u32) -> Violation {
    let id = "GenerateRequestsPerDayPerProjectPerModel-FreeTier";
    Violation { metric: REQUESTS, id, limit }
}
pub(super) fn tokens_per_minute(limit: u32) -> Violation {
    let id = "GenerateContentInputTokensPerModelPerMinute-FreeTier";
    Violation { metric: TOKENS, id, limit }
}

/// A 429 that names these violations.
pub(super) fn exhausted(model: &str, violations: &[Violation], retry_ms: i64) -> Failure {
    let mut text = String::from(
        "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.",
    );
    let mut list = Vec::new();
    for violation in violations {
        let metric = format!("generativelanguage.googleapis.com/{}", violation.metric);
        let limit = violation.limit;
        text.push_str(&format!(
            "\n* Quota exceeded for metric: {metric}, limit: {limit}, model: {model}"
        ));
        let dimensions = map([("location", "global".into()), ("model", model.into())]);
        let mut told = map([
            ("quotaMetric", metric.into()),
            ("quotaId", violation.id.into()),
            ("quotaDimensions", dimensions),
        ]);
        // Google leaves a value of zero out.
        if limit != 0 {
            told.set("quotaValue", limit.to_string());
        }
        list.push(told);
    }
    let (whole_s, rest_ms) = (retry_ms / 1_000, retry_ms % 1_000);
    text.push_str(&format!("\nPlease retry in {whole_s}.{rest_ms:03}s."));
    let link = map([
        ("description", "Learn more about Gemini API quotas".into()),
        ("url", "https://ai.google.dev/gemini-api/docs/rate-limits".into()),
    ]);
    let details = vec![
        typed("QuotaFailure").with("violations", list),
        typed("Help").with("links", vec![link]),
        typed("RetryInfo").with("retryDelay", format!("{whole_s}s")),
    ];
    failed(429, "RESOURCE_EXHAUSTED", &text, details)
}

fn typed(kind: &str) -> Data {
    map([("@type", format!("type.googleapis.com/google.rpc.{kind}").into())])
}

fn info(reason: &str) -> Vec<Data> {
    let service = map([("service", "generativelanguage.googleapis.com".into())]);
    let info = typed("ErrorInfo")
        .with("reason", reason)
        .with("domain", "googleapis.com")
        .with("metadata", service);
    vec![info]
}

fn failed(status: u16, name: &str, text: &str, details: Vec<Data>) -> Failure {
    let mut error = map([
        ("code", u32::from(status).into()),
        ("message", text.into()),
        ("status", name.into()),
    ]);
    if !details.is_empty() {
        error.set("details", details);
    }
    Failure { status, body: map([("error", error)]) }
}

/// The error of that short name; an unknown name is `internal`.
///
/// `api_key_invalid expired retired_key leaked suspended service_blocked ip_blocked
/// service_disabled no_key two_credentials location bad_request model_not_found model_closed
/// not_found too_large per_minute per_day tokens limit_zero minute_and_day no_details spend_cap
/// overloaded high_demand deadline internal gateway`
pub fn failure(kind: &str, model: &str, retry_s: i64) -> Failure {
    let retry_ms = retry_s.saturating_mul(1_000);
    let invalid = |text: &str| failed(400, "INVALID_ARGUMENT", text, info("API_KEY_INVALID"));
    let denied = |text: &str, details| failed(403, "PERMISSION_DENIED", text, details);
    let blocked = |reason: &str| {
        let text = "Requests to this API generativelanguage.googleapis.com method google.ai.generativelanguage.v1beta.GenerativeService.GenerateContent are blocked.";
        denied(text, info(reason))
    };
    let quota = |list: &[Violation]| exhausted(model, list, retry_ms);
    match kind {
        "api_key_invalid" => invalid("API key not valid. Please pass a valid API key."),
        "expired" => invalid("API key expired. Please renew the API key."),
        "retired_key" => failed(
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.",
            info("ACCESS_TOKEN_TYPE_UNSUPPORTED"),
        ),
        "leaked" => {
            denied("Your API key was reported as leaked. Please use another API key.", vec![])
        }
        "suspended" => {
            denied("Permission denied: Consumer has been suspended.", info("CONSUMER_SUSPENDED"))
        }
        "service_blocked" => blocked("API_KEY_SERVICE_BLOCKED"),
        "ip_blocked" => blocked("API_KEY_IP_ADDRESS_BLOCKED"),
        "service_disabled" => denied(
            "Generative Language API has not been used in this project before or it is disabled.",
            info("SERVICE_DISABLED"),
        ),
        "no_key" => denied(
            "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.",
            vec![],
        ),
        "two_credentials" => {
            bad_request("Multiple authentication credentials received. Please pass only one.")
        }
        "location" => failed(
            400,
            "FAILED_PRECONDITION",
            "User location is not supported for the API use.",
            vec![],
        ),
        "bad_request" => bad_request("Request contains an invalid argument."),
        "model_not_found" => failed(
            404,
            "NOT_FOUND",
            &format!(
                "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods."
            ),
            vec![],
        ),
        "model_closed" => failed(
            404,
            "NOT_FOUND",
            &format!(
                "This model models/{model} is no longer available to new users. Please update your code to use a newer model."
            ),
            vec![],
        ),
        "not_found" => failed(404, "NOT_FOUND", "Requested entity was not found.", vec![]),
        "too_large" => {
            failed(413, "INVALID_ARGUMENT", "Request payload size exceeds the limit.", vec![])
        }
        "per_minute" => quota(&[per_minute(15)]),
        "per_day" => quota(&[per_day(20)]),
        "tokens" => quota(&[tokens_per_minute(250_000)]),
        "limit_zero" => quota(&[per_day(0), per_minute(0), tokens_per_minute(0)]),
        "minute_and_day" => quota(&[per_minute(15), per_day(20)]),
        "no_details" => failed(
            429,
            "RESOURCE_EXHAUSTED",
            "Resource has been exhausted (e.g. check quota).",
            vec![],
        ),
        "spend_cap" => failed(
            429,
            "RESOURCE_EXHAUSTED",
            "Your project has exceeded its monthly spending cap.",
            vec![],
        ),
        "overloaded" => {
            failed(503, "UNAVAILABLE", "The model is overloaded. Please try again later.", vec![])
        }
        "high_demand" => failed(
            503,
            "UNAVAILABLE",
            "This model is currently experiencing high demand. Spikes in demand are usually temporary. Please try again later.",
            vec![],
        ),
        "deadline" => failed(
            504,
            "DEADLINE_EXCEEDED",
            "Deadline expired before operation could complete.",
            vec![],
        ),
        "gateway" => {
            Failure { status: 502, body: "<html><title>502 Bad Gateway</title></html>".into() }
        }
        _ => failed(
            500,
            "INTERNAL",
            "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
            vec![],
        ),
    }
}
