//! Every row of api-reference C4, and what must never be repeated from a reply.

use super::*;

fn reply(status: u16, body: &str) -> Result<Response, NetError> {
    Ok(Response { status, body: body.as_bytes().to_vec(), ..Response::default() })
}

fn coded(status: u16, code: &str, message: &str) -> Result<Response, NetError> {
    let message = message.replace('"', "\\\"");
    reply(
        status,
        &format!(
            r#"{{"code":"{code}","message":"{message}","details":"Failing row contains (7, secret words).","hint":null}}"#
        ),
    )
}

fn shown(result: &Result<Response, NetError>) -> String {
    match judge(result, "chat_history", &["chat_id", "message_text"]) {
        Ok(_) => "ok".to_owned(),
        Err(Fault::Shrink { never, .. }) => format!("shrink never={never}"),
        Err(Fault::Row { why }) => format!("row {why}"),
        Err(Fault::Stop { kind, all, .. }) => format!("stop {kind} all={all}"),
        Err(Fault::Later { kind, after_ms, .. }) => format!("later {kind} {after_ms}"),
        Err(Fault::Generated) => "generated".to_owned(),
    }
}

#[test]
fn every_code_has_its_consequence() {
    let cases = [
        (201, "", "", "ok"),
        (200, "", "", "ok"),
        (204, "", "", "ok"),
        (400, "PGRST102", "Empty or invalid json", "row PGRST102"),
        (
            400,
            "PGRST204",
            "Could not find the 'model_used' column of 'chat_history' in the schema cache",
            "stop column all=false",
        ),
        (
            400,
            "42703",
            "column \"model_used\" of relation \"chat_history\" does not exist",
            "stop column all=false",
        ),
        (400, "22P02", "invalid input syntax for type bigint: \"secret words\"", "row 22P02"),
        (400, "PGRST100", "failed to parse filter", "stop refused all=false"),
        (400, "22007", "invalid date: \"secret words\"", "row 22007"),
        (400, "22008", "date/time field value out of range", "row 22008"),
        (400, "22021", "invalid byte sequence for encoding", "row 22021"),
        (400, "22P05", "unsupported Unicode escape sequence", "row 22P05"),
        (400, "22001", "value too long for type character varying(255)", "row 22001"),
        (
            400,
            "23502",
            "null value in column \"chat_id\" of relation \"chat_history\" violates not-null constraint",
            "row 23502 chat_id",
        ),
        (
            400,
            "23502",
            "null value in column \"must\" of relation \"chat_history\" violates not-null constraint",
            "stop column all=false",
        ),
        (
            400,
            "23514",
            "new row for relation \"chat_history\" violates check constraint \"no_poison\"",
            "row 23514 no_poison",
        ),
        (
            409,
            "23505",
            "duplicate key value violates unique constraint \"one_text\"",
            "row 23505 one_text",
        ),
        (
            409,
            "23503",
            "insert or update on table \"chat_history\" violates foreign key constraint \"fk\"",
            "row 23503 fk",
        ),
        (400, "P0001", "secret words", "row P0001"),
        (
            400,
            "42P10",
            "there is no unique or exclusion constraint matching",
            "stop table all=false",
        ),
        (400, "428C9", "cannot insert a non-DEFAULT value into column \"id\"", "generated"),
        (401, "PGRST301", "JWT expired", "stop key all=true"),
        (401, "PGRST302", "Anonymous access is disabled", "stop key all=true"),
        (401, "PGRST303", "JWT expired", "stop key all=true"),
        (403, "28000", "role is not permitted to log in", "stop key all=true"),
        (401, "42501", "permission denied for table chat_history", "stop grant all=false"),
        (403, "42501", "new row violates row-level security policy", "stop grant all=false"),
        (404, "PGRST205", "Could not find the table", "stop table all=false"),
        (404, "42P01", "relation does not exist", "stop table all=false"),
        (404, "PGRST202", "Could not find the function", "stop refused all=false"),
        (404, "PGRST125", "Invalid path specified", "stop table all=false"),
        (
            405,
            "25006",
            "cannot execute INSERT in a read-only transaction",
            "stop refused all=false",
        ),
        (405, "PGRST101", "Only GET, HEAD and POST verbs are allowed", "stop refused all=false"),
        (405, "PGRST117", "Unsupported HTTP method", "stop refused all=false"),
        (406, "PGRST105", "Filters must include all", "stop refused all=false"),
        (406, "PGRST106", "The schema must be one of", "stop refused all=false"),
        (406, "PGRST107", "None of these media types are available", "stop refused all=false"),
        (406, "PGRST116", "Cannot coerce the result", "stop refused all=false"),
        (416, "PGRST103", "Requested range not satisfiable", "stop refused all=false"),
        (
            400,
            "21000",
            "ON CONFLICT DO UPDATE command cannot affect row a second time",
            "row 21000",
        ),
        (
            500,
            "21000",
            "ON CONFLICT DO UPDATE command cannot affect row a second time",
            "row 21000",
        ),
        (500, "57014", "canceling statement due to statement timeout", "shrink never=false"),
        (500, "40001", "could not serialize", "later busy 0"),
        (500, "40P01", "deadlock detected", "later busy 0"),
        (500, "42P17", "infinite recursion detected in policy", "stop refused all=false"),
        (500, "XX000", "internal", "later unreachable 0"),
        (500, "PGRSTX00", "internal", "later unreachable 0"),
        (503, "PGRST000", "Could not connect", "later unreachable 0"),
        (503, "PGRST001", "Could not connect", "later unreachable 0"),
        (
            503,
            "PGRST002",
            "Could not query the database for the schema cache",
            "later unreachable 0",
        ),
        (503, "08006", "connection failure", "later unreachable 0"),
        (503, "53300", "too many connections", "later unreachable 0"),
        (503, "57P01", "terminating connection", "later unreachable 0"),
        (504, "PGRST003", "Timed out acquiring connection", "later unreachable 0"),
    ];
    for (status, code, message, wanted) in cases {
        let result = if code.is_empty() { reply(status, "") } else { coded(status, code, message) };
        assert_eq!(shown(&result), wanted, "{status} {code}");
    }
}

