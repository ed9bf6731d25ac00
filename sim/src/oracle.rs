//! What must hold after every step, judged by how things truly are: a snapshot that was acknowledged is whole for as
//! long as it is in retention.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use vault::pack::verify_whole;
use vault::snapshot::PackNeed;
use vault::{ObjectHash, PackId, SnapshotId, name, relocation, trash};

use crate::objects::{Millis, Objects};
use crate::toy::{Spot, VAULT, contents_of};

/// A number that stands for a chunk of somebody's data.
pub type Content = u64;

/// A snapshot that somebody was told is safe.
#[derive(Debug)]
struct Promise {
    needs: Vec<PackNeed>,
    /// What has to be where.
    contents: Vec<(PackId, Spot, Content)>,
    /// It was in the trash for its whole time: it may go.
    expired: bool,
}

/// Knows what was promised.
#[derive(Debug, Default)]
pub struct Oracle {
    /// How long a forgotten snapshot can be brought back.
    pub delay: Millis,
    /// How much earlier than that it may go, since the store's times are only so good.
    pub slack: Millis,
    /// The first promise that was broken.
    pub violation: Option<String>,
    promises: BTreeMap<SnapshotId, Promise>,
    /// What is in pack objects, read once.
    packs: HashMap<String, HashMap<(PackId, Spot), Content>>,
    /// What relocations say, read once.
    relocations: BTreeMap<String, Vec<(PackId, ObjectHash)>>,
    /// Which snapshots a mark is for, and since when it is there.
    marks: BTreeMap<String, (Vec<SnapshotId>, Millis)>,
    /// What was ever stored where all may write, while there is a thief who could keep it.
    pub copies: BTreeMap<String, Bytes>,
    /// A thief was at work.
    pub was_robbed: bool,
    /// Objects of which somebody said what is not true.
    forged: HashSet<ObjectHash>,
    /// How often everything was looked at.
    pub looks: u64,
}

/// What a snapshot needs, and what has to be where.
pub type Expected<'a> = (&'a [PackNeed], &'a [(PackId, Spot, Content)]);

impl Oracle {
    /// Nothing is promised yet.
    pub fn new(delay: Millis, slack: Millis) -> Self {
        Self { delay, slack, ..Self::default() }
    }

    /// Something is about to change.
    pub fn before(&mut self, object: &str, now: Millis, _: &Objects) {
        if object.starts_with(name::TRASH) {
            self.note_expired(now);
        }
    }

    /// Something changed.
    pub fn after(&mut self, object: &str, now: Millis, objects: &Objects) {
        let current = objects.current(object);
        let is_public =
            [name::PACKS, name::INDEX, name::SNAPSHOTS].iter().any(|folder| object.starts_with(folder));
        let is_whole = |bytes: &Bytes| ObjectHash::from_object_name(object) == Some(ObjectHash::of(bytes));
        if let (true, Some(there)) = (is_public, current)
            && is_whole(&there.bytes)
        {
            self.copies.insert(object.to_owned(), there.bytes.clone());
        }
        if object.starts_with(name::PACKS) {
            match current {
                Some(there) if !self.packs.contains_key(object) => {
                    let contents = ObjectHash::from_object_name(object)
                        .and_then(|hash| verify_whole(&there.bytes, hash, VAULT).ok())
                        .map(|trailer| {
                            let contents = |row: &vault::pack::SegmentRow| {
                                let start = row.offset as usize;
                                let sealed = there.bytes.get(start..start + row.length as usize)?;
                                let pack = trailer.origins.get(row.origin as usize)?.pack;
                                let contents = contents_of(row.number, sealed);
                                Some(contents.map(move |(spot, content)| ((pack, spot), content)))
                            };
                            trailer.rows.iter().filter_map(contents).flatten().collect()
                        });
                    self.packs.insert(object.to_owned(), contents.unwrap_or_default());
                }
                Some(_) => {}
                None => self.look(now, objects),
            }
        } else if object.starts_with(name::RELOCATIONS) {
            match current {
                Some(there) => {
                    let moved = relocation::decode(&there.bytes, VAULT).unwrap_or_default();
                    let places = moved.into_iter().map(|moved| (moved.pack, moved.object));
                    self.relocations.insert(object.to_owned(), places.collect());
                }
                None => {
                    self.relocations.remove(object);
                    self.look(now, objects);
                }
            }
        } else if object.starts_with(name::TRASH) {
            match current {
                Some(there) => {
                    let marks = trash::decode(&there.bytes, VAULT).unwrap_or_default();
                    let snapshots = marks.into_iter().map(|mark| mark.snapshot).collect();
                    self.marks.insert(object.to_owned(), (snapshots, now));
                }
                None => {
                    self.marks.remove(object);
                }
            }
        } else if object.starts_with(name::SNAPSHOTS) && current.is_none() {
            self.look(now, objects);
        }
    }

