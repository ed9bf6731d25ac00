//! Standard output, and what becomes of the program when nobody reads it any more.

use std::io::{self, ErrorKind, IsTerminal, Stdout, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::exit;

/// How much is held back before it is written, when a listing goes to a file or a pipe.
const BUFFER: usize = 64 << 10;

/// What to do when the reader of standard output goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenClosed {
    /// The verb only looks: there is nothing left to do.
    End,
    /// The verb does something that matters without its report.
    GoOn,
}

/// Standard output, shared by everybody who writes to it.
#[derive(Clone, Debug)]
pub struct Stream(Arc<Mutex<Shared>>);

#[derive(Debug)]
struct Shared {
    when_closed: WhenClosed,
    standard: Stdout,
    /// Bytes held back.
    waiting: Vec<u8>,
    hold_back: bool,
    /// Why nothing more is written.
    broken: Option<io::Error>,
}

impl Stream {
    pub fn new(when_closed: WhenClosed) -> Self {
        let standard = io::stdout();
        // Who watches a run wants each line at once; a listing is many lines and is read later.
        let hold_back = when_closed == WhenClosed::End && !standard.is_terminal();
        let shared = Shared { when_closed, standard, waiting: Vec::new(), hold_back, broken: None };
        Self(Arc::new(Mutex::new(shared)))
    }

    pub fn line(&self, text: &str) {
        let mut shared = self.shared();
        shared.waiting.extend_from_slice(text.as_bytes());
        shared.waiting.push(b'\n');
        shared.pass_on();
    }

    pub fn raw(&self, text: &str) {
        let mut shared = self.shared();
        shared.waiting.extend_from_slice(text.as_bytes());
        shared.pass_on();
    }

    /// Writes what is held back; the first error there was, unless the reader just went away.
    pub fn finish(&self) -> io::Result<()> {
        let mut shared = self.shared();
        shared.write();
        match shared.broken.take() {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn pass_on(&mut self) {
        if !self.hold_back || self.waiting.len() >= BUFFER {
            self.write();
        }
    }

    fn write(&mut self) {
        let bytes = std::mem::take(&mut self.waiting);
        if self.broken.is_some() || bytes.is_empty() {
            return;
        }
        let mut standard = self.standard.lock();
        let Err(error) = standard.write_all(&bytes).and_then(|()| standard.flush()) else { return };
        if error.kind() == ErrorKind::BrokenPipe && self.when_closed == WhenClosed::End {
            std::process::exit(i32::from(exit::DONE.0));
        }
        self.broken = Some(error);
    }
}
