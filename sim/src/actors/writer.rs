//! A machine and its backups: it keeps data, remembers its last snapshot and the index, and reuses what it may, by the
//! same rules as `backup::run`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use store::{Kind, Store};
use vault::fragment::{self, FRAGMENT_MAX, PackRecord};
use vault::pack::{PackKind, Trailer, read_trailer};
use vault::relocation::Holders;
use vault::sabotage::{Rule, keeps};
use vault::snapshot::{PackNeed, SNAPSHOT_MAX};
use vault::writer::{Outcome, Writer};
use vault::{ObjectHash, PackId, SegmentSet, SystemId, VaultError, name, trash};

use super::Actor;
use crate::objects::Millis;
use crate::oracle::Content;
use crate::toy::{self, Spot, VAULT, segment_of, spots_in};
use crate::world::{World, lock};

/// What lasts on a machine from one backup to the next, whoever is killed.
#[derive(Debug, Default)]
pub struct Machine {
    /// Its identity.
    pub system: SystemId,
    /// Its data.
    pub files: Vec<Content>,
    last: Option<(u64, ObjectHash)>,
    /// The last snapshot that was acknowledged: what was where.
    parent: BTreeMap<Content, (PackId, Spot)>,
    parent_needs: BTreeMap<PackId, (ObjectHash, SegmentSet)>,
    /// The local index, by fragment.
    index: BTreeMap<ObjectHash, Vec<Held>>,
    /// Packs that an interrupted run may have stored.
    journal: Vec<ObjectHash>,
}

/// A pack object as the index knows it.
#[derive(Debug, Clone)]
struct Held {
    object: ObjectHash,
    /// The pack that was sealed for it; `None` when segments of others were moved to it.
    original: Option<PackId>,
    found: Vec<(PackId, Spot, Content)>,
}

impl Held {
    fn new(object: ObjectHash, trailer: &Trailer) -> Self {
        let original = trailer.origin(trailer.pack).map(|origin| origin.pack);
        Self { object, original, found: toy::directory(trailer) }
    }
}

impl Machine {
    /// One that has data and never made a backup.
    pub fn new(system: SystemId, files: Vec<Content>) -> Self {
        Self { system, files, ..Self::default() }
    }

    /// Its last snapshot that was acknowledged.
    pub fn newest(&self) -> Option<ObjectHash> {
        self.last.map(|(_, snapshot)| snapshot)
    }

    /// Some of its data changes.
    pub fn work(&mut self, world: &mut World, changes_max: u64, variety: Content) {
        let changes = world.random.between(0, changes_max);
        for _ in 0..changes {
            let place = world.random.below(self.files.len() as u64) as usize;
            // Much of the data is on several machines.
            let content = world.random.between(1, variety);
            let is_many = self.files.len() > 2;
            match self.files.get_mut(place) {
                Some(file) if world.random.permille(700) => *file = content,
                Some(_) if world.random.permille(500) && is_many => drop(self.files.remove(place)),
                _ => self.files.push(content),
            }
        }
    }
}

/// Backs a machine up.
pub async fn write(actor: Actor, machine: Arc<Mutex<Machine>>) {
    let store = actor.store();
    // Who lost something begins anew from its data.
    for _ in 0..3 {
        match Run::begin(&actor, &store, &machine).await {
            Ok(mut run) => {
                let outcome = run.back_up().await;
                actor.note(|| format!("backup: {:?}", outcome.as_ref().map_err(ToString::to_string)));
                let _ = run.writer.end().await;
                if !matches!(outcome, Ok(false)) {
                    return;
                }
            }
            Err(error) => return actor.note(|| format!("backup does not begin: {error}")),
        }
    }
}

struct Run<'a> {
    actor: &'a Actor,
    store: &'a Arc<dyn Store>,
    machine: &'a Mutex<Machine>,
    writer: Writer,
    renewed: Millis,
    distrusted: BTreeSet<PackId>,
}

impl<'a> Run<'a> {
    async fn begin(
        actor: &'a Actor,
        store: &'a Arc<dyn Store>,
        machine: &'a Mutex<Machine>,
    ) -> Result<Self, VaultError> {
        let system = machine.lock().unwrap_or_else(PoisonError::into_inner).system;
        let duration = Duration::from_millis(actor.rules.lease);
        let writer = Writer::begin(store, VAULT, actor.identity(), system, duration).await?;
        let renewed = lock(&actor.world).now;
        Ok(Self { actor, store, machine, writer, renewed, distrusted: BTreeSet::new() })
    }

    fn machine(&self) -> std::sync::MutexGuard<'a, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the lease if that is due; most of the time.
    async fn renew(&mut self) {
        let now = lock(&self.actor.world).now;
        if now >= self.renewed + self.actor.rules.lease / 3 && self.actor.chance(900) {
            // What failed is tried again next time.
            if self.writer.renew().await.is_ok() {
                self.renewed = now;
            }
        }
    }

