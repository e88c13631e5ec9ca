//! Owns: the bytes that wait on either side of HTTP.
//! May not: know a socket.
//! Invariant: a connection holds buffers only while bytes are in them or, without TLS, read into them.

use std::sync::{Arc, Mutex, PoisonError};
use ureq::unversioned::transport::Buffers;

/// Bytes of reply headers; Supabase's gateway sends about 2 KiB.
pub(super) const HEADERS_BYTES_MAX: usize = 32 * 1024;
/// Bytes taken from or handed to the connection at once. One line of a request has to fit, and a filter of 200
/// ids is about 4 KiB long; the input grows for a longer header. A little less than 8 KiB, so that the
/// allocator's own bytes do not move it to the next size.
const BUFFER_BYTES: usize = 8 * 1024 - 64;
/// One more reading than a header may have, so that a longer one is seen to be.
const INPUT_BYTES_MAX: usize = HEADERS_BYTES_MAX + BUFFER_BYTES;
/// Empty buffers kept for the next call: musl asks the kernel for each one of that size and gives it back,
/// with its one lock held meanwhile.
const SPARES_MAX: usize = 4;
/// Bytes handed over at once after a piece was full: a batch of rows then leaves in a few, and does not wake the server for
/// each 8 KiB.
const LARGE_OUTPUT_BYTES: usize = 64 * 1024 - 64;
/// Room for what is chunked; our bodies have a length and need none.
const SCRATCH_BYTES: usize = 512;

/// Empty buffers of [`BUFFER_BYTES`], shared by all connections; what was in them is still there.
#[derive(Default)]
pub(super) struct Spares(Mutex<Vec<Vec<u8>>>);

impl Spares {
    fn take(&self) -> Vec<u8> {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| vec![0; BUFFER_BYTES])
    }

    /// Keeps it if it is of the usual size and there is room.
    fn give(&self, buffer: Vec<u8>) {
        if buffer.len() != BUFFER_BYTES {
            return;
        }
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < SPARES_MAX {
            spares.push(buffer);
        }
    }
}

/// Bytes on their way; there are buffers only while there are some.
pub(super) struct Held {
    spares: Arc<Spares>,
    input: Vec<u8>,
    /// Bytes of `input` from here to `filled` are not yet consumed.
    consumed: usize,
    filled: usize,
    /// The last look at the input used some of it.
    progress: bool,
    output: Vec<u8>,
    /// The last piece was full: more of a large body follows.
    is_large: bool,
    scratch: Vec<u8>,
}

impl Held {
    pub(super) fn new(spares: Arc<Spares>) -> Self {
        Self {
            spares,
            input: Vec::new(),
            consumed: 0,
            filled: 0,
            progress: false,
            output: Vec::new(),
            is_large: false,
            scratch: Vec::new(),
        }
    }

    /// What is to be sent, of which `amount` bytes count; to be given back when they are gone.
    pub(super) fn take_output(&mut self, amount: usize) -> Vec<u8> {
        self.is_large = amount == self.output.len();
        std::mem::take(&mut self.output)
    }

    /// The counterpart of [`Held::take_output`].
    pub(super) fn give_output(&mut self, output: Vec<u8>) {
        if self.is_large && output.len() == LARGE_OUTPUT_BYTES {
            // More of the body follows: a batch of rows asks the kernel for one such buffer, not for six.
            self.output = output;
        } else {
            self.spares.give(output);
        }
    }

    /// What is in it does not matter.
    fn make_output(&mut self) {
        if self.is_large {
            if self.output.len() != LARGE_OUTPUT_BYTES {
                self.output = vec![0; LARGE_OUTPUT_BYTES];
            }
        } else if self.output.len() != BUFFER_BYTES {
            self.output = self.spares.take();
        }
    }

    /// Where to read to; empty only when [`INPUT_BYTES_MAX`] wait unread.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.is_large {
            // The body ended with a full piece; what waits for a reply holds nothing to send.
            (self.is_large, self.output) = (false, Vec::new());
        }
        if self.consumed > 0 {
            self.input.copy_within(self.consumed..self.filled, 0);
            self.filled -= self.consumed;
            self.consumed = 0;
        }
        if self.input.is_empty() {
            self.input = self.spares.take();
        } else if self.filled == self.input.len() && self.input.len() < INPUT_BYTES_MAX {
            let grown = (self.input.len() + BUFFER_BYTES).min(INPUT_BYTES_MAX);
            self.input.resize(grown, 0);
        }
        self.input.get_mut(self.filled..).unwrap_or_default()
    }
}

impl Buffers for Held {
    fn output(&mut self) -> &mut [u8] {
        self.make_output();
        &mut self.output
    }

    fn input(&self) -> &[u8] {
        self.input.get(self.consumed..self.filled).unwrap_or_default()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.room()
    }

    fn input_appended(&mut self, amount: usize) {
        self.filled = (self.filled + amount).min(self.input.len());
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.consumed = (self.consumed + amount).min(self.filled);
        if self.consumed == self.filled {
            (self.consumed, self.filled) = (0, 0);
            self.spares.give(std::mem::take(&mut self.input));
        }
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.make_output();
        self.scratch.resize(SCRATCH_BYTES, 0);
        (&mut self.scratch, &mut self.output)
    }

    fn can_use_input(&self) -> bool {
        self.progress && self.consumed < self.filled
    }
}
