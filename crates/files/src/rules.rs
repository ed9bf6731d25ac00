//! What a backup leaves out.
//!
//! Patterns read like those of a `.gitignore` file:
//!
//! | pattern | matches |
//! |---|---|
//! | `*.tmp` | every name that ends so, at any depth |
//! | `/var/cache` | that path alone |
//! | `build/out` | `out` in a `build` at any depth |
//! | `cache/` | directories of that name, not files |
//! | `/home/*/Downloads/**` | all below, but not the folder itself |
//! | `!keep.tmp` | re-includes what an earlier pattern left out |
//!
//! `*` and `?` stop at slashes, `**` does not; `?` stands for one byte, `[a-z]` and `[!a-z]` for one
//! character of a set; a backslash takes the next character literally. The last matching pattern
//! decides. What lies in an excluded directory is never looked at, so nothing below it can be
//! re-included. The paths a backup was asked for are never excluded themselves.
//!
//! Pure: no file is touched except by [`RulesBuilder::exclude_from`].

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use crate::pattern::PatternError;
use crate::pattern::{Pattern, PatternSet};

/// The name of the file that marks a folder of things that can be made again.
pub const CACHE_TAG_NAME: &[u8] = b"CACHEDIR.TAG";
/// What such a file starts with (bford.info/cachedir).
pub const CACHE_TAG_SIGNATURE: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Longest file of patterns that is read, in bytes.
const PATTERN_FILE_BYTES_MAX: u64 = 64 << 20;

/// Rules that cannot be used.
#[derive(Debug, Error)]
pub enum RuleError {
    /// A pattern given directly.
    #[error("the exclude pattern {text:?} cannot be used")]
    Pattern {
        /// The pattern as it was given.
        text: String,
        /// What is wrong with it.
        source: PatternError,
    },
    /// A line of a pattern file.
    #[error("{}, line {line}: the pattern {text:?} cannot be used", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The line as it stands.
        text: String,
        /// What is wrong with it.
        source: PatternError,
    },
    /// A pattern file that cannot be read.
    #[error("the file of exclude patterns {} cannot be read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A marker file name that is not a plain name.
    #[error("{name:?} cannot mark folders to leave out: give a file name without a slash")]
    Marker {
        /// The name as it was given.
        name: String,
    },
    /// Each pattern is good, but together they are too much.
    #[error("the exclude patterns are too large together; use fewer or simpler ones")]
    TooLarge(#[source] PatternError),
}

/// Compiled rules. The default leaves nothing out.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    patterns: PatternSet,
    markers: Vec<Vec<u8>>,
    caches: bool,
    larger_than: Option<u64>,
}

impl Rules {
    /// Starts to collect rules.
    pub fn builder() -> RulesBuilder {
        RulesBuilder::default()
    }

    /// Whether a pattern leaves out this absolute path. Its ancestors are not looked at: a walk that
    /// meets an excluded directory does not go in.
    pub fn excludes(&self, path: &[u8], is_directory: bool) -> bool {
        self.patterns.verdict(path, is_directory) == Some(true)
    }

    /// Whether a regular file of this many bytes is left out.
    pub fn excludes_size(&self, bytes: u64) -> bool {
        self.larger_than.is_some_and(|limit| bytes > limit)
    }

    /// Whether there are patterns at all (if not, nobody needs to build paths).
    pub fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Names of files whose presence empties a folder.
    pub fn markers(&self) -> impl Iterator<Item = &[u8]> {
        self.markers.iter().map(Vec::as_slice)
    }

    /// Whether folders with a genuine `CACHEDIR.TAG` are shown empty.
    pub fn excludes_caches(&self) -> bool {
        self.caches
    }
}

/// Collects rules; patterns count in the order in which they are added.
#[derive(Debug, Default)]
pub struct RulesBuilder {
    patterns: Vec<Pattern>,
    markers: Vec<Vec<u8>>,
    caches: bool,
    larger_than: Option<u64>,
}

impl RulesBuilder {
    /// Adds one pattern.
    pub fn exclude(&mut self, pattern: impl AsRef<[u8]>) -> Result<&mut Self, RuleError> {
        let pattern = pattern.as_ref();
        let parsed =
            Pattern::parse(pattern).map_err(|source| RuleError::Pattern { text: lossy(pattern), source })?;
        self.patterns.push(parsed);
        Ok(self)
    }

    /// Adds the patterns of a file: one a line, `#` starts a comment line, blank lines do not count.
    pub fn exclude_from(&mut self, file: &Path) -> Result<&mut Self, RuleError> {
        let unreadable = |source| RuleError::Unreadable { file: file.to_owned(), source };
        let mut text = Vec::new();
        File::open(file)
            .and_then(|open| open.take(PATTERN_FILE_BYTES_MAX + 1).read_to_end(&mut text))
            .map_err(unreadable)?;
        if text.len() as u64 > PATTERN_FILE_BYTES_MAX {
            return Err(unreadable(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("longer than {PATTERN_FILE_BYTES_MAX} bytes"),
            )));
        }
        self.exclude_lines(file, &text)
    }

    /// Adds the lines of `text` as [`exclude_from`](Self::exclude_from) does; errors name `file`.
    pub fn exclude_lines(&mut self, file: &Path, text: &[u8]) -> Result<&mut Self, RuleError> {
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let pattern = trimmed(line);
            if pattern.is_empty() || pattern.starts_with(b"#") {
                continue;
            }
            let parsed = Pattern::parse(pattern).map_err(|source| RuleError::Line {
                file: file.to_owned(),
                line: index + 1,
                text: lossy(pattern),
                source,
            })?;
            self.patterns.push(parsed);
        }
        Ok(self)
    }

    /// Shows a folder empty when it contains a file of this name.
    pub fn exclude_if_present(&mut self, name: impl AsRef<[u8]>) -> Result<&mut Self, RuleError> {
        let name = name.as_ref();
        if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0) {
            return Err(RuleError::Marker { name: lossy(name) });
        }
        self.markers.push(name.to_owned());
        Ok(self)
    }

    /// Shows folders with a genuine `CACHEDIR.TAG` empty.
    pub fn exclude_caches(&mut self, yes: bool) -> &mut Self {
        self.caches = yes;
        self
    }

    /// Leaves out regular files of more than this many bytes.
    pub fn exclude_larger_than(&mut self, bytes: u64) -> &mut Self {
        self.larger_than = Some(bytes);
        self
    }

    /// Compiles what was collected.
    pub fn build(&self) -> Result<Rules, RuleError> {
        Ok(Rules {
            patterns: PatternSet::new(&self.patterns).map_err(RuleError::TooLarge)?,
            markers: self.markers.clone(),
            caches: self.caches,
            larger_than: self.larger_than,
        })
    }
}

/// A line without its carriage return and trailing blanks, unless a backslash keeps a blank.
fn trimmed(line: &[u8]) -> &[u8] {
    let mut line = line.strip_suffix(b"\r").unwrap_or(line);
    while let [rest @ .., b' ' | b'\t'] = line {
        let backslashes = rest.iter().rev().take_while(|&&byte| byte == b'\\').count();
        if backslashes % 2 == 1 {
            break;
        }
        line = rest;
    }
    line
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests;
