//! Owns: a small text sent as a file, in multipart/form-data (api-reference A6).
//! May not: let anything in the text end its part.

use super::request::CALL_TIMEOUT_MS;
use crate::types::Lane;
use crate::wire::{Method, Request};
use std::fmt::Write;

/// Begins every boundary; what follows is counted up until the text does not hold it.
const BOUNDARY: &str = "svs-bot-7f3d9c2e5b8a41d6";
/// Characters of a file's name.
const NAME_CHARS_MAX: usize = 60;

/// A small text as a file.
pub fn send_document(lane: Lane, name: &str, text: &str) -> Request {
    let boundary = boundary(text);
    let mut body = String::with_capacity(text.len() + 768);
    field(&mut body, &boundary, "chat_id", &lane.chat.to_string());
    // General is addressed by omission (api-reference A10).
    if lane.topic.0 > 1 {
        field(&mut body, &boundary, "message_thread_id", &lane.topic.to_string());
    }
    // Writing to a String cannot fail.
    let _ = write!(
        body,
        "--{boundary}\r\nContent-Disposition: form-data; name=\"document\"; filename=\"{}\"\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n--{boundary}--\r\n",
        plain_name(name)
    );
    Request {
        method: Method::Post,
        path: "sendDocument".to_owned(),
        headers: vec![("content-type", format!("multipart/form-data; boundary={boundary}"))],
        body: Some(body),
        timeout_ms: CALL_TIMEOUT_MS,
    }
}

fn field(body: &mut String, boundary: &str, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = write!(
        body,
        "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
    );
}

/// Anybody may write our usual boundary into a chat and export it: then another one is taken. Each miss
/// needs its own occurrence in the text, so the search ends.
fn boundary(text: &str) -> String {
    let mut boundary = BOUNDARY.to_owned();
    let mut count = 0_u32;
    while text.contains(&boundary) {
        count = count.wrapping_add(1);
        boundary = format!("{BOUNDARY}-{count}-");
    }
    boundary
}

/// Nothing that could leave the quotes of a header line.
fn plain_name(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_control() || matches!(c, '"' | '\\' | '/') { '_' } else { c })
        .take(NAME_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ChatId, TopicId};

    #[test]
    fn no_text_and_no_name_ends_its_part() {
        let lane = Lane { chat: ChatId(-5), topic: TopicId(1) };
        let text = format!("--{BOUNDARY}--\r\n{BOUNDARY}-1-\r\nend");
        let request = send_document(lane, "a\"\r\nX: y", &text);
        let body = request.body.unwrap();
        let boundary = format!("{BOUNDARY}-2-");
        assert_eq!(request.headers[0].1, format!("multipart/form-data; boundary={boundary}"));
        let parts: Vec<&str> = body.split(&format!("--{boundary}")).collect();
        assert_eq!(parts.len(), 4, "chat_id, document, end");
        assert!(parts[2].contains("filename=\"a___X: y\""), "{}", parts[2]);
        assert!(parts[2].ends_with(&format!("{text}\r\n")));
        assert!(!body.contains("message_thread_id"));
    }
}
