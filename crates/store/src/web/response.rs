//! Answers, read piece by piece with a limit on bytes and on waiting.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::StatusCode;
use tokio::time::timeout;

use super::failure::{Failure, kind_of};
use super::refusal::Refusal;
use super::secret::Secret;
use super::time;
use crate::Kind;

/// How much of an error's text is read, and how much of it is shown.
const ERROR_BYTES_MAX: u64 = 4096;
const ERROR_CHARS_SHOWN: usize = 200;
/// Room that is made at once for an object, in bytes; a larger one gets more as it comes.
const FIRST_ROOM: u64 = 32 << 20;

/// The head of an answer, and the way to its body.
pub(crate) struct Response {
    inner: reqwest::Response,
    idle_timeout: Duration,
}

impl Response {
    pub(crate) fn new(inner: reqwest::Response, idle_timeout: Duration) -> Self {
        Self { inner, idle_timeout }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// A header as text; nothing when it is not there or no ASCII text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    /// What the header `Content-Length` says, also of an answer without a body.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// The next piece of the body; nothing at its end.
    async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        match timeout(self.idle_timeout, self.inner.chunk()).await {
            Ok(piece) => Ok(piece?),
            Err(_) => Err(Failure::new(Kind::Unavailable, "the server stopped in the middle of its answer")),
        }
    }

    /// Leaves out `skip` bytes and reads at most `limit` more, never keeping more than that. The second value says
    /// whether the body goes on after them.
    pub(crate) async fn read(&mut self, mut skip: u64, limit: u64) -> Result<(Bytes, bool), Failure> {
        let out_of_memory = |_| Failure::new(Kind::Other, "not enough memory");
        let expected = self.length().unwrap_or(0).saturating_sub(skip).min(limit);
        let mut kept = Vec::new();
        kept.try_reserve_exact(usize::try_from(expected.min(FIRST_ROOM)).unwrap_or(0))
            .map_err(out_of_memory)?;
        while let Some(mut piece) = self.piece().await? {
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
            piece = piece.split_off(skipped);
            skip -= skipped as u64;
            let room = usize::try_from(limit - kept.len() as u64).unwrap_or(usize::MAX);
            let taken = piece.len().min(room);
            if kept.capacity() - kept.len() < taken {
                // Twice as much, but no more than can still come.
                let more = (kept.len() as u64).max(taken as u64).min(limit - kept.len() as u64);
                kept.try_reserve_exact(usize::try_from(more).unwrap_or(taken)).map_err(out_of_memory)?;
            }
            kept.extend_from_slice(piece.get(..taken).unwrap_or_default());
            if taken < piece.len() {
                return Ok((kept.into(), true));
            }
        }
        Ok((kept.into(), false))
    }

    /// Takes the rest of a short body, so that the connection can be used again.
    pub(crate) async fn finish(mut self) {
        // The answer itself was understood: what becomes of the connection is no failure.
        let _ = self.read(0, ERROR_BYTES_MAX).await;
    }

    /// The failure that this answer is, with a short quotation of its text. `secrets` are what was sent and must not
    /// come back in a message.
    pub(crate) async fn into_failure(mut self, secrets: &[&Secret]) -> Failure {
        let status = self.status();
        let retry_after = self.header("retry-after").and_then(retry_after);
        let body = self.read(0, ERROR_BYTES_MAX).await.map(|(bytes, _)| bytes).unwrap_or_default();
        // A server of S3 says more by its own code than by the status.
        let text = String::from_utf8_lossy(&body);
        let refusal = Refusal::new(status, self.inner.headers(), &body).of_a_grant();
        if refusal.has_code() && !repeats_secret(&refusal.to_string(), secrets) {
            let kind = match refusal.kind() {
                Kind::Other => kind_of(status),
                kind => kind,
            };
            return Failure { retry_after, ..Failure::new(kind, refusal) };
        }
        let body = quote(&text, secrets);
        let said = if body.is_empty() { String::new() } else { format!(": {body}") };
        let cause = format!("the server answered {status}{said}");
        Failure { retry_after, ..Failure::new(kind_of(status), cause) }
    }
}

/// Seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    Some(time::from_http(text)?.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Whether it holds what must not be shown.
fn repeats_secret(text: &str, secrets: &[&Secret]) -> bool {
    secrets.iter().any(|secret| !secret.expose().is_empty() && text.contains(secret.expose()))
}

/// The words of an error page on one line, without markup.
fn quote(text: &str, secrets: &[&Secret]) -> String {
    if repeats_secret(text, secrets) {
        return "(its text repeats a secret and is not shown)".to_owned();
    }
    let mut words = String::new();
    let mut in_tag = false;
    for letter in text.chars() {
        match letter {
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                words.push(' ');
            }
            _ if in_tag => {}
            _ if letter.is_control() => words.push(' '),
            _ => words.push(letter),
        }
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(ERROR_CHARS_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_pages_become_a_line() {
        let page = "<html><h1>Unauthorized</h1><p>This server\n could not\u{7} verify</p></html>";
        assert_eq!(quote(page, &[]), "Unauthorized This server could not verify");
        assert_eq!(quote(&"x".repeat(1000), &[]).len(), ERROR_CHARS_SHOWN);
        let secret = Secret::new("AUTH_tk1".to_owned());
        assert!(!quote("token AUTH_tk1 is bad", &[&secret]).contains("AUTH_tk1"));
        assert_eq!(quote("fine", &[&Secret::new(String::new())]), "fine");
    }

    #[test]
    fn waits_that_a_server_asks_for() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("soon"), None);
        assert_eq!(retry_after("-1"), None);
    }
}
