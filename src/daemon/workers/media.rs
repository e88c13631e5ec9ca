//! Owns: files of a question on their way from Telegram to Gemini, in constant memory.
//! May not: hold a file whole, keep any of it, or believe its name.
//! Invariant: exactly the announced number of bytes is sent, or the request is broken off unfinished
//! and Gemini has been asked nothing.

use super::{REPLY_BYTES_MAX, Tools, network_failure};
use crate::daemon::event::{AskJob, SendFailure};
use crate::engine::sniff::{self, MIME_BYTES_MAX, SNIFF_BYTES};
use crate::net::OnChunk;
use crate::types::model::{MediaTrouble, ModelFailure};
use crate::types::{Media, MediaKind};
use crate::wire::gemini::{self, GenerateArgs};
use crate::wire::telegram::{self, RemoteFile, TelegramError};
use crate::wire::{NetError, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::{self, Read};

/// What the hole of a type takes: the quoted type, blanks behind it. Its width is known before the
/// type is, so that files can be opened one after another.
const TYPE_BYTES: u64 = MIME_BYTES_MAX as u64 + 2;
/// Gemini's own bound on a request with inline files, some room left (api-reference B2).
const REQUEST_BYTES_MAX: u64 = 95 * 1024 * 1024;
/// Three bytes become four signs.
const GROUP_BYTES: usize = 3;
const GROUP_SIGNS: usize = 4;
/// As many as the connection's buffer takes.
const GROUPS_AT_ONCE: usize = 2048;

/// Asks with the question's files; `on_chunk` reads the answer.
pub(super) fn generate(
    tools: &Tools,
    job: &AskJob,
    args: &GenerateArgs<'_>,
    on_chunk: OnChunk<'_>,
) -> Result<Response, ModelFailure> {
    let mut files = Vec::with_capacity(job.media.len());
    for media in &job.media {
        files.push(look_up(tools, media, job)?);
    }
    let (request, pieces) = gemini::generate_around_media(args, files.len());
    let sizes: Vec<u64> = files.iter().map(|file| file.size).collect();
    let mut open = |n: usize| match (files.get(n), job.media.get(n)) {
        (Some(file), Some(media)) => open(tools, file, media, job),
        _ => Err(ModelFailure::Media(MediaTrouble::Gone)),
    };
    let mut body = Body::new(&pieces, &sizes, &mut open);
    let length = body.length();
    if length > REQUEST_BYTES_MAX {
        return Err(ModelFailure::Media(MediaTrouble::TooLarge));
    }
    // Most troubles show in the first file, before Gemini hears anything.
    body.open_next()?;
    let result = tools.net.gemini_upload(&job.key, &request, &mut body, length, on_chunk);
    match (body.failure.take(), result) {
        (Some(failure), Err(_)) => Err(failure),
        (_, Err(error)) => Err(network_failure(&error)),
        (_, Ok(response)) => Ok(response),
    }
}

/// Where the file can be downloaded, its size known and allowed.
fn look_up(tools: &Tools, media: &Media, job: &AskJob) -> Result<RemoteFile, ModelFailure> {
    let response = tools
        .net
        .telegram(&telegram::get_file(&media.file_id), REPLY_BYTES_MAX)
        .map_err(|error| not_reached(&error))?;
    let value =
        telegram::read_reply(&response).map_err(|error| trouble(&SendFailure::Telegram(error)))?;
    let mut file = telegram::read_file(&value).ok_or(ModelFailure::Media(MediaTrouble::Gone))?;
    if file.size == 0 {
        let (length, _) = download(tools, &file, job)?;
        file.size = length.unwrap_or(media.size);
    }
    match file.size {
        0 => Err(ModelFailure::Media(MediaTrouble::Unknown)),
        size if size > job.media_max_bytes => Err(ModelFailure::Media(MediaTrouble::TooLarge)),
        _ => Ok(file),
    }
}

fn download(
    tools: &Tools,
    file: &RemoteFile,
    job: &AskJob,
) -> Result<(Option<u64>, Box<dyn Read>), ModelFailure> {
    let got =
        tools.net.telegram_file(&file.path, job.timeout_ms).map_err(|error| not_reached(&error))?;
    match got.status {
        200..=299 => Ok((got.length, Box::new(got.reader))),
        400..=499 => Err(ModelFailure::Media(MediaTrouble::Gone)),
        status => Err(unsent(&format!("telegram answers {status} for a file"))),
    }
}

fn open(
    tools: &Tools,
    file: &RemoteFile,
    media: &Media,
    job: &AskJob,
) -> Result<Opened, ModelFailure> {
    let (length, mut reader) = download(tools, file, job)?;
    if length.is_some_and(|length| length != file.size) {
        return Err(unsent("a file has another size than telegram says"));
    }
    let mut head = Vec::with_capacity(SNIFF_BYTES);
    reader
        .by_ref()
        .take(SNIFF_BYTES as u64)
        .read_to_end(&mut head)
        .map_err(|_| unsent("a file broke off"))?;
    let sound = matches!(media.kind, MediaKind::Voice | MediaKind::Audio);
    let mime = sniff::mime(&head, sound, head.len() as u64 >= file.size)
        .ok_or(ModelFailure::Media(MediaTrouble::Unknown))?;
    Ok(Opened { mime, head, reader })
}

fn trouble(failure: &SendFailure) -> ModelFailure {
    match failure {
        SendFailure::Telegram(TelegramError::FileTooBig) => {
            ModelFailure::Media(MediaTrouble::TooLarge)
        }
        SendFailure::Telegram(TelegramError::FileGone) => ModelFailure::Media(MediaTrouble::Gone),
        // Another kind of 400 does not mend itself either.
        SendFailure::Telegram(TelegramError::Other { code: 400..=499, .. }) => {
            ModelFailure::Media(MediaTrouble::Gone)
        }
        SendFailure::Telegram(error) => unsent(&format!("getFile: telegram {error}")),
        SendFailure::Net(error) => not_reached(error),
    }
}

/// Gemini was not asked, whatever Telegram did.
fn not_reached(error: &NetError) -> ModelFailure {
    unsent(&format!("a file from telegram: {}", error.text))
}

fn unsent(why: &str) -> ModelFailure {
    ModelFailure::Network { sent: false, why: why.to_owned() }
}

/// A file at its beginning.
struct Opened {
    mime: &'static str,
    /// What was read to tell the type.
    head: Vec<u8>,
    reader: Box<dyn Read>,
}

/// Opens the nth file.
type Open<'a> = &'a mut dyn FnMut(usize) -> Result<Opened, ModelFailure>;

/// The body of the request, made while it is read.
struct Body<'a> {
    pieces: &'a [String],
    sizes: &'a [u64],
    open: Open<'a>,
    /// The piece that is being read, and how much of it is.
    piece: usize,
    at: usize,
    /// The quoted type that comes next.
    kind: Vec<u8>,
    file: Option<Source>,
    failure: Option<ModelFailure>,
}

