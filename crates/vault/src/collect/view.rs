//! What the collector knows of a vault: all that is public, read afresh.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream;
use store::{Kind, ObjectInfo, Store};

use crate::check::Watch;
use crate::condemned::{Row, What};
use crate::error::VaultError;
use crate::fragment::{self, FRAGMENT_MAX};
use crate::lease::{self, Seen};
use crate::name::{self, ObjectHash, PackId, SnapshotId, VaultId};
use crate::pack::{PackKind, Trailer, read_trailer, read_unknown};
use crate::pins::Pins;
use crate::relocation::Holders;
use crate::sabotage::{Rule, keeps};
use crate::segments::SegmentSet;
use crate::snapshot::{self, SNAPSHOT_MAX};
use crate::trash::Trash;

/// How many objects are asked for at once.
const AT_ONCE: usize = 8;

/// What becomes of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Somebody may want it: it is in the vault, or in the trash and can be brought back.
    Live,
    /// It was forgotten, and the time to bring it back is over.
    Expired,
    /// It cannot be read, so nobody knows what it needs.
    Unreadable,
}

/// Who says that an object holds a pack, the least trustworthy first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Authority {
    /// Nobody but the object itself, or an index fragment: whoever may add to the vault can say so.
    Itself,
    /// A living snapshot: whoever has an agent's keys can sign one.
    Owner,
    /// A relocation: only collectors write those, after they have compared every segment with its hash.
    Custodian,
}

/// A segment's pack in an object.
#[derive(Debug, Clone, Default)]
pub struct OriginSeen {
    /// The pack that addresses name.
    pub pack: PackId,
    /// Its segments that are in the object.
    pub present: SegmentSet,
    /// The bytes of those that living snapshots need.
    pub live_bytes: u64,
    /// The bytes of what goes with them: envelope, directory, rows of the table.
    pub overhead: u64,
    /// They were sealed for another object.
    pub moved: bool,
    /// How often the pack was regrouped.
    pub generation: u32,
}

/// A pack object.
#[derive(Debug, Clone)]
pub struct PackObject {
    /// Its size in bytes.
    pub size: u64,
    /// When the store received it.
    pub modified: SystemTime,
    /// What it holds.
    pub kind: PackKind,
    /// The packs whose segments are in it.
    pub origins: Vec<OriginSeen>,
    /// An index fragment that stays names it.
    pub indexed: bool,
    /// The hash of its trailer.
    pub trailer: ObjectHash,
}

impl PackObject {
    /// How many segments are in it.
    pub fn segments(&self) -> u64 {
        self.origins.iter().map(|origin| origin.present.len() as u64).sum()
    }
}

/// An index fragment.
#[derive(Debug, Clone)]
pub struct FragmentSeen {
    /// Its hash.
    pub hash: ObjectHash,
    /// Its size in bytes.
    pub size: u64,
    /// The pack objects it names.
    pub packs: Vec<ObjectHash>,
    /// What it says of some pack is not so, or another fragment says otherwise.
    pub is_doubtful: bool,
}

/// Everything.
#[derive(Debug)]
pub struct View {
    /// The time by the store's clock when reading began.
    pub now: SystemTime,
    /// All leases.
    pub leases: Vec<Seen>,
    /// Objects by which somebody asked for the time.
    pub questions: Vec<ObjectInfo>,
    /// What is condemned.
    pub row: Row,
    /// What was forgotten.
    pub trash: Trash,
    /// All snapshots in the store.
    pub snapshots: HashMap<SnapshotId, Standing>,
    /// Which segments living snapshots need.
    pub live: HashMap<PackId, SegmentSet>,
    /// The objects that living snapshots name for each pack: signed by the owner.
    pub named: HashMap<PackId, Vec<ObjectHash>>,
    /// Packs that expired snapshots needed, with when the one that was condemned last was; later than now when one is not.
    pub expired_needs: HashMap<PackId, SystemTime>,
    /// Where packs went.
    pub moved: Holders,
    /// All pack objects in the store that can be understood.
    pub objects: HashMap<ObjectHash, PackObject>,
    /// Index fragments that can be understood.
    pub fragments: Vec<FragmentSeen>,
    /// Objects that cannot be understood: their names, and why.
    pub not_understood: Vec<(String, String)>,
}

