//! Owns: asking on a terminal or from a pipe.
//! May not: know what is asked.

use super::{Checked, Judged};
use crate::commands::Failure;
use crate::commands::tty::Echo;
use std::io::{self, BufRead, Read, Write};

/// The longest answer: a long list of keys fits many times.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Where answers come from and where questions go.
pub struct Talk<'a> {
    /// One answer a line.
    pub input: &'a mut dyn BufRead,
    /// Questions and results.
    pub out: &'a mut dyn Write,
    /// Turned off around secret answers.
    pub echo: &'a mut dyn Echo,
    /// Whether a person sits there: then a refused answer is asked again.
    pub interactive: bool,
}

impl Talk<'_> {
    /// A text on its way, at once.
    pub(super) fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).map_err(broken)
    }

    /// An answer that may be seen, trimmed.
    fn ask(&mut self, question: &str) -> Result<String, Failure> {
        self.say(question)?;
        let answer = self.line();
        if !self.interactive {
            self.say("\n")?;
        }
        answer
    }

    /// An answer that must not be seen, trimmed.
    pub(super) fn secret(&mut self, question: &str) -> Result<String, Failure> {
        self.echo.set(false).map_err(|why| {
            Failure::failed(format!(
                "what is typed cannot be hidden: {why}: give the answers by a pipe, a line each"
            ))
        })?;
        let answer = self.say(question).and_then(|()| self.line());
        self.echo.set(true).map_err(Failure::failed)?;
        // The person's Enter was not shown either.
        self.say("\n")?;
        answer
    }

    /// Whether the answer begins like a yes; Enter is a no.
    pub(super) fn yes(&mut self, question: &str) -> Result<bool, Failure> {
        let answer = self.ask(&format!("{question} [y/N] "))?;
        Ok(answer.starts_with(['y', 'Y', '是']))
    }

    /// Tells what a check found. What could not be checked is kept when the person says so, or
    /// when nobody can be asked; what is refused ends a dialogue in which nobody can be asked.
    pub(super) fn judge(&mut self, label: &str, checked: Checked) -> Result<Judged, Failure> {
        match checked {
            Checked::Good(text) => {
                self.say(&format!("{label}: ok: {text}\n"))?;
                Ok(Judged::Taken)
            }
            Checked::Refused(why) if self.interactive => {
                self.say(&format!("{label}: refused: {why}\n"))?;
                Ok(Judged::AskAgain)
            }
            Checked::Refused(why) => {
                Err(Failure::failed(format!("{label}: refused: {why}: nothing was written")))
            }
            Checked::Unknown(why) => {
                self.say(&format!("{label}: could not be checked: {why}\n"))?;
                let is_kept = !self.interactive || self.yes("Keep it all the same?")?;
                Ok(if is_kept { Judged::Taken } else { Judged::AskAgain })
            }
        }
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut bytes = Vec::new();
        let mut bounded = (&mut *self.input).take(LINE_BYTES_MAX);
        bounded.read_until(b'\n', &mut bytes).map_err(broken)?;
        if bytes.is_empty() {
            return Err(Failure::failed("the input ended: nothing was written"));
        }
        if u64::try_from(bytes.len()).is_ok_and(|length| length == LINE_BYTES_MAX) {
            return Err(Failure::failed("an answer is too long: nothing was written"));
        }
        // What is not UTF-8 is refused by whoever reads the value.
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn broken(error: io::Error) -> Failure {
    Failure::failed(format!("the dialogue broke off: {error}: nothing was written"))
}
