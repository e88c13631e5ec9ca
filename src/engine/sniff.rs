//! Owns: what kind of file bytes are, told from the bytes alone; names and declared types lie.
//! May not: read anything itself, or answer with a type that Gemini does not take (api-reference B2).

/// Bytes of a file's beginning that are worth looking at; fewer only where the file is shorter.
pub const SNIFF_BYTES: usize = 3 * 1024;
/// The longest type that [`mime`] gives, bytes.
pub const MIME_BYTES_MAX: usize = 15;
/// A PDF may begin with some rubbish.
const PDF_WITHIN_BYTES: usize = 1024;

/// Signatures at the very beginning.
const STARTS: &[(&[u8], &str)] = &[
    (b"\xFF\xD8\xFF", "image/jpeg"),
    (b"\x89PNG\r\n\x1A\n", "image/png"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mp3"),
    (b"%PDF-", "application/pdf"),
];
/// Containers: what they begin with, and what stands at byte 8.
const CONTAINERS: &[(&[u8], &[u8], &str)] = &[
    (b"RIFF", b"WEBP", "image/webp"),
    (b"RIFF", b"WAVE", "audio/wav"),
    (b"FORM", b"AIFF", "audio/aiff"),
    (b"FORM", b"AIFC", "audio/aiff"),
];
/// Brands of ISO base media, at byte 8 behind `ftyp`.
const BRANDS: &[(&[u8], &str)] = &[
    (b"heic", "image/heic"),
    (b"heix", "image/heic"),
    (b"heim", "image/heic"),
    (b"heis", "image/heic"),
    (b"mif1", "image/heif"),
    (b"M4A ", "audio/mp4"),
    (b"M4B ", "audio/mp4"),
];

/// The MIME type of a file that begins with `head`; `sound` = it came as a sound, so that a brand
/// which films share means sound. `whole` = nothing follows. `None` = nothing a model takes.
pub fn mime(head: &[u8], sound: bool, whole: bool) -> Option<&'static str> {
    if let Some((_, mime)) = STARTS.iter().find(|(start, _)| head.starts_with(start)) {
        return Some(mime);
    }
    let kind = head.get(8..12).unwrap_or_default();
    let contained =
        |(start, at_8, _): &&(&[u8], &[u8], &str)| head.starts_with(start) && kind == *at_8;
    if let Some((.., mime)) = CONTAINERS.iter().find(contained) {
        return Some(mime);
    }
    if head.get(4..8) == Some(b"ftyp") {
        let brand = BRANDS.iter().find(|(brand, _)| *brand == kind).map(|(_, mime)| *mime);
        return brand.or(sound.then_some("audio/mp4"));
    }
    if let [0xFF, second, ..] = head {
        // MPEG audio: eleven bits of sync, then version and layer; layer 0 is AAC's ADTS.
        match second & 0xF6 {
            0xF0 => return Some("audio/aac"),
            0xF2 if second & 0x08 != 0 || sound => return Some("audio/mp3"),
            _ => {}
        }
    }
    let start = head.get(..PDF_WITHIN_BYTES.min(head.len())).unwrap_or_default();
    if start.windows(5).any(|window| window == b"%PDF-") {
        return Some("application/pdf");
    }
    is_text(head, whole).then_some("text/plain")
}

/// Valid UTF-8 without the control characters that no text has; a character may be cut at the end.
fn is_text(head: &[u8], whole: bool) -> bool {
    let head = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if !whole && error.error_len().is_none() => {
            let valid = head.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(valid).unwrap_or_default()
        }
        Err(_) => return false,
    };
    let is_odd = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{c}' | '\u{1b}');
    !text.trim().is_empty() && !text.contains(is_odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &[u8], sound: bool, want: Option<&str>) {
        assert_eq!(mime(head, sound, false), want, "{:?}", String::from_utf8_lossy(head));
        assert!(want.is_none_or(|mime| mime.len() <= MIME_BYTES_MAX));
    }

    #[test]
    fn the_beginning_tells_the_type_and_no_name_does() {
        check(b"\xFF\xD8\xFF\xE0\0\x10JFIF", false, Some("image/jpeg"));
        check(b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR", false, Some("image/png"));
        check(b"RIFF\x10\0\0\0WEBPVP8 ", false, Some("image/webp"));
        check(b"RIFF\x10\0\0\0WAVEfmt ", true, Some("audio/wav"));
        check(b"OggS\0\x02", true, Some("audio/ogg"));
        check(b"fLaC\0\0\0\x22", true, Some("audio/flac"));
        check(b"ID3\x04\0\0", true, Some("audio/mp3"));
        check(b"\xFF\xFB\x90\x64", true, Some("audio/mp3"));
        check(b"\xFF\xF1\x50\x80", true, Some("audio/aac"));
        check(b"\0\0\0\x20ftypheic\0\0\0\0", false, Some("image/heic"));
        check(b"\0\0\0\x20ftypM4A \0\0\0\0", false, Some("audio/mp4"));
        check(b"\n\n%PDF-1.7\n", false, Some("application/pdf"));
        check("你好，世界\r\n".as_bytes(), false, Some("text/plain"));
    }

    #[test]
    fn a_brand_that_films_share_is_sound_only_where_sound_was_sent() {
        check(b"\0\0\0\x20ftypisom\0\0\0\0", true, Some("audio/mp4"));
        check(b"\0\0\0\x20ftypisom\0\0\0\0", false, None);
    }

    #[test]
    fn what_no_model_takes_has_no_type() {
        check(b"GIF89a\x01\0\x01\0", false, None);
        check(b"PK\x03\x04\x14\0", false, None);
        check(b"\x7FELF\x02\x01\x01\0", false, None);
        check(b"MZ\x90\0", false, None);
        check(b"", false, None);
        check(b"  \n", false, None);
        // UTF-16, and Chinese in GBK: nothing reads that as UTF-8.
        check(b"\xFF\xFEa\0b\0", false, None);
        check(b"\xC4\xE3\xBA\xC3", false, None);
    }

    #[test]
    fn a_character_may_be_cut_where_more_follows_and_only_there() {
        let head = "好好".as_bytes().get(..5).unwrap_or_default();
        assert_eq!(mime(head, false, false), Some("text/plain"));
        assert_eq!(mime(head, false, true), None);
    }
}