impl View {
    /// Reads it all. The order matters (`docs/gc.md`): leases before snapshots, so that whoever ended has left its
    /// snapshot; snapshots before fragments, and those before packs, so that what a snapshot needs is in what follows.
    pub(super) async fn read(
        store: &Arc<dyn Store>,
        vault: VaultId,
        now: SystemTime,
        delay: Duration,
        watch: &dyn Watch,
    ) -> Result<Self, VaultError> {
        watch.stage("reading what is needed");
        let lease::Found { leases, questions } = lease::read_all(store.as_ref(), vault).await?;
        let row = Row::read(store.as_ref(), vault).await?;
        let trash = Trash::read(store.as_ref(), vault).await?;
        let pins = Pins::read(store.as_ref(), vault).await?;
        let mut view = Self {
            now,
            leases,
            questions,
            row,
            trash,
            snapshots: HashMap::new(),
            live: HashMap::new(),
            named: HashMap::new(),
            expired_needs: HashMap::new(),
            moved: Holders::default(),
            objects: HashMap::new(),
            fragments: Vec::new(),
            not_understood: Vec::new(),
        };
        let unreadable = pins.unreadable().iter();
        view.not_understood.extend(unreadable.map(|(name, damage)| (name.clone(), damage.to_string())));
        view.read_snapshots(store, vault, delay, &pins).await?;
        watch.stage("reading the index");
        view.moved = Holders::beside(store.as_ref(), vault, &view.row).await?;
        let mut known = HashMap::new();
        view.read_fragments(store, vault, &mut known).await?;
        view.read_packs(store, vault, known).await?;
        Ok(view)
    }

    async fn read_snapshots(
        &mut self,
        store: &Arc<dyn Store>,
        vault: VaultId,
        delay: Duration,
        pins: &Pins,
    ) -> Result<(), VaultError> {
        let mut condemned: HashMap<ObjectHash, SystemTime> = HashMap::new();
        for condemnation in &self.row.condemnations {
            for object in condemnation.objects.iter().filter(|object| object.what == What::Snapshot) {
                let known = condemned.entry(object.hash).or_insert(condemnation.since);
                *known = condemnation.since.min(*known);
            }
        }
        let objects = store.list(name::SNAPSHOTS).await?;
        let fetches = objects.into_iter().map(|object| async {
            let outcome = store.get(&object.name, SNAPSHOT_MAX).await;
            (object, outcome)
        });
        let mut fetches = stream::iter(fetches).buffered(AT_ONCE);
        while let Some((object, outcome)) = fetches.next().await {
            let Some(id) = hash_in(&object, name::SNAPSHOTS) else {
                self.not_understood.push((object.name, "its name is not a snapshot's".to_owned()));
                continue;
            };
            let forgotten = self.trash.get(id);
            // A pin that cannot be read may be anybody's.
            let is_pinned = pins.until(id, self.now).is_some() || !pins.unreadable().is_empty();
            let is_over = |since| since + delay <= self.now || !keeps(Rule::TrashKeeps);
            let expired = !is_pinned && forgotten.is_some_and(|forgotten| is_over(forgotten.since));
            let decoded = match outcome {
                Ok(bytes) => snapshot::decode(&bytes, id, vault),
                Err(error) => match error.kind {
                    Kind::NotFound => continue,
                    Kind::TooLarge | Kind::Truncated => Err(crate::error::Damage::HashMismatch),
                    _ => return Err(error.into()),
                },
            };
            let standing = match (decoded, expired) {
                (Ok(snapshot), false) => {
                    for need in &snapshot.envelope.needs {
                        self.live.entry(need.pack).or_default().union(&need.segments);
                        let named = self.named.entry(need.pack).or_default();
                        if !named.contains(&need.object) {
                            named.push(need.object);
                        }
                    }
                    Standing::Live
                }
                (Ok(snapshot), true) => {
                    // Later than all that is condemned, when it is not yet.
                    let since = condemned.get(&id).copied().unwrap_or(self.now + Duration::from_secs(1));
                    for need in &snapshot.envelope.needs {
                        let known = self.expired_needs.entry(need.pack).or_insert(since);
                        *known = since.max(*known);
                    }
                    Standing::Expired
                }
                (Err(_), true) => Standing::Expired,
                (Err(damage), false) => {
                    self.not_understood.push((object.name, damage.to_string()));
                    Standing::Unreadable
                }
            };
            self.snapshots.insert(id, standing);
        }
        Ok(())
    }

