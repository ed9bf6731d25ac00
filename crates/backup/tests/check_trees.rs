//! Checks of trees made by hand: what no backup run writes, and files too large for a test to make.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use backup::{CheckReport, Progress, ReadData, Reader, Severity, Snapshot, Vault, check, dump_file};
use bytes::Bytes;
use content::body::{Body, Statistics};
use content::cut::Cutter;
use content::directory::{self, SegmentChunks};
use content::envelope::{DIRECTORY_NUMBER, DataKey, Place, Purpose};
use content::segment::{Compression, Grain, Sealer};
use content::tree::{Entry, FileContent, Hole, Node, PageWriter, Time, encode_extents};
use content::{Address, ChunkId};
use store::MemoryStore;
use support::{create, latest};
use vault::fragment::PackRecord;
use vault::pack::{PackAssembler, PackKind};
use vault::snapshot::{Envelope, PackNeed};
use vault::{ObjectHash, PackId, SystemId};

/// Packs in which every chunk is in the only segment.
struct Handmade {
    vault: Arc<Vault>,
    needs: Vec<PackNeed>,
    _cache: tempfile::TempDir,
}

/// A pack that is being filled.
struct Filling {
    kind: PackKind,
    id: PackId,
    raw: Vec<u8>,
    chunks: SegmentChunks,
}

impl Filling {
    fn new(kind: PackKind, id: u8) -> Self {
        Self { kind, id: PackId::new([id; 16]), raw: Vec::new(), chunks: Vec::new() }
    }

