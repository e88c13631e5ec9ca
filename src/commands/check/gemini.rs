//! Owns: the items about Gemini: each key, each model, by reading the list of models.
//! May not: ask a model anything: that would spend quota (api-reference B7).

use super::reply::Fields;
use super::{Item, KeyCall, Level, TIMEOUT_MS, redirected, unreachable};
use crate::config::{Config, KeySetting};
use crate::wire::{Method, Request, Response};

pub(super) fn items(config: &Config, call: KeyCall<'_>) -> Vec<Item> {
    let mut items = Vec::new();
    let mut working: Option<&KeySetting> = None;
    for (n, key) in (1..).zip(&config.keys) {
        let name = format!("key {n} ({} …{})", key.group.label(), key.secret.last4());
        match call(&key.secret, &get("/v1beta/models?pageSize=1".to_owned())) {
            Ok(reply) => {
                let item = key_item(&name, &reply);
                if item.level == Level::Ok && working.is_none() {
                    working = Some(key);
                }
                items.push(item);
            }
            Err(error) => {
                // The way is blocked for every key alike.
                items.push(unreachable("gemini", "GEMINI_API_URL", &error));
                return items;
            }
        }
    }
    if let Some(key) = working {
        items.extend(models(config, key, call));
    }
    items
}

fn get(path: String) -> Request {
    Request { method: Method::Get, path, headers: Vec::new(), body: None, timeout_ms: TIMEOUT_MS }
}

fn key_item(name: &str, reply: &Response) -> Item {
    let fields = Fields::read(&reply.body);
    let message = fields.text(&["error", "message"]);
    let replace = "make a new key at aistudio.google.com/apikey and put it in its place";
    match (reply.status, fields.reason().as_str()) {
        (200, _) => Item::ok(name, "accepted"),
        (400, "API_KEY_INVALID") => Item::fail(name, "not a valid key", replace),
        (400, _) if message.contains("location") => Item::fail(
            name,
            "Google does not serve this machine's country",
            "run the bot elsewhere, or enable billing for the key's project",
        ),
        (400, _) if message.contains("expired") => Item::fail(name, "expired", replace),
        (401, _) => Item::fail(name, "retired kind of key, or not a key of Gemini", replace),
        (403, _) if message.contains("leaked") => Item::fail(name, "reported as leaked", replace),
        (403, "SERVICE_DISABLED") => Item::fail(
            name,
            "the Gemini API is not enabled in its project",
            "enable the Generative Language API in the Google Cloud console",
        ),
        (403, _) => Item::fail(name, "refused: the key or its project may not be used", replace),
        (429, _) => Item::warn(name, "busy just now (429)", "try again in a minute"),
        (300..=399, _) => redirected(name, "GEMINI_API_URL", reply.status),
        (500.., _) => {
            Item::warn(name, format!("Gemini answers {}", reply.status), "try again later")
        }
        (status, _) => {
            Item::fail(name, format!("Gemini answers {status}"), "look at GEMINI_API_URL")
        }
    }
}

fn models(config: &Config, key: &KeySetting, call: KeyCall<'_>) -> Vec<Item> {
    let chains = [&config.models.lite, &config.models.flash, &config.models.pro];
    let mut names: Vec<&String> = chains.into_iter().flatten().collect();
    names.sort();
    names.dedup();
    let mut items = Vec::new();
    for model in names {
        let name = format!("model {model}");
        match call(&key.secret, &get(format!("/v1beta/models/{model}"))) {
            Ok(reply) => items.push(model_item(&name, &reply)),
            Err(error) => {
                items.push(unreachable(&name, "GEMINI_API_URL", &error));
                break;
            }
        }
    }
    // A chain goes on with its next model; only a chain without any is broken.
    for chain in chains {
        let is_broken = |model: &String| {
            let name = format!("model {model}");
            items.iter().any(|item| item.name == name && item.level != Level::Ok)
        };
        if !chain.is_empty() && chain.iter().all(is_broken) {
            let names: Vec<String> = chain.iter().map(|model| format!("model {model}")).collect();
            for item in items.iter_mut().filter(|item| names.contains(&item.name)) {
                item.level = Level::Fail;
            }
        }
    }
    items
}

fn model_item(name: &str, reply: &Response) -> Item {
    let fields = Fields::read(&reply.body);
    let todo = "take a model from the list at ai.google.dev/gemini-api/docs/models into MODEL_LITE, \
                MODEL_FLASH or MODEL_PRO";
    match reply.status {
        200 => {
            let methods = fields.texts(&["supportedGenerationMethods"]);
            if methods.is_empty() || methods.iter().any(|method| method == "generateContent") {
                Item::ok(name, "known")
            } else {
                Item::warn(name, "it does not answer questions", todo)
            }
        }
        404 if fields.text(&["error", "message"]).contains("new users") => {
            Item::warn(name, "closed to this key's project", todo)
        }
        404 => Item::warn(name, "unknown or retired", todo),
        status => Item::warn(name, format!("Gemini answers {status}"), "try again later"),
    }
}