    async fn read_fragments(
        &mut self,
        store: &Arc<dyn Store>,
        vault: VaultId,
        known: &mut HashMap<ObjectHash, (PackObject, bool)>,
    ) -> Result<(), VaultError> {
        let condemned = self.row.of(What::Fragment);
        for object in store.list(name::INDEX).await? {
            let Some(hash) = hash_in(&object, name::INDEX) else {
                self.not_understood.push((object.name, "its name is not an index fragment's".to_owned()));
                continue;
            };
            let decoded = match store.get(&object.name, FRAGMENT_MAX).await {
                Ok(bytes) => fragment::decode(&bytes, hash, vault),
                Err(error) => match error.kind {
                    Kind::NotFound => continue,
                    Kind::TooLarge | Kind::Truncated => Err(crate::error::Damage::HashMismatch),
                    _ => return Err(error.into()),
                },
            };
            match decoded {
                Ok(packs) => {
                    for (pack, trailer) in &packs {
                        let encoded = ObjectHash::of(&pack.trailer);
                        let (first, doubtful) = known.entry(pack.hash).or_insert_with(|| {
                            (self.seen(trailer, encoded, pack.size, object.modified), false)
                        });
                        first.indexed |= !condemned.contains(&hash);
                        // One of them is wrong: the pack itself is asked.
                        *doubtful |= first.trailer != encoded && keeps(Rule::ContradictionsAreAsked);
                    }
                    self.fragments.push(FragmentSeen {
                        hash,
                        size: object.size,
                        packs: packs.iter().map(|(pack, _)| pack.hash).collect(),
                        is_doubtful: false,
                    });
                }
                // A repair replaced it: it goes with what else is condemned.
                Err(damage) if !damage.is_newer() && self.row.of(What::Fragment).contains(&hash) => {
                    self.fragments.push(FragmentSeen {
                        hash,
                        size: object.size,
                        packs: Vec::new(),
                        is_doubtful: false,
                    });
                }
                Err(damage) => self.not_understood.push((object.name, damage.to_string())),
            }
        }
        Ok(())
    }

