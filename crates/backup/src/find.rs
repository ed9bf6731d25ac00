//! Finding files by name, path, time or size in any number of snapshots.

use std::collections::HashSet;
use std::sync::Arc;

use content::body::{Problem, ProblemKind};
use content::tree::{Entry, Node, Time};
use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{chain, survivable};
use crate::{Error, Progress, Reader, Snapshot, TreeStep, Vault};

/// How many opened bytes are kept.
const CACHE: usize = 32 << 20;

/// What to look for. Everything that is said must hold; of several patterns, any.
#[derive(Clone, Debug, Default)]
pub struct FindRequest {
    /// Patterns with `*`, `?`, `[…]` and `**`. One without a slash is for names; one that begins with a slash is for
    /// whole paths; any other matches the last parts of a path. A slash at the end asks for a directory.
    pub patterns: Vec<String>,
    /// Take capital and small letters as the same.
    pub ignore_case: bool,
    /// Last changed at this moment or later.
    pub modified_from: Option<Time>,
    /// Last changed at this moment or earlier.
    pub modified_to: Option<Time>,
    /// Files of at least this many bytes.
    pub size_min: Option<u64>,
    /// Files of at most this many bytes.
    pub size_max: Option<u64>,
}

/// How a search went.
#[derive(Clone, Debug, Default)]
pub struct FindReport {
    /// How many things were found; one in several snapshots counts in each.
    pub found: u64,
    /// Directories that could not be searched.
    pub problems: Vec<Problem>,
}

/// Is told the snapshot, the absolute path and the entry of whatever is found.
pub type Found<'a> = dyn FnMut(&Snapshot, &[u8], &Entry) -> Result<(), Error> + 'a;

/// Searches the snapshots in the order given and in each in path order.
///
/// Directories in which nothing was found are remembered, so that a snapshot costs little when the one before it was
/// much the same.
pub fn find(
    vault: &Arc<Vault>,
    snapshots: &[Arc<Snapshot>],
    request: &FindRequest,
    progress: &Progress,
    each: &mut Found<'_>,
) -> Result<FindReport, Error> {
    progress.set_stage("searching");
    let matcher = Matcher::new(request)?;
    let reader = Reader::new(vault, CACHE);
    let mut report = FindReport::default();
    let mut fruitless = HashSet::new();
    for snapshot in snapshots {
        search(&reader, snapshot, &matcher, progress, &mut fruitless, &mut report, each)?;
    }
    Ok(report)
}

/// A directory that is being searched.
struct Level {
    path: Vec<u8>,
    key: [u8; 16],
    /// Something was found below it, or it could not be read: it is to be searched again.
    fruitful: bool,
}

fn search(
    reader: &Arc<Reader>,
    snapshot: &Snapshot,
    matcher: &Matcher<'_>,
    progress: &Progress,
    fruitless: &mut HashSet<[u8; 16]>,
    report: &mut FindReport,
    each: &mut Found<'_>,
) -> Result<(), Error> {
    let mut problem = |path: &[u8], error: Error| {
        let message = format!("in snapshot {}: {}", snapshot.id.short(), chain(&survivable(error)?));
        progress.add_problems(1);
        report.problems.push(Problem { kind: ProblemKind::Unreadable, path: path.to_vec(), message });
        Ok::<(), Error>(())
    };
    let root = match reader.open(snapshot) {
        Ok(root) => root,
        Err(error) => return problem(b"/", error),
    };
    let mut walk = reader.walk(root, b"/");
    let mut levels: Vec<Level> = Vec::new();
    let mut found = 0;
    while let Some(step) = walk.next() {
        progress.checkpoint()?;
        let mut meet = |path: &[u8], entry: &Entry, levels: &mut Vec<Level>| {
            if matcher.fits(path, entry) {
                found += 1;
                levels.iter_mut().for_each(|level| level.fruitful = true);
                each(snapshot, path, entry)?;
            }
            Ok::<(), Error>(())
        };
        match step {
            Ok(TreeStep::Item { path, entry }) => {
                progress.add_files(1);
                meet(&path, &entry, &mut levels)?;
            }
            Ok(TreeStep::Enter { path, entry }) => {
                progress.set_current(&path);
                meet(&path, &entry, &mut levels)?;
                let key = key(&path, &entry);
                if fruitless.contains(&key) {
                    walk.skip_directory();
                }
                levels.push(Level { path, key, fruitful: false });
            }
            Ok(TreeStep::Leave { .. }) => {
                if let Some(level) = levels.pop()
                    && !level.fruitful
                {
                    fruitless.insert(level.key);
                }
            }
            Err(error) => {
                levels.iter_mut().for_each(|level| level.fruitful = true);
                problem(levels.last().map_or(b"/", |level| &level.path), error)?;
            }
        }
    }
    report.found += found;
    Ok(())
}

