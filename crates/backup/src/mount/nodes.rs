//! What the kernel knows of the trees: each thing it looked up, until it forgets it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use content::tree::Entry;
use vault::SnapshotId;

/// What a thing's identity in the mount follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key([u8; 16]);

impl Key {
    /// A snapshot's top.
    pub(super) fn snapshot(id: SnapshotId) -> Self {
        Self::of(&[b"snapshot", id.bytes()])
    }

    /// Something in a directory. All names of a file with several have the same key.
    fn child(snapshot: SnapshotId, directory: Key, entry: &Entry) -> Self {
        if entry.is_hard_linked() {
            let (device, inode) = (entry.device.to_le_bytes(), entry.inode.to_le_bytes());
            return Self::of(&[b"linked", snapshot.bytes(), &device, &inode]);
        }
        Self::of(&[b"child", &directory.0, &entry.name])
    }

    fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        parts.iter().for_each(|part| {
            hasher.update(part);
        });
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        Self(key)
    }

    /// The inode number it should have: far above those of the folders above the snapshots.
    fn number(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h]) >> 2 | 1 << 62
    }
}

/// One thing in a snapshot.
#[derive(Debug)]
pub(super) struct Node {
    /// Its inode number.
    pub number: u64,
    /// The inode number of the directory it is in (of one of them).
    pub parent: u64,
    /// Its identity.
    pub key: Key,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// What it is.
    pub entry: Entry,
}

struct Known {
    node: Arc<Node>,
    lookups: u64,
}

/// All things that the kernel knows.
#[derive(Default)]
pub(super) struct Nodes {
    known: Mutex<HashMap<u64, Known>>,
}

impl Nodes {
    fn known(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has this inode number.
    pub(super) fn get(&self, number: u64) -> Option<Arc<Node>> {
        self.known().get(&number).map(|known| known.node.clone())
    }

    /// The node of an entry of a directory, not yet counted as known.
    pub(super) fn make(&self, directory: &Node, entry: Entry) -> Node {
        let key = Key::child(directory.snapshot, directory.key, &entry);
        let number = free_number(&self.known(), key);
        Node { number, parent: directory.number, key, snapshot: directory.snapshot, entry }
    }

    /// The kernel learns of a node. Its number may change if another thread was faster with another of the same
    /// number, so what is returned is what counts.
    pub(super) fn remember(&self, node: Node) -> Arc<Node> {
        let mut known = self.known();
        let number = free_number(&known, node.key);
        let entry = known
            .entry(number)
            .or_insert_with(|| Known { node: Arc::new(Node { number, ..node }), lookups: 0 });
        entry.lookups += 1;
        entry.node.clone()
    }

    /// The kernel takes back so many of its lookups.
    pub(super) fn forget(&self, number: u64, lookups: u64) {
        let mut known = self.known();
        if let Some(entry) = known.get_mut(&number) {
            entry.lookups = entry.lookups.saturating_sub(lookups);
            if entry.lookups == 0 {
                known.remove(&number);
            }
        }
    }
}

/// The number of a key: the one that follows from it, or the next one that nothing else has.
fn free_number(known: &HashMap<u64, Known>, key: Key) -> u64 {
    let mut number = key.number();
    while known.get(&number).is_some_and(|known| known.node.key != key) {
        number += 1;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use content::tree::{Node as EntryNode, Time};

    fn entry(name: &str, links: u64) -> Entry {
        Entry {
            name: name.as_bytes().to_vec(),
            node: EntryNode::Fifo,
            mode: 0,
            owner: Arc::default(),
            modified: Time::default(),
            changed: Time::default(),
            inode: 7,
            device: 0,
            links,
            xattrs: Vec::new(),
        }
    }

    fn directory() -> Node {
        let snapshot = SnapshotId::default();
        Node { number: 1, parent: 1, key: Key::snapshot(snapshot), snapshot, entry: entry("d", 1) }
    }

    #[test]
    fn numbers_follow_from_paths_and_names_of_one_file_share_theirs() {
        let nodes = Nodes::default();
        let number = |name, links| nodes.make(&directory(), entry(name, links)).number;
        assert_eq!(number("a", 1), number("a", 1));
        assert_ne!(number("a", 1), number("b", 1));
        assert_eq!(number("a", 2), number("b", 2));
        assert!(number("a", 1) >= 1 << 62);
    }

    #[test]
    fn two_things_never_share_a_number() {
        let nodes = Nodes::default();
        let first = nodes.remember(nodes.make(&directory(), entry("a", 1)));
        let mut other = nodes.make(&directory(), entry("b", 1));
        // As if the hash of another path were the same in its first eight bytes.
        other.key = Key(std::array::from_fn(|n| first.key.0[n] ^ u8::from(n == 15)));
        let other = nodes.remember(other);
        assert_eq!(other.number, first.number + 1);
        assert_eq!(nodes.get(first.number).unwrap().entry.name, b"a");
        assert_eq!(nodes.get(other.number).unwrap().entry.name, b"b");
    }

    #[test]
    fn what_is_forgotten_as_often_as_it_was_looked_up_is_gone() {
        let nodes = Nodes::default();
        let number = nodes.remember(nodes.make(&directory(), entry("a", 1))).number;
        nodes.remember(nodes.make(&directory(), entry("a", 1)));
        nodes.forget(number, 1);
        assert!(nodes.get(number).is_some());
        nodes.forget(number, 1);
        assert!(nodes.get(number).is_none());
        nodes.forget(number, 1);
    }
}
