//! A run that did not succeed: what to say, the next step, and how to exit.

use std::error::Error;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::exit::{self, Code};
use crate::output::text;

/// Why a verb ends without having done what it was asked for.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: Code,
    /// What went wrong, with the object it is about.
    pub message: String,
    /// The causes, the nearest first.
    pub causes: Vec<String>,
    /// The next step.
    pub hint: Option<String>,
}

impl Failure {
    /// Something is wrong, and this is the next step.
    pub fn plain(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: exit::FAILED, message: message.into(), causes: Vec::new(), hint: Some(hint.into()) }
    }

    /// The command line asks for something that cannot be.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: exit::USAGE, ..Self::plain(message, hint) }
    }

    /// Somebody asked the program to end.
    pub fn interrupted() -> Self {
        backup::Error::Interrupted.into()
    }

    /// A file of this machine could not be used; `action` follows "cannot be".
    pub fn file(path: &Path, action: &str, error: &io::Error) -> Self {
        let message = format!("{} cannot be {action}", text::path(path.as_os_str().as_bytes()));
        Self { causes: vec![error.to_string()], ..Self::plain(message, advice(error.kind())) }
    }

    /// An error of a library, with its causes.
    pub fn of(error: &dyn Error, hint: &str) -> Self {
        Self { causes: causes(error), ..Self::plain(error.to_string(), hint) }
    }
}

impl From<backup::Error> for Failure {
    fn from(error: backup::Error) -> Self {
        let hint = error.hint().or_else(|| match &error {
            backup::Error::File { source, .. } => Some(advice(source.kind()).to_owned()),
            backup::Error::Source(_) => Some("name files and folders that are there".to_owned()),
            _ => None,
        });
        let code = error.category().into();
        Self { code, message: error.to_string(), causes: causes(&error), hint: hint.as_deref().map(tidy) }
    }
}

fn causes(error: &dyn Error) -> Vec<String> {
    let mut out = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        out.push(error.to_string());
        cause = error.source();
    }
    out
}

/// What to do when the system refuses.
fn advice(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind as Kind;
    match kind {
        Kind::NotFound => "check the spelling, and that its disk is mounted",
        Kind::PermissionDenied => "run as a user who may do that, or change its owner or mode",
        Kind::AlreadyExists => "choose another name, or move what is there away",
        Kind::StorageFull | Kind::QuotaExceeded => "make room, then run the same command again",
        Kind::ReadOnlyFilesystem => "mount the file system writable, or choose another place",
        Kind::BrokenPipe => "whoever read it ended early; nothing is wrong if that was meant",
        Kind::InvalidData => "check that it is the file you mean: it should hold text",
        _ => "look at the cause; the same command can be run again",
    }
}

/// Hints come from several crates; here they get one shape: no capital at the beginning, no full stop at the end.
fn tidy(hint: &str) -> String {
    let hint = hint.strip_suffix('.').unwrap_or(hint);
    let mut letters = hint.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => hint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_have_one_shape() {
        assert_eq!(tidy("Make room."), "make room");
        assert_eq!(tidy("URLs are fine"), "URLs are fine");
        assert_eq!(tidy("see `x`"), "see `x`");
        assert_eq!(tidy(""), "");
    }

    #[test]
    fn every_error_of_the_engine_has_a_next_step() {
        let file = || io::Error::from(io::ErrorKind::PermissionDenied);
        let errors = [
            backup::Error::File { path: "/x".into(), action: "read", source: file() },
            backup::Error::Source("the path /x cannot be found".into()),
            backup::Error::Interrupted,
            backup::Error::WrongKey { location: "/x".into() },
            backup::Error::NoSuchSnapshot("ab".into()),
        ];
        for error in errors {
            let failure = Failure::from(error);
            assert!(failure.hint.is_some_and(|hint| !hint.is_empty()), "{}", failure.message);
        }
    }
}
