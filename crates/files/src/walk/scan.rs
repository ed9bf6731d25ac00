//! Scanning one folder: opening it, listing and sorting its names, and looking at a batch of them.

use std::ffi::CStr;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use super::plan::{Plan, Scope};
use super::{Counts, WalkOptions, lookahead::Ticket, names::Names};
use crate::platform;
use crate::rules::{CACHE_TAG_NAME, CACHE_TAG_SIGNATURE};
use crate::source::{SourceFolder, may_hide_access};
use crate::stat::{Kind, Stat};

/// A scan to be done.
#[derive(Debug)]
pub(crate) enum Work {
    /// Open and list a folder, and look at its first entries.
    Open {
        parent: Arc<SourceFolder>,
        /// Empty: `parent` itself, which is the top.
        name: Vec<u8>,
        uid: u32,
        device: u64,
        scope: Scope,
    },
    /// Look at the entries from this one on.
    More { listing: Arc<Listing>, from: usize },
}

impl Work {
    /// The folder that is already open for this.
    pub fn parent(&self) -> Arc<SourceFolder> {
        match self {
            Work::Open { parent, .. } => parent.clone(),
            Work::More { listing, .. } => listing.folder.clone(),
        }
    }
}

/// An open folder with its sorted names.
#[derive(Debug)]
pub(crate) struct Listing {
    folder: Arc<SourceFolder>,
    names: Names,
    scope: Scope,
    device: u64,
}

/// What a scan found, before it has its place among all the work.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub batch: Batch,
    /// Scans of the directories among the items, with the item's index.
    pub contents: Vec<(usize, Work)>,
    /// The scan of the entries after these.
    pub rest: Option<Work>,
}

impl Found {
    /// What is found when the folder cannot be scanned at all.
    pub fn failed(why: &str) -> Found {
        let batch = Batch { error: Some(io::Error::other(why)), ..Batch::default() };
        Found { batch, ..Found::default() }
    }
}

/// Entries of one folder, in order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The folder; `None` when it could not be opened.
    pub folder: Option<Arc<SourceFolder>>,
    pub items: Vec<Scanned>,
    pub rest: Option<Ticket>,
    /// Why the folder could not be opened, or not be listed to the end.
    pub error: Option<io::Error>,
    /// The folder is not there any more, so it should not be shown at all.
    pub vanished: bool,
}

/// One name that was looked at.
#[derive(Debug)]
pub(crate) enum Scanned {
    /// It is there. `contents` finds what is in a directory; `None` shows it empty.
    Thing { name: Vec<u8>, stat: Stat, contents: Option<Ticket> },
    /// Its numbers could not be had.
    Problem { name: Vec<u8>, error: io::Error },
}

/// Does scans, on any thread.
#[derive(Debug)]
pub(crate) struct Scanner {
    options: WalkOptions,
    open_folders: Arc<AtomicUsize>,
    stop: AtomicBool,
    excluded: AtomicU64,
    emptied: AtomicU64,
    mounts: AtomicU64,
}

impl Scanner {
    /// A scanner, the scan of the top of the tree, and the top's numbers.
    pub fn start(options: WalkOptions, plan: &Arc<Plan>) -> io::Result<(Scanner, Work, Stat)> {
        let handle = platform::open_top()?;
        let stat = platform::stat_open(&handle)?;
        let scanner = Scanner {
            options: WalkOptions { batch: options.batch.max(1), ..options },
            open_folders: Arc::default(),
            stop: AtomicBool::new(false),
            excluded: AtomicU64::new(0),
            emptied: AtomicU64::new(0),
            mounts: AtomicU64::new(0),
        };
        let work = Work::Open {
            parent: SourceFolder::new(handle, None, Vec::new(), scanner.open_folders.clone()),
            name: Vec::new(),
            uid: stat.uid,
            device: stat.device,
            scope: Scope::of(plan),
        };
        Ok((scanner, work, stat))
    }