    fn add(&mut self, identify: &dyn Fn(&[u8]) -> ChunkId, bytes: &[u8]) -> Address {
        let (offset, length) = (self.raw.len() as u32, bytes.len() as u32);
        self.raw.extend_from_slice(bytes);
        self.chunks.push((identify(bytes), length));
        Address { pack: self.id, segment: 0, offset, length }
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

fn entry(name: &str, node: Node) -> Entry {
    Entry {
        name: name.as_bytes().to_vec(),
        node,
        mode: 0o644,
        owner: Arc::default(),
        modified: Time { seconds: 5, nanoseconds: 0 },
        changed: Time::default(),
        inode: 0,
        device: 0,
        links: 1,
        xattrs: Vec::new(),
    }
}

fn file(name: &str, size: u64, content: FileContent) -> Entry {
    entry(name, Node::File { size, content, holes: Vec::new(), changing: false })
}

fn folder(name: &str, pages: Vec<Address>) -> Entry {
    entry(name, Node::Directory { pages, files: 0, bytes: 0 })
}

impl Handmade {
    fn new() -> Self {
        let cache = tempfile::tempdir().unwrap();
        let vault = create(Arc::new(MemoryStore::new()), cache.path());
        Self { vault, needs: Vec::new(), _cache: cache }
    }

    fn identify(&self) -> impl Fn(&[u8]) -> ChunkId + use<> {
        let identifier = self.vault.keyring().identifier();
        move |bytes| identifier.identify(bytes)
    }

    fn page(&self, entries: &[Entry]) -> Vec<u8> {
        let sizes = self.vault.descriptor().chunk_sizes;
        let cutter = Cutter::new(self.vault.keyring().cutting_key(), sizes);
        let mut page = PageWriter::new();
        entries.iter().for_each(|entry| {
            page.push(entry, &cutter);
        });
        page.finish()
    }

    fn store(&mut self, pack: Filling) {
        let keyring = self.vault.keyring();
        let place = Place { vault: self.vault.id(), id: *pack.id.bytes(), purpose: Purpose::from(pack.kind) };
        let (key, envelope) = DataKey::generate(keyring.current(), place).unwrap();
        let mut sealer = Sealer::new(Compression::Off);
        let mut assembler = PackAssembler::new(pack.kind, self.vault.id(), pack.id);
        assembler.push(sealer.seal(&pack.raw, Grain::Fine, &key, 0).unwrap());
        let listed = directory::encode(&[pack.chunks]);
        let listed = sealer.seal(&listed, Grain::Fine, &key, DIRECTORY_NUMBER).unwrap();
        let finished = assembler.finish(0, envelope, listed);
        let fragment = vault::fragment::encode(self.vault.id(), &[PackRecord::from(&finished)]);
        self.needs.push(PackNeed {
            pack: pack.id,
            object: finished.hash,
            segments: [0].into_iter().collect(),
        });
        let store = self.vault.store();
        wait(store.put(&finished.hash.pack_name(), finished.parts)).unwrap();
        wait(store.put(&ObjectHash::of(&fragment).index_name(), vec![fragment])).unwrap();
    }

    fn commit(&mut self, root: Address) -> Arc<Snapshot> {
        self.needs.sort_by_key(|need| need.pack);
        let body = Body {
            host: "host".into(),
            user: String::new(),
            program: String::new(),
            started: Time::default(),
            finished: Time::default(),
            paths: Vec::new(),
            tags: Vec::new(),
            options: Vec::new(),
            root,
            statistics: Statistics::default(),
            problems: Vec::new(),
        };
        let envelope = Envelope {
            vault: self.vault.id(),
            system: SystemId::new([1; 16]),
            job: [0; 16],
            sequence: 0,
            time: (7, 0),
            previous: ObjectHash::default(),
            files: 0,
            bytes: 0,
            needs: self.needs.clone(),
        };
        let keyring = self.vault.keyring();
        let place = Place { vault: envelope.vault, id: *envelope.system.bytes(), purpose: Purpose::Body };
        let (key, key_envelope) = DataKey::generate(keyring.current(), place).unwrap();
        let part: Bytes = Sealer::new(Compression::Off).seal(&body.encode(), Grain::Fine, &key, 0).unwrap();
        let signer = keyring.verifying_key();
        let mut bytes = vault::snapshot::encode_unsigned(&envelope, 0, &key_envelope, &[part], &signer);
        let signature = keyring.sign(vault::snapshot::SIGNING_CONTEXT, &bytes);
        bytes.extend_from_slice(&signature);
        let name = ObjectHash::of(&bytes).snapshot_name();
        wait(self.vault.store().put(&name, vec![bytes.into()])).unwrap();
        latest(&self.vault)
    }

    /// Stores a tree with these entries at its top and checks the vault.
    fn check(&mut self, mut tree: Filling, pages: &[Vec<Entry>]) -> (Arc<Snapshot>, CheckReport) {
        let identify = self.identify();
        let pages = pages.iter().map(|entries| tree.add(&identify, &self.page(entries))).collect();
        let root = tree.add(&identify, &self.page(&[folder("", pages)]));
        self.store(tree);
        let snapshot = self.commit(root);
        let report = check(&self.vault, ReadData::All, &Arc::new(Progress::new())).unwrap();
        (snapshot, report)
    }
}

/// The only finding, which names this path.
fn only(report: &CheckReport, snapshot: &Snapshot, path: &str) -> String {
    let [finding] = &report.findings[..] else { panic!("{:#?}", report.findings) };
    assert_eq!(finding.severity, Severity::Damage);
    assert_eq!(finding.affects, [format!("{}:{path}", snapshot.id.short())]);
    finding.message.clone()
}

#[test]
fn a_file_with_extent_pages_is_followed_to_its_chunks() {
    let mut made = Handmade::new();
    let identify = made.identify();
    let mut data = Filling::new(PackKind::Data, 1);
    let chunks: Vec<_> = (0..100u8).map(|n| data.add(&identify, &[n; 10])).collect();
    let mut tree = Filling::new(PackKind::Tree, 2);
    let extents = [&chunks[..60], &chunks[60..]].map(|part| tree.add(&identify, &encode_extents(part)));
    let holes = vec![Hole { offset: 5, length: 1000 }];
    let content = FileContent::Extents(extents.to_vec());
    let large = entry("large", Node::File { size: 2000, content, holes, changing: false });
    made.store(data);
    let (snapshot, report) = made.check(tree, &[vec![large.clone()]]);
    assert_eq!(report.findings, []);
    let reader = Reader::new(&made.vault, 1 << 20);
    reader.open(&snapshot).unwrap();
    let mut out = Vec::new();
    dump_file(&reader, &large, &mut out, &Progress::new()).unwrap();
    let content: Vec<u8> = (0..100u8).flat_map(|n| [n; 10]).collect();
    assert!(out == [&content[..5], &[0; 1000], &content[5..]].concat());

    // Its data is gone: the check says whose it was.
    let need = made.needs.iter().find(|need| need.pack == PackId::new([1; 16])).unwrap();
    wait(made.vault.store().delete(&need.object.pack_name())).unwrap();
    let report = check(&made.vault, ReadData::No, &Arc::new(Progress::new())).unwrap();
    assert_eq!(only(&report, &snapshot, "/large"), "it is missing");
}

#[test]
fn an_address_beyond_its_segment_is_found() {
    let mut made = Handmade::new();
    let identify = made.identify();
    let mut data = Filling::new(PackKind::Data, 1);
    let chunk = data.add(&identify, b"abcdef");
    made.store(data);
    let beyond = Address { offset: 3, length: 4, ..chunk };
    let entries = vec![
        file("good", 6, FileContent::Chunks(vec![chunk])),
        file("worse", 4, FileContent::Chunks(vec![beyond])),
    ];
    let (snapshot, report) = made.check(Filling::new(PackKind::Tree, 2), &[entries]);
    let message = only(&report, &snapshot, "/");
    assert!(message.contains("beyond the end of segment 0"), "{message}");
}

#[test]
fn pages_out_of_order_are_found() {
    for (names, is_good) in [(["a", "b"], true), (["b", "a"], false), (["a", "a"], false)] {
        let mut made = Handmade::new();
        let pages = names.map(|name| vec![entry(name, Node::Fifo), entry("z", Node::Fifo)]);
        let pages = [pages[0][..1].to_vec(), pages[1].clone()];
        let (snapshot, report) = made.check(Filling::new(PackKind::Tree, 2), &pages);
        if is_good {
            assert_eq!(report.findings, []);
        } else {
            let message = only(&report, &snapshot, "/");
            assert!(message.contains("in order"), "{message}");
        }
    }
}

#[test]
fn a_page_that_is_none_is_found() {
    let mut made = Handmade::new();
    let identify = made.identify();
    let mut tree = Filling::new(PackKind::Tree, 2);
    let nonsense = tree.add(&identify, b"no page at all");
    let (snapshot, report) = made.check(tree, &[vec![folder("broken", vec![nonsense])]]);
    let message = only(&report, &snapshot, "/broken");
    assert!(message.contains("malformed"), "{message}");
}

#[test]
fn a_tree_as_deep_as_nobody_expects_is_walked() {
    let mut made = Handmade::new();
    let identify = made.identify();
    let mut tree = Filling::new(PackKind::Tree, 2);
    let mut inner = entry("leaf", Node::Fifo);
    for _ in 0..20_000 {
        let page = tree.add(&identify, &made.page(&[inner]));
        inner = folder("d", vec![page]);
    }
    let (_, report) = made.check(tree, &[vec![inner]]);
    assert_eq!(report.findings, []);
}
