//! Walking the trees of all snapshots, each distinct page once.
//!
//! Snapshots share most of their pages. So what a page refers to is kept in a graph, as runs of neighbouring segments
//! (a few bytes for each page, nothing for a chunk), and only pages that no earlier snapshot had are read. Whether a
//! snapshot's envelope names every segment that its tree uses is then a walk over the graph, in memory.

use std::collections::HashMap;
use std::sync::Arc;

use content::Address;
use content::tree::{Entry, FileContent, Node, decode_extents, decode_page};
use vault::check::{Finding, Loss, Severity};
use vault::segments::SegmentSet;
use vault::{ObjectHash, PackId};

use super::graph::{Begun, Graph, Kind, Run};
use super::lengths::Lengths;
use super::{Ledger, PACK_ADVICE, finding_of};
use crate::{Error, Progress, Reader, Snapshot, SnapshotList, Vault};

/// How many opened bytes are kept.
const CACHE: usize = 24 << 20;

struct Walk<'a> {
    reader: Arc<Reader>,
    lengths: Lengths,
    graph: Graph,
    ledger: &'a mut Ledger,
    progress: &'a Progress,
    /// Where the losses of each pack are in the ledger.
    losses: HashMap<PackId, Vec<usize>>,
    /// The loss of each pack with segments that could not be read here.
    unreadable: HashMap<PackId, usize>,
}

/// Walks all trees.
pub(super) fn walk(
    vault: &Arc<Vault>,
    list: &SnapshotList,
    ledger: &mut Ledger,
    progress: &Progress,
) -> Result<Graph, Error> {
    progress.set_stage("checking trees");
    let lengths = Lengths::read(vault, ledger, progress)?;
    let reader = Reader::uncached(vault, CACHE);
    let mut losses: HashMap<PackId, Vec<usize>> = HashMap::new();
    for (place, loss) in ledger.losses.iter().enumerate() {
        losses.entry(loss.pack).or_default().push(place);
    }
    let mut walk = Walk {
        reader,
        lengths,
        graph: Graph::default(),
        ledger,
        progress,
        losses,
        unreadable: HashMap::new(),
    };
    for snapshot in &list.snapshots {
        walk.snapshot(snapshot)?;
    }
    Ok(walk.graph)
}