/// A file that is being read.
struct Source {
    opened: Opened,
    head_at: usize,
    /// Bytes still to come.
    left: u64,
}

impl Source {
    /// Fills `out` as far as the file reaches.
    fn fill(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            let rest = out.get_mut(filled..).unwrap_or_default();
            let mut head = self.opened.head.get(self.head_at..).unwrap_or_default();
            let count = if head.is_empty() {
                self.opened.reader.read(rest)?
            } else {
                let count = head.read(rest)?;
                self.head_at += count;
                count
            };
            if count == 0 {
                break;
            }
            filled += count;
        }
        Ok(filled)
    }
}

impl<'a> Body<'a> {
    /// Pieces stand around two holes for each file: its type and its bytes.
    fn new(pieces: &'a [String], sizes: &'a [u64], open: Open<'a>) -> Self {
        Self { pieces, sizes, open, piece: 0, at: 0, kind: Vec::new(), file: None, failure: None }
    }

    fn length(&self) -> u64 {
        let text: u64 = self.pieces.iter().map(|piece| piece.len() as u64).sum();
        let files: u64 = self
            .sizes
            .iter()
            .map(|size| TYPE_BYTES + size.div_ceil(GROUP_BYTES as u64) * GROUP_SIGNS as u64)
            .sum();
        text + files
    }

    /// Opens the file whose holes come next, unless it is open.
    fn open_next(&mut self) -> Result<(), ModelFailure> {
        let n = self.piece / 2;
        if self.file.is_some() || n >= self.sizes.len() {
            return Ok(());
        }
        let opened = (self.open)(n)?;
        self.kind = format!("\"{}\"", opened.mime).into_bytes();
        self.kind.resize(usize::try_from(TYPE_BYTES).unwrap_or_default(), b' ');
        let left = self.sizes.get(n).copied().unwrap_or(0);
        self.file = Some(Source { opened, head_at: 0, left });
        Ok(())
    }