    /// How many folders are open now.
    pub fn open_folders(&self) -> usize {
        self.open_folders.load(Ordering::Relaxed)
    }

    /// Ends scans under way early; what they give is not used any more.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// What was left out so far.
    pub fn counts(&self) -> Counts {
        Counts {
            excluded: self.excluded.load(Ordering::Relaxed),
            emptied: self.emptied.load(Ordering::Relaxed),
            mounts: self.mounts.load(Ordering::Relaxed),
        }
    }

    /// Does one scan.
    pub fn scan(&self, work: Work) -> Found {
        match work {
            Work::Open { parent, name, uid, device, scope } => {
                let mut error = None;
                match self.list(&parent, name, uid, device, scope, &mut error) {
                    Some(listing) => {
                        let mut found = self.look(&Arc::new(listing), 0);
                        found.batch.error = error;
                        found
                    }
                    None => Found {
                        batch: Batch {
                            vanished: error.as_ref().is_some_and(|e| e.kind() == io::ErrorKind::NotFound),
                            error,
                            ..Batch::default()
                        },
                        ..Found::default()
                    },
                }
            }
            Work::More { listing, from } => self.look(&listing, from),
        }
    }

    /// Opens a folder and lists its names. `None` when it cannot be opened.
    fn list(
        &self,
        parent: &Arc<SourceFolder>,
        name: Vec<u8>,
        uid: u32,
        device: u64,
        mut scope: Scope,
        error: &mut Option<io::Error>,
    ) -> Option<Listing> {
        let own_name = if name.is_empty() { b"." } else { &name[..] };
        let opened = match &scope {
            Scope::All(_) => platform::open_folder(parent.handle(), own_name, may_hide_access(uid)),
            Scope::Only(_) => platform::open_place(parent.handle(), own_name),
        };
        let handle = match opened {
            Ok(handle) => handle,
            Err(problem) => {
                *error = Some(problem);
                // What is planned below may be reachable even so.
                scope = Scope::Only(with_children(&scope)?.clone());
                platform::open_place(parent.handle(), own_name).ok()?
            }
        };
        let above = (!name.is_empty()).then(|| parent.clone());
        let folder = SourceFolder::new(handle, above, name, self.open_folders.clone());
        let mut names = Names::default();
        if let Scope::All(_) = scope {
            let mut full = Ok(());
            let listed = platform::list(folder.handle(), |name, kind| {
                if full.is_ok() {
                    full = names.push(name, kind);
                }
            });
            if let Err(problem) = listed.and(full) {
                *error = Some(problem);
            }
            names.sort();
            if self.is_marked(&folder, &names) {
                self.emptied.fetch_add(1, Ordering::Relaxed);
                names = Names::default();
                if let Some(plan) = with_children(&scope) {
                    scope = Scope::Only(plan.clone());
                }
            }
        }
        if let Scope::Only(plan) = &scope {
            for name in plan.children.keys() {
                if let Err(problem) = names.push(name, None) {
                    *error = Some(problem);
                }
            }
            names.sort();
        }
        Some(Listing { folder, names, scope, device })
    }

    /// Whether a marker file or a cache tag says that the folder's contents are not to be kept.
    fn is_marked(&self, folder: &SourceFolder, names: &Names) -> bool {
        let rules = &self.options.rules;
        rules.markers().any(|marker| names.contains(marker))
            || (rules.excludes_caches() && names.contains(CACHE_TAG_NAME) && has_cache_tag(folder))
    }

    /// Looks at one batch of a folder's names.
    fn look(&self, listing: &Arc<Listing>, from: usize) -> Found {
        let to = listing.names.len().min(from.saturating_add(self.options.batch));
        let mut found = Found::default();
        found.batch.items.reserve_exact(to - from);
        let mut path = Vec::new();
        if self.options.rules.has_patterns() {
            path = listing.folder.path_bytes();
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
        }
        for place in from..to {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let (name, kind) = listing.names.get(place);
            self.look_at(listing, name, kind, &mut path, &mut found);
        }
        if to < listing.names.len() {
            found.rest = Some(Work::More { listing: listing.clone(), from: to });
        }
        found.batch.folder = Some(listing.folder.clone());
        found
    }

