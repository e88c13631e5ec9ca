//! Files in: what people send reaches the model byte by byte, and what cannot is told honestly.

use super::*;

/// One file with this content is answered, and the model got it as this type.
#[track_caller]
fn check(message: Data, id: &str, bytes: &[u8], want_type: &str) {
    let world = World::start(Setup::default());
    world.file(id, bytes);
    world.telegram.push_message(PERSON, PERSON, message);
    world.sent(1);
    let got = received(&world);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].0, want_type);
    assert!(got[0].1 == bytes, "{} bytes of {}", got[0].1.len(), bytes.len());
}

/// One file is not passed on; the person reads why.
#[track_caller]
fn refuse(message: Data, id: &str, bytes: Option<&[u8]>, want: &str) {
    let world = World::start(Setup { change: |it| it.media_max = 1 << 16, ..Setup::default() });
    if let Some(bytes) = bytes {
        world.file(id, bytes);
    }
    world.telegram.push_message(PERSON, PERSON, message);
    let sent = world.sent(1);
    assert!(sent[0].text.contains(want), "{}", sent[0].text);
    assert_eq!(world.gemini.asked().len(), 0);
}

#[test]
fn a_photo_with_a_caption_arrives_whole() {
    let bytes = jpeg(100_001);
    check(photo("p", bytes.len()).with("caption", "what is it?"), "p", &bytes, "image/jpeg");
}

#[test]
fn a_photo_of_the_largest_size_arrives_whole() {
    let bytes = jpeg(10 << 20);
    check(photo("p", bytes.len()), "p", &bytes, "image/jpeg");
}

#[test]
fn a_voice_note_arrives_as_sound() {
    check(file("voice", "v", 6, ""), "v", b"OggS\0\x02", "audio/ogg");
}

#[test]
fn a_pdf_arrives_as_one() {
    check(file("document", "d", 9, "a.pdf"), "d", b"%PDF-1.7\n", "application/pdf");
}

#[test]
fn a_text_file_arrives_as_text() {
    check(file("document", "d", 12, "a.txt"), "d", "你好，世".as_bytes(), "text/plain");
}

#[test]
fn a_name_that_lies_is_not_believed() {
    check(file("document", "d", 64, "a.pdf"), "d", &jpeg(64), "image/jpeg");
    let program = b"\x7FELF\x02\x01\x01\0\0\0";
    refuse(file("document", "d", 10, "photo.jpg"), "d", Some(program), "this kind of file");
}

#[test]
fn a_file_that_telegram_has_no_more_is_told() {
    refuse(photo("gone", 10), "gone", None, "once more");
}

#[test]
fn a_file_larger_than_it_says_is_too_large() {
    refuse(photo("p", 10), "p", Some(&jpeg(70_000)), "64 KB");
}

#[test]
fn an_album_is_one_question_with_its_files_in_order() {
    let world = World::start(Setup::default());
    for n in 0..3_usize {
        let id = format!("p{n}");
        world.file(&id, &jpeg(50 + n));
        let part = photo(&id, 50 + n).with("media_group_id", "album");
        let part = if n == 0 { part.with("caption", "compare") } else { part };
        world.telegram.push_message(PERSON, PERSON, part);
    }
    world.sent(1);
    let got = received(&world);
    let sizes: Vec<usize> = got.iter().map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(sizes, [50, 51, 52]);
    assert_eq!(world.gemini.asked().len(), 1);
}

#[test]
fn an_album_with_a_file_too_large_is_answered_and_says_so() {
    let world = World::start(Setup { change: |it| it.media_max = 1 << 16, ..Setup::default() });
    for (n, size) in [50, 70_000, 52].into_iter().enumerate() {
        let id = format!("p{n}");
        world.file(&id, &jpeg(size));
        let part = photo(&id, size).with("media_group_id", "album");
        world.telegram.push_message(PERSON, PERSON, part);
    }
    let sent = world.sent(2);
    let sizes: Vec<usize> = received(&world).iter().map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(sizes, [50, 52]);
    assert!(sent[1].text.contains("One file of your album left out"), "{}", sent[1].text);
    assert!(sent[1].text.contains("64 KB"), "{}", sent[1].text);
}

#[test]
fn a_broken_download_is_tried_again_and_gemini_asked_once() {
    let world = World::start(Setup::default());
    let bytes = jpeg(1_000);
    world.file("p", &bytes);
    world.telegram.fault(Fault {
        method: Some("file".into()),
        chat: None,
        times: 1,
        outcome: Outcome::HangUp,
    });
    world.telegram.push_message(PERSON, PERSON, photo("p", bytes.len()));
    world.sent(1);
    assert_eq!(received(&world)[0].1, bytes);
    assert_eq!(world.gemini.asked().len(), 1);
}