    /// The next stretch of base64, straight into `out`; 0 at the file's end.
    fn encode(&mut self, out: &mut [u8]) -> Result<usize, ModelFailure> {
        let Some(file) = &mut self.file else { return Ok(0) };
        let mut raw = [0_u8; GROUPS_AT_ONCE * GROUP_BYTES];
        let groups = (out.len() / GROUP_SIGNS).min(GROUPS_AT_ONCE);
        if groups == 0 {
            return Err(unsent("no room for a group of base64"));
        }
        let most = (groups * GROUP_BYTES).min(usize::try_from(file.left).unwrap_or(usize::MAX));
        let Some(raw) = raw.get_mut(..most) else { return Ok(0) };
        let count = file.fill(raw).map_err(|_| unsent("a file broke off"))?;
        if count < most {
            return Err(unsent("a file is shorter than telegram says"));
        }
        file.left -= count as u64;
        if file.left == 0 {
            let mut more = [0_u8; 1];
            if file.fill(&mut more).map_err(|_| unsent("a file broke off"))? != 0 {
                return Err(unsent("a file is longer than telegram says"));
            }
        }
        STANDARD.encode_slice(&raw, out).map_err(|_| unsent("a file could not be encoded"))
    }

    fn step(&mut self, out: &mut [u8]) -> Result<usize, ModelFailure> {
        loop {
            let piece = self.pieces.get(self.piece).map(String::as_bytes).unwrap_or_default();
            if let Some(rest) = piece.get(self.at..).filter(|rest| !rest.is_empty()) {
                let count = rest.len().min(out.len());
                out.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                self.at += count;
                return Ok(count);
            }
            if self.piece + 1 >= self.pieces.len() {
                return Ok(0);
            }
            // Between two pieces is a hole: even ones take the type, odd ones the bytes.
            if self.piece.is_multiple_of(2) {
                self.open_next()?;
                if !self.kind.is_empty() {
                    let count = self.kind.len().min(out.len());
                    for (to, from) in out.iter_mut().zip(self.kind.drain(..count)) {
                        *to = from;
                    }
                    if self.kind.is_empty() {
                        (self.piece, self.at) = (self.piece + 1, 0);
                    }
                    return Ok(count);
                }
            } else {
                let count = self.encode(out)?;
                if self.file.as_ref().is_none_or(|file| file.left == 0) {
                    self.file = None;
                    (self.piece, self.at) = (self.piece + 1, 0);
                }
                if count > 0 {
                    return Ok(count);
                }
            }
        }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.failure.is_some() || out.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match self.step(out) {
            Ok(count) => Ok(count),
            Err(failure) => {
                self.failure = Some(failure);
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JPEG: &[u8] = b"\xFF\xD8\xFF\xE0";

    /// Reads the whole body in rooms of `room` bytes; each file is what telegram announces and what it gives.
    fn read(files: &[(u64, Vec<u8>)], room: usize) -> Result<(u64, String), ModelFailure> {
        let pieces: Vec<String> = (0..=files.len() * 2).map(|n| format!("<{n}>")).collect();
        let sizes: Vec<u64> = files.iter().map(|(size, _)| *size).collect();
        let mut open = |n: usize| {
            let bytes = files[n].1.clone();
            let head = bytes[..bytes.len().min(2)].to_vec();
            let reader: Box<dyn Read> = Box::new(io::Cursor::new(bytes[head.len()..].to_vec()));
            Ok(Opened { mime: "image/jpeg", head, reader })
        };
        let mut body = Body::new(&pieces, &sizes, &mut open);
        let (length, mut all, mut out) = (body.length(), Vec::new(), vec![0; room]);
        loop {
            match body.read(&mut out) {
                Ok(0) => return Ok((length, String::from_utf8(all).unwrap())),
                Ok(count) => all.extend_from_slice(&out[..count]),
                Err(_) => return Err(body.failure.unwrap()),
            }
        }
    }

    fn whole(size: usize) -> (u64, Vec<u8>) {
        (size as u64, JPEG.iter().copied().cycle().take(size).collect())
    }

    #[test]
    fn the_announced_length_is_the_sent_length_whatever_the_sizes_and_rooms() {
        for size in [1, 2, 3, 4, 5, 6_143, 6_144, 6_145, 20_000] {
            for room in [4, 7, 1_024, 8_192] {
                let files = [whole(size), whole(3)];
                let (length, text) = read(&files, room).unwrap();
                assert_eq!(length, text.len() as u64, "{size} in rooms of {room}");
                let kind = "\"image/jpeg\"     ";
                let want = format!(
                    "<0>{kind}<1>{}<2>{kind}<3>{}<4>",
                    STANDARD.encode(&files[0].1),
                    STANDARD.encode(&files[1].1)
                );
                assert_eq!(text, want, "{size} in rooms of {room}");
            }
        }
    }

    #[test]
    fn a_file_of_another_size_breaks_the_request_off() {
        for (announced, given) in [(10, 9), (10, 11), (1, 0), (6_144, 6_145)] {
            let failure = read(&[(announced, whole(given).1)], 8_192).unwrap_err();
            assert!(matches!(failure, ModelFailure::Network { sent: false, .. }), "{failure:?}");
        }
    }
}