    /// The backup. False when what it relied on went away.
    async fn back_up(&mut self) -> Result<bool, VaultError> {
        self.find_parent().await?;
        self.read_index().await?;
        let holders = self.writer.holders().clone();
        let going: Vec<_> = {
            let machine = self.machine();
            let gone = |(pack, (object, segments)): &(&PackId, &(ObjectHash, SegmentSet))| {
                holders.find(**pack, *object, segments).is_none()
            };
            machine.parent_needs.iter().filter(gone).map(|(pack, _)| *pack).collect()
        };
        self.distrusted.extend(going);
        self.adopt(&holders).await?;
        self.renew().await;
        let files = self.machine().files.clone();
        let mut places: BTreeMap<Content, (PackId, Spot)> = BTreeMap::new();
        let mut new: Vec<Content> = Vec::new();
        for content in files.iter().copied() {
            match self.known(&holders, content) {
                Some(place) => drop(places.insert(content, place)),
                None if !new.contains(&content) => new.push(content),
                None => {}
            }
        }
        let mut packed: BTreeMap<PackId, ObjectHash> = BTreeMap::new();
        self.store_new(&new, &mut places, &mut packed).await?;
        let Some(needs) = self.needs(&holders, &places, &packed) else {
            self.actor.note(|| "nothing says where a pack is".to_owned());
            return Ok(true);
        };
        self.renew().await;
        self.commit(needs, places).await
    }

    /// The last snapshot counts only if it is in the vault, and not condemned.
    async fn find_parent(&mut self) -> Result<(), VaultError> {
        let Some((_, parent)) = self.machine().last else { return Ok(()) };
        let is_there = match self.store.get(&parent.snapshot_name(), SNAPSHOT_MAX).await {
            Ok(_) => !self.writer.holders().is_going(parent),
            Err(error) if error.kind == Kind::NotFound => false,
            Err(error) => return Err(error.into()),
        };
        if !is_there {
            let mut machine = self.machine();
            machine.parent.clear();
            machine.parent_needs.clear();
        }
        Ok(())
    }

