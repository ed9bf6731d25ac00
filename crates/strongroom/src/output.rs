//! Everything the program says: to people on the terminal, to programs as JSON lines.

use std::fmt::Write as _;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use backup::{Credential, Problem, ProblemKind, Vault};
use base64::Engine;
use content::tree::Time;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use crate::cli::Global;
use crate::exit::{self, Code};

static ZONE: OnceLock<UtcOffset> = OnceLock::new();

/// Asks the system for the local time zone; before any thread is started.
pub fn learn_time_zone() {
    let zone = UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC);
    let _ = ZONE.set(zone);
}

/// A moment for people: local time, RFC 3339, whole seconds.
pub fn local_time(seconds: i64) -> String {
    let zone = ZONE.get().copied().unwrap_or(UtcOffset::UTC);
    let moment = OffsetDateTime::from_unix_timestamp(seconds).map(|moment| moment.to_offset(zone));
    let text = moment.ok().and_then(|moment| moment.format(&Rfc3339).ok());
    text.map_or_else(|| format!("{seconds} s"), |text| text.replacen('T', " ", 1))
}

/// A moment for programs: UTC, RFC 3339, nanoseconds.
pub fn json_time(time: Time) -> Value {
    let nanoseconds = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    let moment = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok();
    moment.and_then(|moment| moment.format(&Rfc3339).ok()).map_or(Value::Null, Value::from)
}

/// Bytes for people, in binary units.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in UNITS.iter().skip(1) {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    format!("{value:.1} {unit}")
}

/// A count with its noun.
pub fn count(number: u64, noun: &str) -> String {
    let plural = match (number, noun.strip_suffix('y')) {
        (1, _) => noun.to_owned(),
        (_, Some(stem)) => format!("{stem}ies"),
        (_, None) => format!("{noun}s"),
    };
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{grouped} {plural}")
}

/// A path for people: what cannot be shown is escaped, so that no name plays with the terminal.
pub fn path(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter.is_control() {
                true => out.extend(letter.escape_default()),
                false => out.push(letter),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// A path for programs: text, and the bytes as base64 when they are not text.
pub fn json_path(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "path": text }),
        Err(_) => json!({
            "path": String::from_utf8_lossy(bytes),
            "path_base64": base64::engine::general_purpose::STANDARD.encode(bytes),
        }),
    }
}

/// Puts the fields of one object into another.
pub fn with(mut object: Value, more: Value) -> Value {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}

/// A run that did not succeed: what to say and how to exit.
#[derive(Debug)]
pub struct Failure {
    code: Code,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// Something is wrong, and this is the next step.
    pub fn plain(message: String, hint: &str) -> Self {
        let hint = Some(hint.to_owned()).filter(|hint| !hint.is_empty());
        Self { code: exit::FAILED, message, causes: Vec::new(), hint }
    }

    /// The command line asks for something that cannot be.
    pub fn usage(message: &str, hint: &str) -> Self {
        Self { code: exit::USAGE, ..Self::plain(message.to_owned(), hint) }
    }

    /// A file could not be used.
    pub fn file(path: &Path, action: &str, error: impl std::fmt::Display) -> Self {
        let message = format!("{} cannot be {action}", self::path(path.as_os_str().as_bytes()));
        Self { code: exit::FAILED, message, causes: vec![error.to_string()], hint: None }
    }

    /// An error of a library, with its causes.
    pub fn of(error: &dyn std::error::Error, hint: &str) -> Self {
        let hint = Some(hint.to_owned()).filter(|hint| !hint.is_empty());
        Self { code: exit::FAILED, message: error.to_string(), causes: causes(error), hint }
    }
}

fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let mut out = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        out.push(error.to_string());
        cause = error.source();
    }
    out
}

impl From<backup::Error> for Failure {
    fn from(error: backup::Error) -> Self {
        let code = error.category().into();
        Self { code, message: error.to_string(), causes: causes(&error), hint: error.hint() }
    }
}

/// How the program talks.
#[derive(Debug)]
pub struct Output {
    /// JSON lines on standard output.
    pub json: bool,
    /// Nothing but errors.
    pub quiet: bool,
}

impl Output {
    /// As asked for.
    pub fn new(global: &Global) -> Self {
        Self { json: global.json, quiet: global.quiet }
    }

    /// A line of the result. When nobody reads any more there is nothing left to do.
    pub fn line(&self, text: &str) {
        if !self.json {
            write_out(text.as_bytes());
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
            write_out(value.to_string().as_bytes());
        }
    }

    /// A problem with a path.
    pub fn problem(&self, problem: &Problem) {
        let kind = match problem.kind {
            ProblemKind::Unreadable => "unreadable",
            ProblemKind::Changing => "changing",
            ProblemKind::Vanished => "vanished",
            ProblemKind::Metadata => "metadata",
        };
        if self.json {
            let event = json!({ "type": "problem", "kind": kind, "message": problem.message });
            self.event(&with(event, json_path(&problem.path)));
        } else {
            let label = if problem.kind.is_error() { "problem" } else { "note" };
            note(&format!("{label}: {}: {}", path(&problem.path), problem.message));
        }
    }

    /// What is said when a vault was made. The recovery code is shown here and never again.
    pub fn new_vault(&self, vault: &Vault, location: &str, recovery: &Credential) {
        let code = recovery.text();
        if self.json {
            let id = vault.id().to_string();
            let event = json!({
                "type": "vault", "vault": id, "location": location, "recovery_code": code.expose(),
            });
            return self.event(&event);
        }
        self.line(&format!("Made the vault {location}."));
        self.line("");
        self.line(&format!("    Recovery code:  {}", code.expose()));
        self.line("");
        self.line("Write it down and keep it away from this machine: it opens the vault when everything else is lost.");
        self.line("It is shown only this once.");
        self.line("");
    }

    /// Says why the program ends, and with which code.
    pub fn failure(&self, failure: &Failure) -> Code {
        if self.json {
            self.event(&json!({
                "type": "error", "code": failure.code.0, "message": failure.message,
                "causes": failure.causes, "hint": failure.hint,
            }));
        }
        let mut text = format!("error: {}", failure.message);
        failure.causes.iter().for_each(|cause| {
            let _ = write!(text, "\n  because: {cause}");
        });
        if let Some(hint) = &failure.hint {
            let _ = write!(text, "\nhint: {hint}");
        }
        note(&text);
        failure.code
    }
}

/// Says something beside the result.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes a line to standard output; ends the program quietly when the reader is gone.
fn write_out(line: &[u8]) {
    let mut out = std::io::stdout().lock();
    if out.write_all(line).and_then(|()| out.write_all(b"\n")).is_err() {
        std::process::exit(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(5 << 30), "5.0 GiB");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(count(1_234_567, "file"), "1,234,567 files");
        assert_eq!(count(2, "directory"), "2 directories");
    }

    #[test]
    fn a_path_cannot_play_with_the_terminal() {
        assert_eq!(path(b"a\x1b[2J\xff\n"), "a\\u{1b}[2J\\xff\\n");
        assert_eq!(path("größe".as_bytes()), "größe");
    }
}
