//! Finding who suffers from what is lost: a walk from the roots, only where the graph leads to something lost.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use content::Address;
use content::tree::{FileContent, Node, decode_extents, decode_page};
use vault::check::{AFFECTS_MAX, Loss};
use vault::{PackId, SnapshotId};

use super::Ledger;
use super::graph::{Graph, Run};
use crate::repair::LostFile;
use crate::tree_walk::join;
use crate::{Error, Progress, Reader, Snapshot, SnapshotList, Vault};

/// How many opened bytes are kept.
const CACHE: usize = 16 << 20;

struct Search<'a> {
    reader: Arc<Reader>,
    graph: &'a Graph,
    losses: HashMap<PackId, Vec<&'a Loss>>,
    /// Whether a page, or one below it, has to do with something lost.
    marked: Vec<bool>,
    /// What each finding affects; those with enough are left alone.
    affects: HashMap<usize, Vec<String>>,
    /// Everything that is affected, if somebody wants to know all of it.
    all: Option<BTreeSet<LostFile>>,
    progress: &'a Progress,
}

impl<'a> Search<'a> {
    /// A search for what has to do with these losses and with pages that have something wrong.
    fn new(vault: &Arc<Vault>, graph: &'a Graph, losses: &'a [Loss], progress: &'a Progress) -> Self {
        let mut by_pack: HashMap<PackId, Vec<&Loss>> = HashMap::new();
        for loss in losses {
            by_pack.entry(loss.pack).or_default().push(loss);
        }
        let mut affects: HashMap<usize, Vec<String>> =
            losses.iter().map(|loss| (loss.finding, Vec::new())).collect();
        affects.extend((0..graph.len() as u32).filter_map(|page| Some((graph.trouble(page)?, Vec::new()))));
        let reader = Reader::uncached(vault, CACHE);
        let mut search =
            Self { reader, graph, losses: by_pack, marked: Vec::new(), affects, all: None, progress };
        search.mark();
        search
    }
}

/// Every file of every snapshot that is affected, and every directory that cannot be read.
pub(super) fn all(
    vault: &Arc<Vault>,
    list: &SnapshotList,
    graph: &Graph,
    ledger: &Ledger,
    progress: &Progress,
) -> Result<Vec<LostFile>, Error> {
    progress.set_stage("finding what is affected");
    let mut search = Search::new(vault, graph, &ledger.losses, progress);
    search.all = Some(BTreeSet::new());
    for snapshot in &list.snapshots {
        search.snapshot(snapshot)?;
    }
    Ok(search.all.unwrap_or_default().into_iter().collect())
}

/// Names snapshots and paths in the findings.
pub(super) fn find(
    vault: &Arc<Vault>,
    list: &SnapshotList,
    graph: &Graph,
    ledger: &mut Ledger,
    progress: &Progress,
) -> Result<(), Error> {
    progress.set_stage("finding what is affected");
    let mut search = Search::new(vault, graph, &ledger.losses, progress);
    // The newest first: that is the one somebody will want back.
    for snapshot in list.snapshots.iter().rev() {
        if search.affects.values().all(|places| places.len() >= AFFECTS_MAX) {
            break;
        }
        search.snapshot(snapshot)?;
    }
    let Search { affects, .. } = search;
    for (finding, mut places) in affects {
        let Some(finding) = ledger.findings.get_mut(finding) else { continue };
        // A snapshot that is known to suffer and has no path here has lost the way to it.
        for short in std::mem::take(&mut finding.affects) {
            let is_named = |place: &String| place.split(':').next() == Some(&short);
            if !places.iter().any(is_named) {
                places.push(short);
            }
        }
        places.into_iter().for_each(|place| finding.affect(place));
    }
    Ok(())
}

