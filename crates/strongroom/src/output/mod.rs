//! Everything the program says: to people on the terminal, to programs as JSON lines.
//!
//! What a verb is asked for goes to standard output, everything beside it to standard error. When the reader of
//! standard output goes away, a verb that only looks has nothing left to do and ends quietly; a backup, a restore or
//! a check goes on, because its work matters and not its report.

mod event;
mod stream;
pub mod text;

use std::io::{IsTerminal, Write};

use backup::{Credential, Problem, ProblemKind, Vault};
use serde_json::{Value, json};

use crate::exit::Code;
use crate::failure::Failure;
pub use event::{json_moment, json_path, json_time, with};
use stream::Stream;
pub use stream::WhenClosed;
pub use text::{count, duration, local_moment, local_time, number, path, size};

/// How the program talks.
#[derive(Clone, Debug)]
pub struct Output {
    /// JSON lines on standard output.
    pub json: bool,
    /// Nothing but results and errors.
    pub quiet: bool,
    stream: Stream,
}

impl Output {
    /// Talks as asked for.
    pub fn new(json: bool, quiet: bool, when_closed: WhenClosed) -> Self {
        Self { json, quiet, stream: Stream::new(when_closed) }
    }

    /// A line of the result.
    pub fn line(&self, text: &str) {
        if !self.json {
            self.stream.line(text);
        }
    }

    /// A line that a quiet run leaves out.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.line(text);
        }
    }

    /// An event for programs.
    pub fn event(&self, value: &Value) {
        if self.json {
            self.stream.line(&value.to_string());
        }
    }

    /// Text that is the whole result, as it is.
    pub fn raw(&self, text: &str) {
        self.stream.raw(text);
    }

    /// A problem with a path.
    pub fn problem(&self, problem: &Problem) {
        let kind = problem_kind(problem.kind);
        let event = json!({
            "type": "problem", "kind": kind, "error": problem.kind.is_error(), "message": problem.message,
        });
        self.event(&with(event, json_path(&problem.path)));
        if !self.json && (!self.quiet || problem.kind.is_error()) {
            let label = if problem.kind.is_error() { "problem" } else { "note" };
            note(&format!("{label}: {}: {}", path(&problem.path), problem.message));
        }
    }

    /// What is said when a vault was made. The recovery code is shown here and never again, so quiet runs say it too.
    pub fn new_vault(&self, vault: &Vault, location: &str, recovery: &Credential) {
        let code = recovery.text();
        self.event(&json!({
            "type": "vault", "vault": vault.id().to_string(), "location": location, "recovery_code": code.expose(),
        }));
        self.line(&format!("Made the vault {}.", path(location.as_bytes())));
        self.line("");
        self.line(&format!("    Recovery code:  {}", code.expose()));
        self.line("");
        self.line(
            "Write it down and keep it away from this machine: it opens the vault when everything else is lost.",
        );
        self.line("It is shown only this once.");
        self.line("");
    }

    /// The last event of a verb that did not fail: its figures and the exit code.
    pub fn summary(&self, verb: &str, code: Code, figures: Value) {
        self.event(&with(json!({ "type": "summary", "verb": verb, "code": code.0 }), figures));
    }

    /// Says why the program ends, and with which code.
    pub fn failure(&self, failure: &Failure) -> Code {
        self.event(&json!({
            "type": "error", "code": failure.code.0, "message": failure.message,
            "causes": failure.causes, "hint": failure.hint,
        }));
        let mut text = format!("error: {}", failure.message);
        for cause in &failure.causes {
            text.push_str("\n  because: ");
            text.push_str(cause);
        }
        if let Some(hint) = &failure.hint {
            text.push_str("\nhint: ");
            text.push_str(hint);
        }
        note(&text);
        failure.code
    }

    /// Writes out what is still held back. An error when not everything that was said could be written; a reader that
    /// went away is none.
    pub fn finish(&self) -> Result<(), Failure> {
        let finished = self.stream.finish();
        finished.map_err(|error| Failure::file("standard output".as_ref(), "written", &error))
    }
}

/// The name of a kind of problem in JSON.
pub fn problem_kind(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Unreadable => "unreadable",
        ProblemKind::Changing => "changing",
        ProblemKind::Vanished => "vanished",
        ProblemKind::Metadata => "metadata",
    }
}

/// Says something beside the result.
pub fn note(text: &str) {
    let mut errors = std::io::stderr();
    // A line that shows progress may stand there: it is drawn anew below.
    let clear = if errors.is_terminal() { "\r\x1b[K" } else { "" };
    let _ = writeln!(errors, "{clear}{text}");
}