#[test]
fn what_stands_before_postgrest_is_known_by_its_status() {
    let html = "<html><h1>Bad gateway</h1></html>";
    let cases = [
        (301, html, "stop url all=true"),
        (401, r#"{"message":"Invalid API key","hint":"Double check"}"#, "stop key all=true"),
        (401, r#"{"message":"No API key found in request"}"#, "stop key all=true"),
        (401, r#"{"message":"Unregistered API key"}"#, "stop key all=true"),
        (401, r#"{"message":"Legacy API keys are disabled"}"#, "stop key all=true"),
        (402, r#"{"message":"exceed_egress_quota"}"#, "stop quota all=true"),
        (402, r#"{"message":"overdue_payment"}"#, "stop quota all=true"),
        (404, html, "stop table all=false"),
        (404, "{}", "stop table all=false"),
        (405, html, "stop url all=true"),
        (413, html, "shrink never=true"),
        (429, html, "later busy 0"),
        (500, html, "later unreachable 0"),
        (502, html, "later unreachable 0"),
        (503, html, "later unreachable 0"),
        (504, html, "later unreachable 0"),
        (520, html, "later unreachable 0"),
        (521, html, "later unreachable 0"),
        (522, html, "later unreachable 0"),
        (523, html, "later unreachable 0"),
        (524, html, "later unreachable 0"),
        (525, html, "later unreachable 0"),
        (526, html, "later unreachable 0"),
        (527, html, "later unreachable 0"),
        (530, html, "later unreachable 0"),
        (540, html, "stop paused all=true"),
        (544, html, "later unreachable 0"),
    ];
    for (status, body, wanted) in cases {
        assert_eq!(shown(&reply(status, body)), wanted, "{status}");
    }
    let wait = Response { status: 429, retry_after_s: Some(7), ..Response::default() };
    assert_eq!(shown(&Ok(wait)), "later busy 7000");
}

#[test]
fn no_reply_is_later_and_a_timeout_also_shrinks() {
    let cases = [
        (NetErrorKind::Dns, false, "later unreachable 0"),
        (NetErrorKind::Connect, false, "later unreachable 0"),
        (NetErrorKind::Cut, true, "later unreachable 0"),
        (NetErrorKind::Timeout, false, "later unreachable 0"),
        (NetErrorKind::Timeout, true, "shrink never=false"),
    ];
    for (kind, maybe_done, wanted) in cases {
        let result = Err(NetError { maybe_done, kind, text: "it".to_owned() });
        assert_eq!(shown(&result), wanted, "{kind:?}");
        assert_eq!(may_be_done(&result), maybe_done);
    }
}

#[test]
fn nothing_a_person_wrote_is_repeated() {
    for code in
        ["22P02", "23502", "23505", "23514", "P0001", "42703", "PGRST204", "PGRST102", "99999"]
    {
        for message in ["column \"secret words\"", "'secret words'", "constraint \"secret words\""]
        {
            let fault = judge(&coded(400, code, message), "chat_history", &[]).unwrap_err();
            assert!(!format!("{fault:?}").contains("words"), "{code} {message}: {fault:?}");
        }
    }
}

#[test]
fn only_a_code_proves_that_nothing_was_done() {
    assert!(!may_be_done(&coded(500, "57014", "timeout")));
    assert!(may_be_done(&reply(502, "<html>")));
    assert!(may_be_done(&reply(544, "")));
    assert!(!may_be_done(&reply(401, r#"{"message":"Invalid API key"}"#)));
}