impl Search<'_> {
    /// Marks pages with something lost in them, and then all that lead to those.
    fn mark(&mut self) {
        let is_marked = |page: u32| {
            let own = self.graph.segment_of(page);
            self.graph.trouble(page).is_some()
                || own.iter().chain(self.graph.runs(page)).any(|run| self.touches(*run))
        };
        let mut marked: Vec<bool> = (0..self.graph.len() as u32).map(is_marked).collect();
        // Most children have higher numbers than their parents, so that one round backwards does nearly all.
        loop {
            let mut changed = false;
            for page in (0..marked.len()).rev() {
                let leads = || {
                    let mut children = self.graph.children(page as u32).iter();
                    children.any(|child| marked.get(*child as usize).copied().unwrap_or_default())
                };
                if !marked.get(page).copied().unwrap_or_default() && leads() {
                    changed = true;
                    if let Some(mark) = marked.get_mut(page) {
                        *mark = true;
                    }
                }
            }
            if !changed {
                break;
            }
        }
        self.marked = marked;
    }

    fn touches(&self, run: Run) -> bool {
        let losses = self.graph.pack(run.pack).and_then(|pack| self.losses.get(&pack));
        losses.is_some_and(|losses| {
            let segments = run.first..run.first.saturating_add(run.count);
            losses.iter().any(|loss| match &loss.segments {
                None => true,
                Some(lost) => segments.clone().any(|segment| lost.contains(segment)),
            })
        })
    }

    fn is_marked(&self, page: &Address) -> bool {
        let page = self.graph.find(page);
        page.is_some_and(|page| self.marked.get(page as usize).copied().unwrap_or_default())
    }

    fn snapshot(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        for need in &snapshot.envelope.needs {
            self.reader.learn(need.pack, need.object, &need.segments)?;
        }
        let mut waiting = vec![(Vec::new(), snapshot.body.root)];
        while let Some((path, page)) = waiting.pop() {
            self.progress.checkpoint()?;
            if !self.is_marked(&page) {
                continue;
            }
            self.page(snapshot.id, &path, &page);
            let Ok(entries) = self.reader.chunk(&page).map(|bytes| decode_page(&bytes).unwrap_or_default())
            else {
                continue;
            };
            for entry in entries {
                // The root's own entry has no name.
                let path = if entry.name.is_empty() { b"/".to_vec() } else { join(&path, &entry.name) };
                match entry.node {
                    Node::Directory { pages, .. } => {
                        waiting.extend(pages.into_iter().rev().map(|page| (path.clone(), page)));
                    }
                    Node::File { content: FileContent::Chunks(chunks), .. } => {
                        self.file(snapshot.id, &path, &chunks);
                    }
                    Node::File { content: FileContent::Extents(pages), .. } => {
                        for page in
                            pages.iter().filter(|page| self.is_marked(page)).copied().collect::<Vec<_>>()
                        {
                            self.page(snapshot.id, &path, &page);
                            let Ok(bytes) = self.reader.chunk(&page) else { continue };
                            self.file(snapshot.id, &path, &decode_extents(&bytes).unwrap_or_default());
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// A page that is part of what is at `path`.
    fn page(&mut self, snapshot: SnapshotId, path: &[u8], page: &Address) {
        if let Some(finding) = self.graph.find(page).and_then(|page| self.graph.trouble(page)) {
            self.affect(finding, snapshot, path);
        }
        self.file(snapshot, path, std::slice::from_ref(page));
    }

    /// Names a path for each loss that one of its chunks is part of.
    fn file(&mut self, snapshot: SnapshotId, path: &[u8], chunks: &[Address]) {
        let mut findings = Vec::new();
        for chunk in chunks {
            for loss in self.losses.get(&chunk.pack).into_iter().flatten() {
                let concerns = loss.snapshot.is_none_or(|only| only == snapshot);
                let lost = loss.segments.as_ref().is_none_or(|lost| lost.contains(chunk.segment));
                if concerns && lost && !findings.contains(&loss.finding) {
                    findings.push(loss.finding);
                }
            }
        }
        findings.into_iter().for_each(|finding| self.affect(finding, snapshot, path));
    }

    fn affect(&mut self, finding: usize, snapshot: SnapshotId, path: &[u8]) {
        if let Some(all) = &mut self.all {
            let path = if path.is_empty() { b"/".to_vec() } else { path.to_vec() };
            all.insert(LostFile { snapshot, path });
        }
        let places = self.affects.entry(finding).or_default();
        if places.len() < AFFECTS_MAX {
            let path = if path.is_empty() { "/".into() } else { String::from_utf8_lossy(path) };
            let place = format!("{}:{path}", snapshot.short());
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
}