    async fn read_index(&mut self) -> Result<(), VaultError> {
        let listed = self.store.list(name::INDEX).await?;
        let listed: Vec<_> =
            listed.iter().filter_map(|object| ObjectHash::from_object_name(&object.name)).collect();
        self.machine().index.retain(|fragment, _| listed.contains(fragment));
        for fragment in listed {
            if self.machine().index.contains_key(&fragment) {
                continue;
            }
            let bytes = match self.store.get(&fragment.index_name(), FRAGMENT_MAX).await {
                Ok(bytes) => bytes,
                Err(error) if error.kind == Kind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            let Ok(packs) = fragment::decode(&bytes, fragment, VAULT) else { continue };
            // Who holds the write secret can mislead later backups: docs/threat-model.md. That is not what is tested.
            let is_true = |object: ObjectHash| lock(&self.actor.world).oracle.is_genuine(object);
            let packs = packs.iter().filter(|(record, _)| is_true(fragment) && is_true(record.hash));
            let packs = packs.map(|(record, trailer)| Held::new(record.hash, trailer)).collect();
            self.machine().index.insert(fragment, packs);
            self.renew().await;
        }
        Ok(())
    }

    /// Packs that an interrupted run left get their fragment now.
    async fn adopt(&mut self, holders: &Holders) -> Result<(), VaultError> {
        let journal = self.machine().journal.clone();
        let mut records = Vec::new();
        let mut found = Vec::new();
        for object in journal {
            let held = self.machine().index.values().flatten().any(|held| held.object == object);
            if held || holders.is_condemned(object) {
                continue;
            }
            if let Ok(Ok((trailer, encoded, size))) = read_trailer(self.store.as_ref(), object, VAULT).await {
                records.push(PackRecord { hash: object, size, trailer: encoded });
                found.push(Held::new(object, &trailer));
            }
        }
        self.add_fragment(&records, found).await
    }

    async fn add_fragment(&mut self, records: &[PackRecord], found: Vec<Held>) -> Result<(), VaultError> {
        if !records.is_empty() {
            let bytes = fragment::encode(VAULT, records);
            let fragment = ObjectHash::of(&bytes);
            self.store.put(&fragment.index_name(), vec![bytes]).await?;
            self.machine().index.insert(fragment, found);
        }
        Ok(())
    }

    /// Where a chunk is already, as far as a new snapshot may rely on it.
    fn known(&self, holders: &Holders, content: Content) -> Option<(PackId, Spot)> {
        let machine = self.machine();
        // A file that did not change is taken over from the last snapshot as it is.
        let before = machine.parent.get(&content).filter(|(pack, _)| !self.distrusted.contains(pack));
        if let Some(place) = before {
            return Some(*place);
        }
        let all = machine.index.values().flatten();
        all.flat_map(|held| &held.found)
            .filter(|(pack, _, at)| *at == content && !self.distrusted.contains(pack))
            .find(|(pack, spot, _)| {
                let object = object_of(&machine, holders, *pack);
                object.is_some_and(|object| holders.allows(*pack, object, segment_of(*spot)))
            })
            .map(|(pack, spot, _)| (*pack, *spot))
    }

    async fn store_new(
        &mut self,
        new: &[Content],
        places: &mut BTreeMap<Content, (PackId, Spot)>,
        packed: &mut BTreeMap<PackId, ObjectHash>,
    ) -> Result<(), VaultError> {
        let mut records = Vec::new();
        let mut found = Vec::new();
        for contents in new.chunks(4) {
            self.renew().await;
            let id = PackId::new(self.actor.identity());
            let kind = if self.actor.chance(800) { PackKind::Data } else { PackKind::Tree };
            let is_double = self.actor.rules.doubles;
            let pack = if is_double { toy::double_pack } else { toy::pack }(id, kind, contents);
            records.push(toy::record(&pack));
            self.machine().journal.push(pack.hash);
            self.store.put(&pack.hash.pack_name(), pack.parts).await?;
            packed.insert(id, pack.hash);
            let spot = |place: usize| if is_double { place as Spot } else { spots_in(place as u32).start };
            let numbered = contents.iter().enumerate().map(|(place, content)| (id, spot(place), *content));
            let numbered: Vec<_> = numbered.collect();
            places.extend(numbered.iter().map(|(id, spot, content)| (*content, (*id, *spot))));
            found.push(Held { object: pack.hash, original: Some(id), found: numbered });
            if self.actor.chance(400) {
                self.add_fragment(&std::mem::take(&mut records), std::mem::take(&mut found)).await?;
            }
        }
        self.add_fragment(&records, found).await
    }

    /// What the snapshot needs, and where it is now.
    fn needs(
        &self,
        holders: &Holders,
        places: &BTreeMap<Content, (PackId, Spot)>,
        packed: &BTreeMap<PackId, ObjectHash>,
    ) -> Option<BTreeMap<PackId, PackNeed>> {
        let machine = self.machine();
        let mut segments: BTreeMap<PackId, SegmentSet> = BTreeMap::new();
        for (pack, spot) in places.values() {
            segments.entry(*pack).or_default().insert(segment_of(*spot));
        }
        let need = |(pack, segments): (PackId, SegmentSet)| {
            let before = machine.parent_needs.get(&pack).map(|(object, _)| *object);
            let named = [packed.get(&pack).copied(), object_of(&machine, holders, pack), before];
            let object =
                named.into_iter().flatten().find_map(|object| holders.find(pack, object, &segments))?;
            Some((pack, PackNeed { pack, object, segments }))
        };
        segments.into_iter().map(need).collect()
    }

    async fn commit(
        &mut self,
        needs: BTreeMap<PackId, PackNeed>,
        places: BTreeMap<Content, (PackId, Spot)>,
    ) -> Result<bool, VaultError> {
        let (system, last) = {
            let machine = self.machine();
            (machine.system, machine.last)
        };
        let sequence = last.map_or(0, |(sequence, _)| sequence + 1);
        let previous = last.map(|(_, id)| id).unwrap_or_default();
        let body = if self.actor.rules.doubles { toy::body(places.values().copied()) } else { Vec::new() };
        let (id, needs, bytes) = toy::snapshot(system, sequence, previous, needs, &body);
        let random = &mut || self.actor.identity();
        match self.writer.commit(id, &needs, &bytes, random).await? {
            Outcome::Committed => {
                let mut machine = self.machine();
                machine.last = Some((sequence, id));
                machine.journal.clear();
                let all = needs.iter().map(|need| (need.pack, (need.object, need.segments.clone())));
                machine.parent_needs = all.collect();
                let contents =
                    places.iter().map(|(content, (pack, spot))| (*pack, *spot, *content)).collect();
                machine.parent = places;
                let mut world = lock(&self.actor.world);
                world.note(|| format!("#{} committed {}", self.actor.number, id.short()));
                world.count("backups committed", 1);
                let World { oracle, objects, now, .. } = &mut *world;
                oracle.promise(id, needs, contents, *now, objects);
                Ok(true)
            }
            Outcome::Lost { written, needs } => {
                lock(&self.actor.world).count("backups that lost something", 1);
                self.actor.note(|| format!("lost {} packs, written: {written}", needs.len()));
                if written {
                    let mark = toy::mark(id, &mut lock(&self.actor.world).random);
                    trash::forget(self.store.as_ref(), VAULT, &mark).await?;
                }
                Ok(false)
            }
            Outcome::Restless { .. } => {
                lock(&self.actor.world).count("restless backups", 1);
                Ok(true)
            }
        }
    }
}

/// The object that holds a pack, as far as the fragments say. One that segments were moved to counts only if a
/// relocation that was read before says so: otherwise nobody knows what is not in it.
fn object_of(machine: &Machine, holders: &Holders, pack: PackId) -> Option<ObjectHash> {
    let all = machine.index.values().flatten();
    let all = all.filter(|held| held.found.iter().any(|(of, ..)| *of == pack));
    let knows = |held: &&Held| {
        !keeps(Rule::MovesAreKnown) || held.original == Some(pack) || holders.has_moved(pack, held.object)
    };
    all.filter(knows).fold(None, |_, held| Some(held.object))
}