    /// Somebody was told that a snapshot is safe.
    pub fn promise(
        &mut self,
        snapshot: SnapshotId,
        needs: Vec<PackNeed>,
        contents: Vec<(PackId, Spot, Content)>,
        now: Millis,
        objects: &Objects,
    ) {
        self.promises.insert(snapshot, Promise { needs, contents, expired: false });
        self.look(now, objects);
    }

    /// Somebody was told that a snapshot is back from the trash.
    pub fn promise_again(&mut self, snapshot: SnapshotId, now: Millis, objects: &Objects) {
        if let Some(promise) = self.promises.get_mut(&snapshot) {
            promise.expired = false;
        }
        self.look(now, objects);
    }

    /// Snapshots that were promised and are still in retention.
    pub fn promised(&mut self, now: Millis) -> Vec<SnapshotId> {
        self.note_expired(now);
        self.promises.iter().filter(|(_, promise)| !promise.expired).map(|(id, _)| *id).collect()
    }

    /// Snapshots that are in the trash, and promised still.
    pub fn forgotten(&self) -> Vec<SnapshotId> {
        let marked = self.marks.values().flat_map(|(snapshots, _)| snapshots);
        let promised = |id: &&SnapshotId| self.promises.get(id).is_some_and(|promise| !promise.expired);
        marked.filter(promised).copied().collect()
    }

    /// What a promised snapshot needs and holds.
    pub fn expected(&self, snapshot: SnapshotId) -> Option<Expected<'_>> {
        self.promises.get(&snapshot).map(|promise| (&promise.needs[..], &promise.contents[..]))
    }

    /// Whether a snapshot is still in retention.
    pub fn is_promised(&mut self, snapshot: SnapshotId, now: Millis) -> bool {
        self.note_expired(now);
        self.promises.get(&snapshot).is_some_and(|promise| !promise.expired)
    }

    fn note_expired(&mut self, now: Millis) {
        let mut newest: HashMap<SnapshotId, Millis> = HashMap::new();
        for (snapshots, since) in self.marks.values() {
            for snapshot in snapshots {
                let latest = newest.entry(*snapshot).or_default();
                *latest = (*latest).max(*since);
            }
        }
        for (snapshot, promise) in &mut self.promises {
            let over = newest.get(snapshot).map(|since| since + self.delay);
            promise.expired |= over.is_some_and(|over| over <= now + self.slack);
        }
    }

    /// Whether an object in the store is a pack, and what it says of itself is true.
    pub fn is_genuine(&self, object: ObjectHash) -> bool {
        !self.forged.contains(&object)
    }

    /// Somebody says things of a pack object that are not true.
    pub fn forge(&mut self, object: ObjectHash) {
        self.forged.insert(object);
    }

    /// What is in a pack object is read once more when it is written next.
    pub fn look_again_at(&mut self, object: &str) {
        self.packs.remove(object);
    }

    /// Looks whether everything that was promised is there.
    pub fn look(&mut self, now: Millis, objects: &Objects) {
        self.looks += 1;
        self.note_expired(now);
        let broken = self.promises.iter().filter(|(_, promise)| !promise.expired);
        let broken = broken.filter_map(|(id, promise)| Some((id, self.broken(*id, promise, objects)?)));
        if let Some((id, what)) = broken.min()
            && self.violation.is_none()
        {
            self.violation = Some(format!("snapshot {} is not whole: {what}", id.short()));
        }
    }

    fn broken(&self, id: SnapshotId, promise: &Promise, objects: &Objects) -> Option<String> {
        if objects.current(&id.snapshot_name()).is_none() {
            return Some("it is gone itself".to_owned());
        }
        promise.needs.iter().find_map(|need| {
            let moved = self.relocations.values().flatten().filter(|(pack, _)| *pack == need.pack);
            let places: Vec<_> =
                std::iter::once(need.object).chain(moved.map(|(_, object)| *object)).collect();
            let of_pack = || promise.contents.iter().filter(|(pack, ..)| *pack == need.pack);
            let is_good = |object: ObjectHash| {
                let object = object.pack_name();
                objects.current(&object).and(self.packs.get(&object)).is_some_and(|found| {
                    of_pack().all(|(pack, spot, content)| found.get(&(*pack, *spot)) == Some(content))
                })
            };
            let is_lost = !places.iter().any(|object| is_good(*object));
            is_lost.then(|| {
                let there = places.iter().map(|object| {
                    let found = objects.current(&object.pack_name()).and(self.packs.get(&object.pack_name()));
                    let spots =
                        found.map(|found| found.keys().filter(|(pack, _)| *pack == need.pack).count());
                    format!("{} with {spots:?} of it", object.short())
                });
                format!(
                    "nothing holds pack {} ({} segments), last in {} ({})",
                    need.pack,
                    need.segments.len(),
                    need.object,
                    there.collect::<Vec<_>>().join(", ")
                )
            })
        })
    }
}
