//! A schedule written by hand: who goes on until which call, what each sees, and how long it takes. For what chance meets
//! too rarely.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use vault::collect::Report;
use vault::{SnapshotId, SystemId};

use crate::actors::{self, Actor, Arrivals, Machine, Rules};
use crate::objects::{Change, Millis};
use crate::oracle::{Content, Oracle};
use crate::quiet;
use crate::random::Random;
use crate::scenario::advance;
use crate::toy;
use crate::world::{Place, Shared, World, lock};

/// A minute.
pub const MINUTE: Millis = 60 * 1000;
/// An hour.
pub const HOUR: Millis = 60 * MINUTE;
/// A day.
pub const DAY: Millis = 24 * HOUR;

/// How often somebody is let on at most before something must have come of it.
const STEPS_MAX: usize = 100_000;
/// How many bytes are ruined: a pack's first segment is among them.
const RUINED: usize = 64;
/// How long each call takes.
const STEP: Millis = 5;

/// A world in which only that happens which somebody asks for.
pub struct Play {
    world: Shared,
    rules: Rules,
    count: usize,
}

/// Somebody who is at work, or stopped in the middle of it.
pub struct Part {
    number: usize,
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Play {
    /// One in which the store may be behind by so much, leases last so long, and what was forgotten goes at once. Segments
    /// hold two chunks.
    pub fn new(settle: Millis, lease: Millis) -> Self {
        let rules = Rules { lease, delay: 0, unfinished: 0, tries: 1, doubles: true };
        let mut world = World::new(Random::new(1), Oracle::new(0, 0), false);
        (world.settle, world.is_by_hand) = (settle, true);
        for (name, bytes) in toy::beginning() {
            world.objects.change(&name, Change::Put(bytes), 0, 0, settle);
        }
        Self { world: Arc::new(Mutex::new(world)), rules, count: 0 }
    }

    /// Tells everything that happens, for whoever writes a schedule.
    pub fn traced(self) -> Self {
        lock(&self.world).trace = Some(Vec::new());
        self
    }

    /// What happened, if that was to be told.
    pub fn trace(&self) -> Vec<String> {
        lock(&self.world).trace.clone().unwrap_or_default()
    }

    /// A machine with data.
    pub fn machine(&self, number: u8, files: &[Content]) -> Arc<Mutex<Machine>> {
        Arc::new(Mutex::new(Machine::new(SystemId::new([number; 16]), files.to_vec())))
    }

    /// Somebody who begins.
    pub fn begin<F: Future<Output = ()> + Send + 'static>(&mut self, work: impl FnOnce(Actor) -> F) -> Part {
        let actor = self.actor(Place::Vault);
        Part { number: actor.number, future: Box::pin(work(actor)) }
    }

    /// A backup that begins.
    pub fn backup(&mut self, machine: &Arc<Mutex<Machine>>) -> Part {
        let machine = machine.clone();
        self.begin(|actor| actors::write(actor, machine))
    }

    /// A copy that begins.
    pub fn copy(&mut self) -> Part {
        self.begin(|actor| actors::copy(actor, Arrivals::default()))
    }

    /// Backs a machine up whose data is this now.
    pub fn save(&mut self, machine: &Arc<Mutex<Machine>>, files: &[Content]) -> SnapshotId {
        if let Ok(mut machine) = machine.lock() {
            machine.files = files.to_vec();
        }
        let part = self.backup(machine);
        self.finish(part);
        machine.lock().ok().and_then(|machine| machine.newest()).unwrap_or_default()
    }

    /// Puts a snapshot into the trash of a vault.
    pub fn forget(&mut self, place: Place, snapshot: SnapshotId) {
        let actor = self.actor(place);
        let part = Part { number: actor.number, future: Box::pin(actors::forget(actor, vec![snapshot])) };
        self.finish(part);
    }

    /// Cleans a vault up; an error in words.
    pub fn clean(&mut self, place: Place) -> Result<Report, String> {
        quiet::clean(&self.actor(place))
    }

