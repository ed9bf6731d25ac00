//! What a restore takes out of a snapshot: patterns to include and patterns to leave out.
//!
//! Pure: paths in, verdicts out. Patterns are written as in [`crate::rules`]. A match takes
//! everything below it, and leaving out beats taking.

use thiserror::Error;

use crate::pattern::{Leads, Pattern, PatternError, PatternSet};

/// A selection pattern that cannot be used.
#[derive(Debug, Error)]
#[error("the pattern {text:?} cannot be used")]
pub struct SelectionError {
    /// The pattern as it was given.
    pub text: String,
    /// What is wrong with it.
    pub source: PatternError,
}

/// What to do with one path of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is selected, and so is all below it that is not left out.
    Wanted,
    /// A directory that is not selected itself, but may hold what is.
    Descend,
    /// Neither it nor anything below it.
    No,
}

/// Compiled include and exclude patterns. The default selects everything.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// `None`: everything is included.
    include: Option<(PatternSet, Leads)>,
    exclude: PatternSet,
}

impl Selection {
    /// Compiles the patterns. Without any `include` pattern everything is included; among `exclude`
    /// patterns the last match decides, and `!pattern` takes back.
    pub fn new<P: AsRef<[u8]>>(include: &[P], exclude: &[P]) -> Result<Selection, SelectionError> {
        let parse_all = |patterns: &[P], negation: bool| -> Result<Vec<Pattern>, SelectionError> {
            patterns
                .iter()
                .map(|pattern| {
                    let parsed = Pattern::parse(pattern.as_ref()).and_then(|parsed| {
                        if parsed.negated && !negation { Err(PatternError::Negated) } else { Ok(parsed) }
                    });
                    parsed.map_err(|source| refused(pattern.as_ref(), source))
                })
                .collect()
        };
        // `/` is everything; as a pattern it would be empty.
        let everything = include.is_empty() || include.iter().any(|pattern| pattern.as_ref() == b"/");
        let include = if everything {
            None
        } else {
            let patterns = parse_all(include, false)?;
            let set = PatternSet::new(&patterns).map_err(|source| refused(b"", source))?;
            let leads = Leads::new(&patterns).map_err(|source| refused(b"", source))?;
            Some((set, leads))
        };
        let exclude = PatternSet::new(&parse_all(exclude, true)?).map_err(|source| refused(b"", source))?;
        Ok(Selection { include, exclude })
    }

    /// Whether every path is wanted, so that nobody needs to ask.
    pub fn is_everything(&self) -> bool {
        self.include.is_none() && self.exclude.is_empty()
    }

    /// The verdict on an absolute path of the snapshot (`/home/ada/notes`; the top is `/`). Each call
    /// judges the whole path, ancestors included; no earlier answers need to be remembered.
    pub fn verdict(&self, path: &[u8], is_directory: bool) -> Verdict {
        if self.is_everything() {
            return Verdict::Wanted;
        }
        let mut included = self.include.is_none();
        for (prefix, prefix_is_directory) in prefixes(path, is_directory) {
            if self.exclude.verdict(prefix, prefix_is_directory) == Some(true) {
                return Verdict::No;
            }
            if let Some((include, _)) = &self.include {
                included |= include.verdict(prefix, prefix_is_directory) == Some(true);
            }
        }
        match &self.include {
            _ if included => Verdict::Wanted,
            Some((_, leads)) if is_directory && leads.may_hold(path) => Verdict::Descend,
            _ => Verdict::No,
        }
    }
}

/// `/a/b/c` gives `/a`, `/a/b` (directories) and `/a/b/c`; the top gives nothing.
fn prefixes(path: &[u8], is_directory: bool) -> impl Iterator<Item = (&[u8], bool)> {
    let inner = path.iter().enumerate().skip(1).filter(|&(_, &byte)| byte == b'/');
    let whole = (path.len() > 1).then_some((path, is_directory));
    inner.map(|(slash, _)| (&path[..slash], true)).chain(whole)
}

fn refused(text: &[u8], source: PatternError) -> SelectionError {
    SelectionError { text: String::from_utf8_lossy(text).into_owned(), source }
}

#[cfg(test)]
mod tests;
