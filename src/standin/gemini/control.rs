//! Owns: steering over HTTP, for scripts and benches in other languages.
//! May not: be reachable from beyond loopback (the server binds nowhere else).

use super::{
    Act, Asked, Data, Inner, Reply, Request, Script, State, failure, lock, map, push_script,
};

impl Inner {
    /// `POST /control/NAME`: `script` (see [`read_script`]), `clear`, `asked {limit}`, `state`.
    pub(super) fn control(&self, name: &str, request: &Request) -> Reply {
        let told = Data::parse(&request.body).unwrap_or(map([]));
        let mut state = lock(&self.state);
        let done = map([("ok", true.into())]);
        let data = match name {
            "script" => match read_script(&told) {
                Some(script) => {
                    push_script(&mut state, script);
                    done
                }
                None => return Reply::json(400, "{\"error\":\"no such act\"}"),
            },
            "clear" => {
                state.scripts.clear();
                done
            }
            "asked" => {
                let limit = told.at("limit").count().and_then(|it| usize::try_from(it).ok());
                let skip = limit.map_or(0, |limit| state.asked.len().saturating_sub(limit));
                let all = state.asked.iter().skip(skip).map(asked_data);
                map([("asked", all.collect::<Vec<Data>>().into())])
            }
            "state" => state_data(&state),
            _ => return Reply::json(404, "{\"error\":\"no such control\"}"),
        };
        Reply::json(200, data.render())
    }
}

fn asked_data(asked: &Asked) -> Data {
    map([
        ("at_ms", asked.at_ms.into()),
        ("key", asked.key.as_str().into()),
        ("project", asked.project.as_str().into()),
        ("model", asked.model.as_str().into()),
        ("stream", asked.stream.into()),
        ("bytes", asked.bytes.into()),
        ("body", asked.body.clone()),
        ("status", u32::from(asked.status).into()),
    ])
}

fn state_data(state: &State) -> Data {
    let big = |number: u64| Data::from(i64::try_from(number).unwrap_or(i64::MAX));
    let mut totals = map([]);
    for (status, count) in &state.totals {
        totals.set(&status.to_string(), big(*count));
    }
    let quotas = state.quotas.iter().map(|((project, model), quota)| {
        map([
            ("project", project.as_str().into()),
            ("model", model.as_str().into()),
            ("today", quota.today().into()),
            ("taken", big(quota.taken)),
            ("refused", big(quota.refused)),
        ])
    });
    let quotas: Vec<Data> = quotas.collect();
    map([("totals", totals), ("quotas", quotas.into())])
}

/// `{"key","model","prompt","times", "say": t | "think": [thoughts, t] | "fail": kind |
/// "fail_midway": kind | "raw": {…} | "block_prompt": reason | "finish": [reason, t] |
/// "cut": true | "stall": ms | "slow": ms | "lose_reply": true | "hang_up": true}`, with `retry_s`
/// for the kinds that name a delay.
fn read_script(told: &Data) -> Option<Script> {
    let text = |key: &str| told.at(key).text().map(str::to_owned);
    let pair = |key: &str| match told.at(key).list() {
        [one, two] => Some((one.text()?.to_owned(), two.text()?.to_owned())),
        _ => None,
    };
    let model = told.at("model").text().unwrap_or("gemini-3.5-flash-lite");
    let retry_s = told.at("retry_s").int().unwrap_or(25);
    let act = if let Some(say) = text("say") {
        Act::Say(say)
    } else if let Some((thoughts, say)) = pair("think") {
        Act::Think(thoughts, say)
    } else if let Some(kind) = text("fail") {
        Act::Fail(failure(&kind, model, retry_s))
    } else if let Some(kind) = text("fail_midway") {
        Act::FailMidway(failure(&kind, model, retry_s))
    } else if *told.at("raw") != Data::Null {
        Act::Raw(told.at("raw").clone())
    } else if let Some(reason) = text("block_prompt") {
        Act::BlockPrompt(reason)
    } else if let Some((reason, say)) = pair("finish") {
        Act::Finish(reason, say)
    } else if let Some(ms) = told.at("stall").count() {
        Act::Stall(ms)
    } else if let Some(ms) = told.at("slow").count() {
        Act::Slow(ms)
    } else if told.at("cut").is_true() {
        Act::Cut
    } else if told.at("lose_reply").is_true() {
        Act::LoseReply
    } else if told.at("hang_up").is_true() {
        Act::HangUp
    } else {
        return None;
    };
    let times = told.at("times").count().and_then(|times| u32::try_from(times).ok()).unwrap_or(1);
    Some(Script { key: text("key"), model: text("model"), prompt: text("prompt"), times, act })
}