    /// Cleans a vault up with the key; an error in words.
    pub fn regroup(&mut self, place: Place) -> Result<Report, String> {
        let actor = self.actor(place);
        let outcome = quiet::alone(&actor, actor.regroup_usually());
        outcome.unwrap_or_else(|| Ok(Report::default())).map_err(|error| error.to_string())
    }

    /// A cleanup that begins.
    pub fn cleanup(&mut self, place: Place) -> Part {
        let actor = self.actor(place);
        let work = async move { drop(actor.clean_usually().await) };
        Part { number: self.count, future: Box::pin(work) }
    }

    /// Lets somebody work until a call is next that begins with this, such as `delete packs/`; false when it is done.
    pub fn until(&mut self, part: &mut Part, call: &str) -> bool {
        for _ in 0..STEPS_MAX {
            let is_next = |world: &World| {
                let mut mine = world.tickets().iter().filter(|ticket| ticket.actor == part.number);
                mine.any(|ticket| ticket.call.as_deref().is_some_and(|next| next.starts_with(call)))
            };
            if is_next(&lock(&self.world)) {
                return true;
            }
            if self.step(part) {
                return false;
            }
        }
        false
    }

    /// Lets somebody work to the end.
    pub fn finish(&mut self, mut part: Part) {
        for _ in 0..STEPS_MAX {
            if self.step(&mut part) {
                return;
            }
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Millis) {
        lock(&self.world).advance(time);
    }

    /// From now on everybody sees what has this name, or is in this folder, as late as the store may show it.
    pub fn hide(&mut self, names: &[&str]) {
        lock(&self.world).hidden = names.iter().map(|name| (*name).to_owned()).collect();
    }

    /// Somebody puts an object into the vault.
    pub fn plant(&mut self, name: &str, bytes: Bytes) {
        lock(&self.world).change(Place::Vault, name, Change::Put(bytes));
    }

    /// The first bytes of an object in the vault turn over.
    pub fn ruin(&mut self, name: &str) {
        let mut world = lock(&self.world);
        let object = world.objects.current(name).map(|object| object.bytes.to_vec());
        let mut bytes = object.unwrap_or_default();
        bytes.iter_mut().take(RUINED).for_each(|byte| *byte ^= 0xff);
        world.oracle.look_again_at(name);
        world.change(Place::Vault, name, Change::Replace(bytes.into()));
    }

    /// From now on each write and each deletion happens once more, some time later; or no more.
    pub fn repeat(&mut self, happens: bool) {
        lock(&self.world).faults.twice = if happens { 1000 } else { 0 };
    }

    /// What is in a vault's folder: names and bytes.
    pub fn objects(&self, place: Place, folder: &str) -> Vec<(String, Bytes)> {
        let mut world = lock(&self.world);
        let (objects, _) = world.site(place);
        objects.all(folder).map(|(name, object)| (name.to_owned(), object.bytes.clone())).collect()
    }

    /// A snapshot must be in the copy by now.
    pub fn must_have_arrived(&mut self, snapshot: SnapshotId) {
        let mut world = lock(&self.world);
        if world.copy.objects.current(&snapshot.snapshot_name()).is_none() {
            let problem = format!("{} did not arrive", snapshot.short());
            world.oracle.violation.get_or_insert(problem);
        }
    }

    /// What must not be.
    pub fn violation(&mut self) -> Option<String> {
        let mut world = lock(&self.world);
        let World { oracle, objects, copy, now, .. } = &mut *world;
        oracle.look(*now, objects);
        copy.oracle.look(*now, &copy.objects);
        world.hear_of_the_copy();
        world.oracle.violation.clone()
    }

    fn actor(&mut self, place: Place) -> Actor {
        self.count += 1;
        Actor { world: self.world.clone(), number: self.count, rules: self.rules, place }
    }

    fn step(&self, part: &mut Part) -> bool {
        lock(&self.world).advance(STEP);
        advance(&self.world, part.number, &mut part.future)
    }
}
