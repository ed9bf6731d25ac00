//! The pattern language that backups and restores share, and matching a path against many patterns
//! at once. The rules for people are in [`crate::rules`].

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};
use thiserror::Error;

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// Nothing is left once `!` and slashes are taken away.
    #[error("it names nothing; write a file name or a path")]
    Empty,
    /// The text is not UTF-8.
    #[error("it is not UTF-8; write ? in place of each byte that is not text")]
    NotText,
    /// A `[` without its `]`, a range backwards, a lone backslash at the end.
    #[error("{0}; a backslash before a special character takes it literally")]
    Syntax(String),
    /// A `!` where nothing can be re-included.
    #[error("a pattern that starts with ! has no meaning here; leave the ! out or write \\!")]
    Negated,
}

/// One pattern, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// `!pattern`: what matches is taken after all.
    pub negated: bool,
    /// `pattern/`: only directories match.
    directories_only: bool,
    /// No slash inside: matches the last component at any depth.
    name_only: bool,
    /// Starts with a slash: matches from the top.
    anchored: bool,
    /// What is left, without the marks above; never empty.
    text: String,
}

impl Pattern {
    /// Takes `pattern` apart and checks that it can be matched.
    pub fn parse(pattern: &[u8]) -> Result<Pattern, PatternError> {
        let text = std::str::from_utf8(pattern).map_err(|_| PatternError::NotText)?;
        let (negated, text) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let trimmed = text.trim_end_matches('/');
        let directories_only = trimmed.len() < text.len();
        let inner = trimmed.trim_start_matches('/');
        let anchored = inner.len() < trimmed.len();
        if inner.is_empty() {
            return Err(PatternError::Empty);
        }
        let parsed = Pattern {
            negated,
            directories_only,
            name_only: !anchored && !inner.contains('/'),
            anchored,
            text: inner.to_owned(),
        };
        glob(&parsed.glob_text())?;
        Ok(parsed)
    }

    /// The pattern as globset wants it, to match a path without its leading slash.
    fn glob_text(&self) -> String {
        if self.anchored || self.name_only { self.text.clone() } else { format!("**/{}", self.text) }
    }

    /// Patterns for the directories that may hold matches of this one: `/a/*/c` gives `a` and `a/*`.
    /// `None` when any directory may.
    fn leads(&self) -> Option<Vec<String>> {
        if !self.anchored {
            return None;
        }
        let mut leads = Vec::new();
        let mut lead = String::new();
        let mut components = self.text.split('/').peekable();
        while let Some(component) = components.next() {
            if component == "**" {
                leads.push(if lead.is_empty() { "**".to_owned() } else { format!("{lead}/**") });
                break;
            }
            if components.peek().is_none() {
                break;
            }
            if !lead.is_empty() {
                lead.push('/');
            }
            lead.push_str(component);
            leads.push(lead.clone());
        }
        Some(leads)
    }
}

/// Compiles one glob: `*` and `?` stop at slashes, braces mean themselves.
fn glob(text: &str) -> Result<globset::Glob, PatternError> {
    GlobBuilder::new(&adapted(text))
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| PatternError::Syntax(error.kind().to_string()))
}

/// Changes a pattern where globset would read it otherwise than `.gitignore` does: braces are made
/// literal (file names with braces are more common than the wish for alternatives), and a negated
/// class stops at slashes.
fn adapted(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut in_class = false;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if !in_class => {
                result.push('\\');
                result.extend(characters.next());
                continue;
            }
            '[' if !in_class => {
                in_class = true;
                result.push('[');
                let negated = characters.as_str().starts_with(['!', '^']);
                if negated {
                    result.extend(characters.next());
                }
                // A `]` or `-` in this place is an ordinary member of the class.
                if characters.as_str().starts_with([']', '-']) {
                    result.extend(characters.next());
                }
                // "Anything but these" must not match a slash either.
                if negated {
                    result.push('/');
                }
                continue;
            }
            ']' => in_class = false,
            '{' | '}' if !in_class => {
                result.push('[');
                result.push(character);
                result.push(']');
                continue;
            }
            _ => {}
        }
        result.push(character);
    }
    result
}