    /// Which packs are there; those that no fragment names are asked for their trailers.
    async fn read_packs(
        &mut self,
        store: &Arc<dyn Store>,
        vault: VaultId,
        mut known: HashMap<ObjectHash, (PackObject, bool)>,
    ) -> Result<(), VaultError> {
        let (mut unknown, mut doubtful) = (Vec::new(), HashSet::new());
        let condemned = self.row.of(What::Pack);
        for object in store.list(name::PACKS).await? {
            let hash =
                ObjectHash::from_object_name(&object.name).filter(|hash| hash.pack_name() == object.name);
            let Some(hash) = hash else {
                self.not_understood.push((object.name, "its name is not a pack's".to_owned()));
                continue;
            };
            match known.remove(&hash) {
                Some((mut pack, false)) if pack.size == object.size => {
                    pack.modified = object.modified;
                    self.objects.insert(hash, pack);
                }
                Some(_) => {
                    doubtful.insert(hash);
                    unknown.push((hash, object));
                }
                None => unknown.push((hash, object)),
            }
        }
        for fragment in &mut self.fragments {
            fragment.is_doubtful = fragment.packs.iter().any(|pack| doubtful.contains(pack));
        }
        let named: HashSet<ObjectHash> = self.named.values().flatten().copied().collect();
        let named = &named;
        let reads = unknown.into_iter().map(|(hash, object)| async move {
            let outcome = match named.contains(&hash) {
                true => read_trailer(store.as_ref(), hash, vault).await,
                // What nobody needs may be what nobody here understands.
                false => read_unknown(store.as_ref(), hash, vault).await,
            };
            (hash, object, outcome)
        });
        let mut reads = stream::iter(reads).buffered(AT_ONCE);
        while let Some((hash, object, outcome)) = reads.next().await {
            match outcome {
                Ok(Ok((trailer, encoded, size))) => {
                    let pack = self.seen(&trailer, ObjectHash::of(&encoded), size, object.modified);
                    self.objects.insert(hash, pack);
                }
                Ok(Err(damage)) if !damage.is_newer() && condemned.contains(&hash) => {
                    let pack = self.named_only(hash, &object);
                    self.objects.insert(hash, pack);
                }
                Ok(Err(damage)) => self.not_understood.push((object.name, damage.to_string())),
                // What no fragment names and nobody can read now: it stays as long as a snapshot names it.
                Err(error) if error.kind == Kind::Cold => {
                    let pack = self.named_only(hash, &object);
                    self.objects.insert(hash, pack);
                }
                Err(error) if error.kind == Kind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A pack that does not tell what is in it: it goes only when each pack that it should hold has a keeper.
    fn named_only(&self, hash: ObjectHash, object: &ObjectInfo) -> PackObject {
        let named = self.named.iter().filter(|(_, named)| named.contains(&hash)).map(|(pack, _)| *pack);
        let moved = self.moved.all_moved().filter(|(_, to, _)| *to == hash).map(|(pack, ..)| pack);
        let packs: HashSet<PackId> = named.chain(moved).collect();
        let origin = |pack| OriginSeen { pack, moved: true, ..OriginSeen::default() };
        PackObject {
            size: object.size,
            modified: object.modified,
            kind: PackKind::Data,
            origins: packs.into_iter().map(origin).collect(),
            indexed: false,
            trailer: ObjectHash::default(),
        }
    }

    fn seen(&self, trailer: &Trailer, encoded: ObjectHash, size: u64, modified: SystemTime) -> PackObject {
        let mut origins: Vec<_> = trailer
            .origins
            .iter()
            .map(|origin| OriginSeen {
                pack: origin.pack,
                present: SegmentSet::default(),
                live_bytes: 0,
                overhead: (origin.envelope.len() + origin.directory.len() + 32) as u64,
                moved: origin.pack != trailer.pack,
                generation: origin.generation,
            })
            .collect();
        let live: Vec<_> = trailer.origins.iter().map(|origin| self.live.get(&origin.pack)).collect();
        for row in &trailer.rows {
            let place = row.origin as usize;
            let Some(origin) = origins.get_mut(place) else { continue };
            origin.present.insert(row.number);
            if live.get(place).copied().flatten().is_some_and(|live| live.contains(row.number)) {
                origin.live_bytes += u64::from(row.length);
                origin.overhead += 40;
            }
        }
        PackObject { size, modified, kind: trailer.kind, origins, indexed: false, trailer: encoded }
    }

    /// Who says that `object` holds `pack`.
    pub fn authority(&self, pack: PackId, object: ObjectHash) -> Authority {
        if self.moved.named_for(pack).any(|place| place == object) {
            Authority::Custodian
        } else if self.named.get(&pack).is_some_and(|named| named.contains(&object)) {
            Authority::Owner
        } else {
            Authority::Itself
        }
    }

    /// Whether some snapshot cannot be read: then nobody knows what is needed.
    pub fn unreadable_snapshots(&self) -> impl Iterator<Item = SnapshotId> {
        self.snapshots.iter().filter(|(_, standing)| **standing == Standing::Unreadable).map(|(id, _)| *id)
    }

    /// Whether an object that can be condemned is in the store, as far as it is understood.
    pub fn has(&self, what: What, hash: ObjectHash) -> bool {
        match what {
            What::Pack => self.objects.contains_key(&hash),
            What::Snapshot => self.snapshots.contains_key(&hash),
            What::Fragment => self.fragments.iter().any(|fragment| fragment.hash == hash),
            What::Relocation => {
                self.moved.records.iter().any(|record| hash_in(record, name::RELOCATIONS) == Some(hash))
            }
            What::ClosedPack | What::ClosedElsewhere => true,
        }
    }
}

pub(super) fn hash_in(object: &ObjectInfo, folder: &str) -> Option<ObjectHash> {
    object.name.strip_prefix(folder).and_then(ObjectHash::from_hex)
}