impl Walk<'_> {
    fn snapshot(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        for need in &snapshot.envelope.needs {
            self.reader.learn(need.pack, need.object, &need.segments)?;
        }
        let root = self.graph.page(&snapshot.body.root, Kind::Entries);
        let mut seen = vec![0u64; self.graph.len() / 64 + 1];
        let mut stack = vec![root];
        let mut needs = Needs::new(snapshot);
        while let Some(page) = stack.pop() {
            self.progress.checkpoint()?;
            let (word, bit) = (page as usize / 64, 1u64 << (page % 64));
            if word >= seen.len() {
                seen.resize(self.graph.len() / 64 + 1, 0);
            }
            match seen.get_mut(word) {
                Some(word) if *word & bit == 0 => *word |= bit,
                _ => continue,
            }
            if let Some((address, kind)) = self.graph.take_unread(page) {
                self.read(page, &address, kind)?;
            }
            let own = self.graph.segment_of(page);
            for run in self.graph.runs(page).iter().chain(&own) {
                needs.see(&self.graph, *run);
            }
            stack.extend(self.graph.children(page).iter().rev());
        }
        for page in self.graph.out_of_order() {
            self.page_trouble(page, "a page in it does not follow the one before in order".to_owned());
        }
        self.lacking(snapshot, needs);
        Ok(())
    }

    /// Reads a page and notes what it refers to.
    fn read(&mut self, page: u32, address: &Address, kind: Kind) -> Result<(), Error> {
        if let Some(finding) = self.known_loss(address.pack, address.segment) {
            self.graph.set_trouble(page, finding);
            return Ok(());
        }
        let bytes = match self.reader.chunk(address) {
            Ok(bytes) => bytes,
            Err(error) => return self.unreadable(page, address, error),
        };
        let begun = self.graph.begin();
        let listed = match kind {
            Kind::Entries => decode_page(&bytes).map(|entries| self.entries(page, &begun, &entries)),
            Kind::Extents => decode_extents(&bytes).map(|chunks| self.chunks(page, &begun, &chunks)),
        };
        self.graph.end(page, &begun);
        if let Err(malformed) = listed {
            self.page_trouble(
                page,
                format!("a page in segment {} is malformed: {malformed}", address.segment),
            );
        }
        Ok(())
    }

    fn entries(&mut self, page: u32, begun: &Begun, entries: &[Entry]) {
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            self.graph.keep_ends(page, &first.name, &last.name);
        }
        for entry in entries {
            match &entry.node {
                Node::File { content: FileContent::Chunks(chunks), .. } => self.chunks(page, begun, chunks),
                Node::File { content: FileContent::Extents(pages), .. } => {
                    self.pages(page, pages, Kind::Extents);
                }
                Node::Directory { pages, .. } => self.pages(page, pages, Kind::Entries),
                _ => {}
            }
        }
        self.progress.add_files(entries.len() as u64);
    }

    fn chunks(&mut self, page: u32, begun: &Begun, chunks: &[Address]) {
        for address in chunks {
            self.bounds(page, address);
            self.graph.add_chunk(begun, address);
        }
    }

    fn pages(&mut self, page: u32, addresses: &[Address], kind: Kind) {
        addresses.iter().for_each(|address| self.bounds(page, address));
        self.graph.add_pages(addresses, kind);
    }

    /// Sees that an address lies within its segment.
    fn bounds(&mut self, page: u32, address: &Address) {
        if !self.lengths.hold(address) {
            let Address { pack, segment, .. } = address;
            let message =
                format!("a page in it refers to bytes beyond the end of segment {segment} of pack {pack}");
            self.page_trouble(page, message);
        }
    }

    /// Something is wrong with what a page says.
    fn page_trouble(&mut self, page: u32, message: String) {
        if self.graph.trouble(page).is_some() {
            return;
        }
        let pack = self.graph.segment_of(page).and_then(|run| self.graph.pack(run.pack));
        let object = match pack.map(|pack| self.reader.pack(pack)) {
            Some(Ok(open)) => open.object.pack_name(),
            _ => pack.map(|pack| format!("pack {pack}")).unwrap_or_default(),
        };
        let advice = "back the files up again with --force-read, and report this: the program that wrote it is at fault";
        let finding = self.ledger.findings.add(Finding::new(Severity::Damage, object, message, advice));
        if let Some(finding) = finding {
            self.graph.set_trouble(page, finding);
        }
    }

    /// The finding by which a segment is lost, if it is.
    fn known_loss(&self, pack: PackId, segment: u32) -> Option<usize> {
        let losses = self.losses.get(&pack)?.iter().filter_map(|place| self.ledger.losses.get(*place));
        let mut lost = losses.filter(|loss| {
            loss.snapshot.is_none() && loss.segments.as_ref().is_none_or(|set| set.contains(segment))
        });
        lost.next().map(|loss| loss.finding)
    }

    /// A page cannot be read, and so nothing else of its segment. One finding for each pack.
    fn unreadable(&mut self, page: u32, address: &Address, error: Error) -> Result<(), Error> {
        let finding = finding_of(error, PACK_ADVICE)?;
        let known = self.unreadable.get(&address.pack).copied();
        if let Some(loss) = known.and_then(|place| self.ledger.losses.get_mut(place)) {
            if let Some(segments) = &mut loss.segments {
                segments.insert(address.segment);
            }
            self.graph.set_trouble(page, loss.finding);
            return Ok(());
        }
        let object = ObjectHash::from_object_name(finding.object.split(',').next().unwrap_or_default());
        let segments = Some([address.segment].into_iter().collect());
        let lost = [(address.pack, segments)];
        if let Some(finding) = self.ledger.lose(finding, &lost, object.unwrap_or_default()) {
            let place = self.ledger.losses.len() - 1;
            self.unreadable.insert(address.pack, place);
            self.losses.entry(address.pack).or_default().push(place);
            self.graph.set_trouble(page, finding);
        }
        Ok(())
    }

    /// Says that a snapshot uses what its envelope does not name.
    fn lacking(&mut self, snapshot: &Snapshot, needs: Needs<'_>) {
        let Some((pack, segments)) = needs.lacking.first() else { return };
        let first = segments.iter().next().unwrap_or_default();
        let count: usize = needs.lacking.iter().map(|(_, segments)| segments.len()).sum();
        let message = format!(
            "its list of what it needs lacks {count} segments that its files are in, such as segment {first} of pack {pack}"
        );
        let advice = "back the same files up again, and report this: the program that wrote it is at fault";
        let mut finding = Finding::new(Severity::Damage, snapshot.id.snapshot_name(), message, advice);
        finding.affect(snapshot.id.short());
        let Some(finding) = self.ledger.findings.add(finding) else { return };
        let (object, snapshot) = (ObjectHash::default(), Some(snapshot.id));
        let loss = |(pack, segments)| Loss { pack, object, segments: Some(segments), finding, snapshot };
        self.ledger.losses.extend(needs.lacking.into_iter().map(loss));
    }
}

/// What a snapshot says it needs, and what it uses besides.
struct Needs<'a> {
    packs: HashMap<PackId, &'a SegmentSet>,
    lacking: Vec<(PackId, SegmentSet)>,
}

impl<'a> Needs<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        let packs = snapshot.envelope.needs.iter().map(|need| (need.pack, &need.segments)).collect();
        Self { packs, lacking: Vec::new() }
    }

    fn see(&mut self, graph: &Graph, run: Run) {
        let Some(pack) = graph.pack(run.pack) else { return };
        let named = self.packs.get(&pack);
        for segment in run.first..run.first.saturating_add(run.count) {
            if named.is_some_and(|named| named.contains(segment)) {
                continue;
            }
            match self.lacking.iter_mut().find(|(known, _)| *known == pack) {
                Some((_, segments)) => {
                    segments.insert(segment);
                }
                None => self.lacking.push((pack, [segment].into_iter().collect())),
            }
        }
    }
}