/// Stands for a directory with this path and these pages.
fn key(path: &[u8], directory: &Entry) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(path.len() as u64).to_le_bytes()).update(path);
    if let Node::Directory { pages, .. } = &directory.node {
        for page in pages {
            hasher.update(page.pack.bytes());
            for value in [page.segment, page.offset, page.length] {
                hasher.update(&value.to_le_bytes());
            }
        }
    }
    let mut key = [0; 16];
    key.iter_mut().zip(hasher.finalize().as_bytes()).for_each(|(to, from)| *to = *from);
    key
}

struct Matcher<'a> {
    request: &'a FindRequest,
    names: GlobSet,
    paths: GlobSet,
    directory_names: GlobSet,
    directory_paths: GlobSet,
}

impl<'a> Matcher<'a> {
    fn new(request: &'a FindRequest) -> Result<Self, Error> {
        let mut sets = [const { Vec::new() }; 4];
        for pattern in &request.patterns {
            let refused =
                |why: String| Error::Source(format!("the pattern {pattern:?} cannot be used: {why}"));
            let trimmed = pattern.trim_end_matches('/');
            if trimmed.is_empty() {
                return Err(refused("it names nothing".to_owned()));
            }
            let only_directories = trimmed.len() < pattern.len();
            let (text, is_path) = match trimmed.strip_prefix('/') {
                Some(rest) => (rest.trim_start_matches('/').to_owned(), true),
                None if trimmed.contains('/') => (format!("**/{trimmed}"), true),
                None => (trimmed.to_owned(), false),
            };
            let glob = GlobBuilder::new(&text)
                .literal_separator(true)
                .backslash_escape(true)
                .case_insensitive(request.ignore_case)
                .build()
                .map_err(|error| refused(error.kind().to_string()))?;
            if let Some(set) = sets.get_mut(usize::from(is_path) + 2 * usize::from(only_directories)) {
                set.push(glob);
            }
        }
        let build = |globs: Vec<globset::Glob>| {
            let mut builder = GlobSetBuilder::new();
            globs.into_iter().for_each(|glob| {
                builder.add(glob);
            });
            builder.build().map_err(|error| Error::Source(format!("the patterns cannot be used: {error}")))
        };
        let [names, paths, directory_names, directory_paths] = sets;
        Ok(Self {
            request,
            names: build(names)?,
            paths: build(paths)?,
            directory_names: build(directory_names)?,
            directory_paths: build(directory_paths)?,
        })
    }

    fn fits(&self, path: &[u8], entry: &Entry) -> bool {
        let request = self.request;
        let size_matters = request.size_min.is_some() || request.size_max.is_some();
        let size_fits = match entry.node {
            Node::File { size, .. } => {
                request.size_min.is_none_or(|min| size >= min)
                    && request.size_max.is_none_or(|max| size <= max)
            }
            _ => !size_matters,
        };
        size_fits
            && request.modified_from.is_none_or(|from| entry.modified >= from)
            && request.modified_to.is_none_or(|to| entry.modified <= to)
            && (request.patterns.is_empty() || self.is_named(path, entry))
    }

