//! Vault objects made by hand: what no honest program writes, and whoever has the write key could.

use std::sync::Arc;

use backup::{Compression, Snapshot, Vault};
use bytes::Bytes;
use content::directory::{self, SegmentChunks};
use content::envelope::{DIRECTORY_NUMBER, DataKey, Place, Purpose};
use content::segment::{Grain, Sealer};
use content::tree::{Entry, FileContent, Node, Owner, PageWriter, Time};
use content::{Address, ChunkId};
use vault::pack::{PackAssembler, PackKind};
use vault::snapshot::PackNeed;
use vault::{PackId, SegmentSet};

/// A pack that is being filled, one segment for each push.
pub struct Pack {
    vault: Arc<Vault>,
    id: PackId,
    kind: PackKind,
    key: DataKey,
    envelope: Bytes,
    sealed: Vec<Bytes>,
    chunks: Vec<SegmentChunks>,
}

impl Pack {
    pub fn new(vault: &Arc<Vault>, kind: PackKind) -> Self {
        let id = PackId::new(content::random::identity());
        let place = Place { vault: vault.id(), id: *id.bytes(), purpose: Purpose::from(kind) };
        let (key, envelope) = DataKey::generate(vault.keyring().current(), place).unwrap();
        Self { vault: vault.clone(), id, kind, key, envelope, sealed: Vec::new(), chunks: Vec::new() }
    }

    /// Where the next segment will be.
    pub fn next(&self, length: u32) -> Address {
        Address { pack: self.id, segment: self.sealed.len() as u32, offset: 0, length }
    }

    pub fn push(&mut self, raw: &[u8]) -> Address {
        let id = self.vault.keyring().identifier().identify(raw);
        self.push_as(raw, id)
    }

    /// Says that the chunk has this id.
    pub fn push_as(&mut self, raw: &[u8], id: ChunkId) -> Address {
        let address = self.next(raw.len() as u32);
        let mut sealer = Sealer::new(Compression::Default);
        self.sealed.push(sealer.seal(raw, Grain::Fine, &self.key, address.segment).unwrap());
        self.chunks.push(vec![(id, address.length)]);
        address
    }

    /// A page with these entries.
    pub fn page(&mut self, entries: &[Entry]) -> Address {
        let raw = encode(&self.vault, entries);
        self.push(&raw)
    }

    pub fn store(self) -> PackNeed {
        let mut assembler = PackAssembler::new(self.kind, self.vault.id(), self.id);
        let mut segments = SegmentSet::default();
        for (number, sealed) in self.sealed.into_iter().enumerate() {
            assembler.push(sealed);
            segments.insert(number as u32);
        }
        let raw = directory::encode(&self.chunks);
        let mut sealer = Sealer::new(Compression::Default);
        let sealed = sealer.seal(&raw, Grain::Fine, &self.key, DIRECTORY_NUMBER).unwrap();
        let finished = assembler.finish(self.vault.keyring().current().number(), self.envelope, sealed);
        let name = finished.hash.pack_name();
        let put = self.vault.store().put(&name, finished.parts);
        self.vault.wait(put).unwrap();
        PackNeed { pack: self.id, object: finished.hash, segments }
    }
}

/// A page's bytes, whatever its entries.
pub fn encode(vault: &Arc<Vault>, entries: &[Entry]) -> Vec<u8> {
    let sizes = vault.descriptor().chunk_sizes;
    let cutter = content::cut::Cutter::new(vault.keyring().cutting_key(), sizes);
    let mut writer = PageWriter::new();
    for entry in entries {
        writer.push(entry, &cutter);
    }
    writer.finish()
}

pub fn entry(name: &[u8], node: Node) -> Entry {
    Entry {
        name: name.to_vec(),
        node,
        mode: 0o755,
        owner: Arc::new(Owner::default()),
        modified: Time { seconds: 1_000_000_000, nanoseconds: 5 },
        changed: Time::default(),
        inode: 0,
        device: 0,
        links: 1,
        xattrs: Vec::new(),
    }
}

pub fn file(name: &[u8], chunks: &[Address]) -> Entry {
    let size = chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
    let content = FileContent::Chunks(chunks.to_vec());
    entry(name, Node::File { size, content, holes: Vec::new(), changing: false })
}

pub fn folder(name: &[u8], pages: &[Address]) -> Entry {
    entry(name, Node::Directory { pages: pages.to_vec(), files: 0, bytes: 0 })
}

pub fn link(name: &[u8], target: &std::path::Path) -> Entry {
    entry(name, Node::Symlink { target: crate::bytes(target) })
}

/// A snapshot like `honest`, with a root that has these pages.
pub fn snapshot(honest: &Snapshot, mut tree: Pack, pages: &[Address], data: Vec<PackNeed>) -> Arc<Snapshot> {
    let mut snapshot = honest.clone();
    snapshot.body.root = tree.page(&[folder(b"", pages)]);
    snapshot.body.paths = vec![b"/".to_vec()];
    snapshot.envelope.needs = data;
    snapshot.envelope.needs.push(tree.store());
    Arc::new(snapshot)
}
