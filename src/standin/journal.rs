//! Owns: a file of every call and its reply, one JSON object a line, for the witnesses.
//! May not: change what is answered; a journal that cannot be written is given up silently.

use super::data::Data;
use super::http::lock;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;

/// An open journal, shared by the stand-ins.
#[derive(Debug)]
pub struct Journal(Mutex<BufWriter<File>>);

impl Journal {
    /// Starts a new file.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(BufWriter::new(File::create(path)?))))
    }

    /// Adds one line; `reply` is JSON text or, where it is not, an empty text.
    pub fn line(&self, service: &str, call: &str, request: &Data, status: u16, reply: &str) {
        let call = Data::from(call).render();
        let reply = if reply.is_empty() { "null" } else { reply.trim_end() };
        let mut file = lock(&self.0);
        let wrote = writeln!(
            file,
            "{{\"service\":\"{service}\",\"call\":{call},\"request\":{},\"status\":{status},\"reply\":{reply}}}",
            request.render()
        );
        // Flushed line by line: the process under test may be killed, and so may this one.
        drop(wrote.and_then(|()| file.flush()));
    }
}
