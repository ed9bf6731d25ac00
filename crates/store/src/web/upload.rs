//! The body of a request: the caller's bytes, sent from where they are.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use md5::{Digest, Md5};

use super::failure::Failure;
use crate::Kind;

/// The most that is handed over at once. Small, so that a slow line shows progress often enough.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// Fewer bytes than this are hashed where we are; more, on a thread that may block (it would take a millisecond).
const HASHED_AT_ONCE: u64 = 512 << 10;

/// Parts of an object on their way. Nothing is copied: a piece shares its bytes with the part.
pub(crate) struct Upload {
    parts: std::vec::IntoIter<Bytes>,
    current: Bytes,
    left: u64,
    /// How much was handed over until now, for who watches.
    sent: Arc<AtomicU64>,
}

impl Upload {
    pub(crate) fn new(parts: Vec<Bytes>, sent: Arc<AtomicU64>) -> Self {
        let left = length(&parts);
        Self { parts: parts.into_iter(), current: Bytes::new(), left, sent }
    }
}

/// The bytes of all parts.
pub(crate) fn length(parts: &[Bytes]) -> u64 {
    parts.iter().map(|part| part.len() as u64).sum()
}

/// The MD5 of all parts: what a server can compare with what it got.
pub(crate) async fn md5_of(parts: &[Bytes]) -> Result<[u8; 16], Failure> {
    let hash = |parts: &[Bytes]| {
        let mut hasher = Md5::new();
        parts.iter().for_each(|part| hasher.update(part));
        hasher.finalize().into()
    };
    if length(parts) < HASHED_AT_ONCE {
        return Ok(hash(parts));
    }
    let parts = parts.to_vec();
    let task = tokio::task::spawn_blocking(move || hash(&parts));
    task.await.map_err(|error| Failure::new(Kind::Other, error))
}

/// Bytes in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while self.current.is_empty() {
            let Some(part) = self.parts.next() else { return Poll::Ready(None) };
            self.current = part;
        }
        let length = self.current.len().min(PIECE_BYTES_MAX);
        let piece = self.current.split_to(length);
        self.left -= length as u64;
        self.sent.fetch_add(length as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