    /// Looks at one name, and notes it in `found` unless it is left out. `path` is the folder's.
    fn look_at(
        &self,
        listing: &Listing,
        name: &CStr,
        listed: Option<Kind>,
        path: &mut Vec<u8>,
        found: &mut Found,
    ) {
        let rules = &self.options.rules;
        let planned = listing.scope.planned(name.to_bytes());
        let shown_whole = matches!(listing.scope, Scope::All(_));
        let mut excluded_as = |kind: Kind| {
            if !shown_whole || !rules.has_patterns() {
                return false;
            }
            let length = path.len();
            path.extend_from_slice(name.to_bytes());
            let excluded = rules.excludes(path, kind == Kind::Directory);
            path.truncate(length);
            excluded
        };
        // Where the listing told the kind, what is excluded is not even looked at.
        let mut excluded = listed.is_some_and(&mut excluded_as);
        if excluded && planned.is_none() {
            self.excluded.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let stat = match platform::stat_at(listing.folder.handle(), name) {
            Ok(stat) => stat,
            Err(error) => {
                let name = name.to_bytes().to_vec();
                found.batch.items.push(Scanned::Problem { name, error });
                return;
            }
        };
        if listed != Some(stat.kind) {
            excluded = excluded_as(stat.kind);
        }
        let too_large = shown_whole && stat.kind == Kind::File && rules.excludes_size(stat.size);
        let skipped = stat.is_directory() && self.options.skip.contains(&(stat.device, stat.inode));
        if skipped || ((excluded || too_large) && planned.is_none()) {
            self.excluded.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if stat.is_directory()
            && let Some(scope) = self.scope_of(listing, name, &stat, excluded, planned)
        {
            let work = Work::Open {
                parent: listing.folder.clone(),
                name: name.to_bytes().to_vec(),
                uid: stat.uid,
                device: stat.device,
                scope,
            };
            found.contents.push((found.batch.items.len(), work));
        }
        let name = name.to_bytes().to_vec();
        found.batch.items.push(Scanned::Thing { name, stat, contents: None });
    }

    /// How much of a directory is shown; `None`: nothing.
    fn scope_of(
        &self,
        listing: &Listing,
        name: &CStr,
        stat: &Stat,
        excluded: bool,
        planned: Option<&Arc<Plan>>,
    ) -> Option<Scope> {
        if let Scope::Only(_) = listing.scope {
            return planned.map(Scope::of);
        }
        let closed = excluded || {
            let mounted = stat.device != listing.device
                && (self.options.one_file_system
                    || platform::is_virtual(listing.folder.handle(), name.to_bytes()).unwrap_or(false));
            self.mounts.fetch_add(u64::from(mounted), Ordering::Relaxed);
            mounted
        };
        if closed { planned.map(Scope::of) } else { Some(Scope::All(planned.cloned())) }
    }
}

/// The plan of a scope, if it plans anything below.
fn with_children(scope: &Scope) -> Option<&Arc<Plan>> {
    match scope {
        Scope::All(plan) => plan.as_ref().filter(|plan| !plan.children.is_empty()),
        // It is being shown that way already.
        Scope::Only(_) => None,
    }
}

/// Whether the folder's `CACHEDIR.TAG` is genuine. One that cannot be read is not.
fn has_cache_tag(folder: &SourceFolder) -> bool {
    let read = || -> io::Result<bool> {
        let file = platform::open_file(folder.handle(), CACHE_TAG_NAME, false)?;
        let mut start = [0; CACHE_TAG_SIGNATURE.len()];
        let mut length = 0;
        while length < start.len() {
            match platform::read_at(&file, length as u64, &mut start[length..])? {
                0 => break,
                count => length += count,
            }
        }
        Ok(start == *CACHE_TAG_SIGNATURE)
    };
    read().unwrap_or(false)
}