    fn is_named(&self, path: &[u8], entry: &Entry) -> bool {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let matches = |names: &GlobSet, paths: &GlobSet| {
            (!names.is_empty() && names.is_match_candidate(&Candidate::from_bytes(&entry.name)))
                || (!paths.is_empty() && paths.is_match_candidate(&Candidate::from_bytes(path)))
        };
        matches(&self.names, &self.paths)
            || (entry.is_directory() && matches(&self.directory_names, &self.directory_paths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use content::tree::FileContent;

    fn file(name: &str, size: u64) -> Entry {
        let content = FileContent::Chunks(Vec::new());
        Entry {
            name: name.as_bytes().to_vec(),
            node: Node::File { size, content, holes: Vec::new(), changing: false },
            mode: 0o644,
            owner: Arc::default(),
            modified: Time { seconds: 100, nanoseconds: 5 },
            changed: Time::default(),
            inode: 1,
            device: 0,
            links: 1,
            xattrs: Vec::new(),
        }
    }

    fn fits(request: &FindRequest, path: &str, entry: &Entry) -> bool {
        Matcher::new(request).unwrap().fits(path.as_bytes(), entry)
    }

    fn named(pattern: &str, path: &str) -> bool {
        let request = FindRequest { patterns: vec![pattern.to_owned()], ..FindRequest::default() };
        fits(&request, path, &file(path.rsplit('/').next().unwrap(), 3))
    }

    #[test]
    fn patterns_for_names_and_paths() {
        assert!(named("notes.txt", "/home/ada/notes.txt"));
        assert!(named("*.txt", "/home/ada/notes.txt"));
        assert!(!named("*.txt", "/home/ada.txt/notes"));
        assert!(named("/home/*/notes.txt", "/home/ada/notes.txt"));
        assert!(!named("/home/*", "/home/ada/notes.txt"));
        assert!(named("/home/**", "/home/ada/notes.txt"));
        assert!(named("ada/*.txt", "/home/ada/notes.txt"));
        assert!(!named("home/*.txt", "/home/ada/notes.txt"));
        assert!(!named("notes.txt/", "/home/ada/notes.txt"), "it is no directory");
        assert!(!named("NOTES.*", "/home/ada/notes.txt"));
    }

    #[test]
    fn case_size_and_time() {
        let entry = file("Notes", 10);
        let any = FindRequest::default();
        assert!(fits(&any, "/Notes", &entry));
        let patterns = vec!["nOTES".to_owned()];
        assert!(fits(&FindRequest { patterns, ignore_case: true, ..any.clone() }, "/Notes", &entry));
        for (size_min, size_max, expected) in
            [(Some(10), Some(10), true), (Some(11), None, false), (None, Some(9), false)]
        {
            assert_eq!(fits(&FindRequest { size_min, size_max, ..any.clone() }, "/Notes", &entry), expected);
        }
        let at = |seconds, nanoseconds| Some(Time { seconds, nanoseconds });
        assert!(fits(&FindRequest { modified_from: at(100, 5), ..any.clone() }, "/Notes", &entry));
        assert!(!fits(&FindRequest { modified_from: at(100, 6), ..any.clone() }, "/Notes", &entry));
        assert!(!fits(&FindRequest { modified_to: at(100, 4), ..any.clone() }, "/Notes", &entry));
        let directory =
            Entry { node: Node::Directory { pages: Vec::new(), files: 0, bytes: 0 }, ..file("d", 0) };
        assert!(!fits(&FindRequest { size_max: Some(100), ..any.clone() }, "/d", &directory));
        let patterns = vec!["d/".to_owned()];
        assert!(fits(&FindRequest { patterns, ..any }, "/d", &directory));
    }

    #[test]
    fn a_bad_pattern_is_refused_in_words() {
        for pattern in ["", "/", "[a", "a\\"] {
            let request = FindRequest { patterns: vec![pattern.to_owned()], ..FindRequest::default() };
            let text = Matcher::new(&request).err().unwrap().to_string();
            assert!(text.starts_with("the pattern"), "{text}");
        }
    }
}