/// Many patterns, matched together; the last one that matches decides.
#[derive(Clone, Debug)]
pub(crate) struct PatternSet {
    names: Group,
    paths: Group,
}

#[derive(Clone, Debug)]
struct Group {
    globs: GlobSet,
    /// For each glob: its place among all patterns, and its marks.
    marks: Vec<(usize, Pattern)>,
}

impl Default for PatternSet {
    fn default() -> Self {
        let empty = || Group { globs: GlobSet::empty(), marks: Vec::new() };
        PatternSet { names: empty(), paths: empty() }
    }
}

impl PatternSet {
    /// Compiles patterns in the order in which they count.
    pub fn new(patterns: &[Pattern]) -> Result<PatternSet, PatternError> {
        let group = |name_only: bool| -> Result<Group, PatternError> {
            let mut builder = GlobSetBuilder::new();
            let mut marks = Vec::new();
            for (place, pattern) in patterns.iter().enumerate().filter(|(_, p)| p.name_only == name_only) {
                builder.add(glob(&pattern.glob_text())?);
                marks.push((place, pattern.clone()));
            }
            Ok(Group { globs: build(&builder)?, marks })
        };
        Ok(PatternSet { names: group(true)?, paths: group(false)? })
    }

    /// Whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.names.globs.is_empty() && self.paths.globs.is_empty()
    }

    /// Whether the last matching pattern takes `path` (absolute, from its leading slash); `None` when
    /// no pattern matches. A pattern that starts with `!` answers `Some(false)`.
    pub fn verdict(&self, path: &[u8], is_directory: bool) -> Option<bool> {
        let name = &path[path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1)..];
        let by_name = self.names.last(name, is_directory);
        let by_path = self.paths.last(path.strip_prefix(b"/").unwrap_or(path), is_directory);
        by_name.max(by_path).map(|(_, taken)| taken)
    }
}

impl Group {
    /// The last matching pattern's place, and whether it takes (`true`) or re-includes.
    fn last(&self, subject: &[u8], is_directory: bool) -> Option<(usize, bool)> {
        if self.globs.is_empty() {
            return None;
        }
        let mut matches = Vec::new();
        self.globs.matches_candidate_into(&Candidate::from_bytes(subject), &mut matches);
        matches.iter().rev().map(|&index| &self.marks[index]).find_map(|(place, pattern)| {
            (is_directory || !pattern.directories_only).then_some((*place, !pattern.negated))
        })
    }
}

/// Which directories may hold something that a set of patterns matches.
#[derive(Clone, Debug)]
pub(crate) enum Leads {
    /// Some pattern matches at any depth.
    Anywhere,
    /// Only directories that one of these matches.
    These(GlobSet),
}

impl Leads {
    /// Collects the leads of all patterns.
    pub fn new(patterns: &[Pattern]) -> Result<Leads, PatternError> {
        let mut builder = GlobSetBuilder::new();
        for pattern in patterns {
            let Some(leads) = pattern.leads() else { return Ok(Leads::Anywhere) };
            for lead in leads {
                builder.add(glob(&lead)?);
            }
        }
        Ok(Leads::These(build(&builder)?))
    }

    /// Whether something below the directory `path` may match.
    pub fn may_hold(&self, path: &[u8]) -> bool {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        match self {
            Leads::Anywhere => true,
            Leads::These(globs) => path.is_empty() || globs.is_match_candidate(&Candidate::from_bytes(path)),
        }
    }
}

fn build(builder: &GlobSetBuilder) -> Result<GlobSet, PatternError> {
    builder.build().map_err(|error| PatternError::Syntax(error.kind().to_string()))
}
