//! The world of one scenario: the time, the store's objects, what happens late, and who waits for what.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::task::Waker;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::objects::{Change, Millis, Objects};
use crate::oracle::Oracle;
use crate::random::Random;

/// The moment at which every scenario begins.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);

/// What is left of an object that cannot be read.
const ROTTEN: &[u8] = b"rotten";

/// How often things go wrong, each so many times in a thousand calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// A call fails and nothing happened.
    pub refused: u64,
    /// A call fails though it was done.
    pub unanswered: u64,
    /// A write or delete fails, and happens later or never.
    pub late: u64,
    /// A write or delete happens once more, later.
    pub twice: u64,
    /// A read or listing is behind.
    pub stale: u64,
}

/// Which of the two vaults is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The one that everybody works on.
    Vault,
    /// The copy of it in another store.
    Copy,
}

impl Place {
    /// What the trace puts before the names of its objects.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Vault => "",
            Self::Copy => "copy:",
        }
    }
}

/// The other store.
#[derive(Debug)]
pub struct Site {
    /// Its objects.
    pub objects: Objects,
    /// Knows what must hold of the copy.
    pub oracle: Oracle,
}

/// Something that happens when its time has come.
#[derive(Debug)]
struct Late {
    place: Place,
    due: Millis,
    number: u64,
    name: String,
    change: Change,
    /// It happens only to what is there.
    repairs: bool,
}

/// Somebody waits to be let on.
#[derive(Debug)]
pub struct Ticket {
    /// Whom it belongs to.
    pub actor: usize,
    /// Not before this moment.
    pub earliest: Millis,
    number: u64,
    released: bool,
    waker: Waker,
    /// The call that comes next, with the name that it is for; `None` after a call.
    pub call: Option<String>,
}

/// All that there is.
#[derive(Debug)]
pub struct World {
    /// Decides everything.
    pub random: Random,
    /// The true time.
    pub now: Millis,
    /// How far a store may be behind.
    pub settle: Millis,
    /// How far the times that the store gives may be off.
    pub skew: Millis,
    /// What goes wrong.
    pub faults: Faults,
    /// Until when the disk is full.
    pub full_until: Millis,
    /// The store's objects.
    pub objects: Objects,
    /// Knows what must hold.
    pub oracle: Oracle,
    /// The copy.
    pub copy: Site,
    /// What happened, a line each, if somebody wants to know.
    pub trace: Option<Vec<String>>,
    /// How often what happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// Something could not be read for a while.
    pub has_rotted: bool,
    /// The schedule is written by hand: it matters which call comes next.
    pub is_by_hand: bool,
    /// Names, and beginnings of names, that are seen as late as the store may show them.
    pub hidden: Vec<String>,
    late: Vec<Late>,
    tickets: Vec<Ticket>,
    count: u64,
}

/// A world that its actors share.
pub type Shared = Arc<Mutex<World>>;

/// The world, for a moment.
pub fn lock(world: &Shared) -> MutexGuard<'_, World> {
    match world.try_lock() {
        Ok(world) => world,
        // After a panic the scenario is over anyway.
        Err(TryLockError::Poisoned(world)) => world.into_inner(),
        // There is one thread, so waiting would never end.
        Err(TryLockError::WouldBlock) => unreachable!("the world is held already"),
    }
}

/// A moment as the vault's code knows it.
pub fn moment(millis: Millis) -> SystemTime {
    SystemTime::UNIX_EPOCH + EPOCH + Duration::from_millis(millis)
}

/// The moment in milliseconds since the scenario began.
pub fn millis(moment: SystemTime) -> Millis {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH + EPOCH).unwrap_or_default();
    since.as_millis() as Millis
}

impl World {
    /// A world in which nothing happened yet.
    pub fn new(random: Random, oracle: Oracle, trace: bool) -> Self {
        Self {
            random,
            now: 100 * 24 * 3600 * 1000,
            settle: 0,
            skew: 0,
            faults: Faults::default(),
            full_until: 0,
            objects: Objects::default(),
            copy: Site { objects: Objects::default(), oracle: Oracle::new(oracle.delay, oracle.slack) },
            oracle,
            trace: trace.then(Vec::new),
            counts: BTreeMap::new(),
            has_rotted: false,
            is_by_hand: false,
            hidden: Vec::new(),
            late: Vec::new(),
            tickets: Vec::new(),
            count: 0,
        }
    }

    /// Counts something that happened.
    pub fn count(&mut self, what: &'static str, times: u64) {
        *self.counts.entry(what).or_default() += times;
    }

    /// Notes what happened, if somebody wants to know.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let (seconds, millis) = (self.now / 1000, self.now % 1000);
            let (days, rest) = (seconds / 86_400, seconds % 86_400);
            let clock =
                format!("{}d {:02}:{:02}:{:02}.{millis:03}", days, rest / 3600, rest / 60 % 60, rest % 60);
            trace.push(format!("{clock} {}", line()));
        }
    }

    /// Lets time pass; what is due meanwhile happens.
    pub fn advance(&mut self, by: Millis) {
        let end = self.now + by;
        while let Some(place) = self.next_late(end) {
            let late = self.late.swap_remove(place);
            self.now = self.now.max(late.due);
            self.note(|| format!("late: {} {}{}", verb(&late.change), late.place.prefix(), late.name));
            if !late.repairs || self.site(late.place).0.current(&late.name).is_some() {
                self.change(late.place, &late.name, late.change);
            }
        }
        self.now = end;
    }

    fn next_late(&self, end: Millis) -> Option<usize> {
        let due = self.late.iter().enumerate().filter(|(_, late)| late.due <= end);
        due.min_by_key(|(_, late)| (late.due, late.number)).map(|(place, _)| place)
    }

    /// Something will happen later, within the time that the store is given.
    pub fn change_later(&mut self, place: Place, name: &str, change: Change) {
        self.count += 1;
        let due = self.now + self.random.below(self.settle);
        let number = self.count;
        self.late.push(Late { place, due, number, name: name.to_owned(), change, repairs: false });
    }

    /// An object cannot be read any more, until somebody brings it back from a copy.
    pub fn rot(&mut self, name: &str, until: Millis) {
        let Some(object) = self.objects.current(name) else { return };
        let change = Change::Replace(object.bytes.clone());
        if object.bytes.as_ref() == ROTTEN {
            return;
        }
        self.note(|| format!("{name} rots"));
        self.change(Place::Vault, name, Change::Replace(Bytes::from_static(ROTTEN)));
        self.has_rotted = true;
        self.count += 1;
        // Whoever looks after the vault does not wait for ever.
        let due = until.clamp(self.now, self.now + 8 * 24 * 3600 * 1000);
        let (place, number) = (Place::Vault, self.count);
        self.late.push(Late { place, due, number, name: name.to_owned(), change, repairs: true });
    }

    /// Something happens to an object now.
    pub fn change(&mut self, place: Place, name: &str, change: Change) {
        let off = self.random.below((2 * self.skew).max(1));
        let modified = (self.now + off).saturating_sub(self.skew);
        let (now, settle) = (self.now, self.settle);
        let (objects, oracle) = self.site(place);
        oracle.before(name, now, objects);
        if objects.change(name, change, now, modified, settle) {
            oracle.after(name, now, objects);
        }
        self.hear_of_the_copy();
    }

    /// A vault's objects, and who knows what must hold of them.
    pub fn site(&mut self, place: Place) -> (&mut Objects, &mut Oracle) {
        match place {
            Place::Vault => (&mut self.objects, &mut self.oracle),
            Place::Copy => (&mut self.copy.objects, &mut self.copy.oracle),
        }
    }

    /// What is lost in the copy counts as any other loss.
    pub fn hear_of_the_copy(&mut self) {
        if let Some(what) = self.copy.oracle.violation.take() {
            self.oracle.violation.get_or_insert(format!("in the copy: {what}"));
        }
    }

    /// Somebody begins to wait; the ticket's number.
    pub fn wait(&mut self, actor: usize, earliest: Millis, waker: Waker, call: Option<String>) -> u64 {
        self.count += 1;
        self.tickets.push(Ticket { actor, earliest, number: self.count, released: false, waker, call });
        self.count
    }

    /// Whether who waits with this ticket may go on.
    pub fn may_go_on(&mut self, number: u64, waker: &Waker) -> bool {
        match self.tickets.iter_mut().find(|ticket| ticket.number == number) {
            Some(ticket) if !ticket.released => {
                ticket.waker.clone_from(waker);
                false
            }
            _ => true,
        }
    }

    /// Nobody waits with this ticket any more.
    pub fn leave(&mut self, number: u64) {
        self.tickets.retain(|ticket| ticket.number != number);
    }

    /// How many tickets there ever were, and how many are out: both stay as they are while everybody waits.
    pub fn waiting(&self) -> (u64, usize) {
        (self.count, self.tickets.len())
    }

    /// Who waits.
    pub fn tickets(&self) -> &[Ticket] {
        &self.tickets
    }

    /// Lets one of an actor's calls go on; false when none may.
    pub fn release(&mut self, actor: usize) -> Option<Waker> {
        let now = self.now;
        let may = |ticket: &&mut Ticket| ticket.actor == actor && ticket.earliest <= now && !ticket.released;
        let count = self.tickets.iter_mut().filter(may).count();
        let chosen = self.random.below(count as u64) as usize;
        let ticket = self.tickets.iter_mut().filter(may).nth(chosen)?;
        ticket.released = true;
        Some(ticket.waker.clone())
    }
}

/// What a change does, for the trace.
pub fn verb(change: &Change) -> &'static str {
    match change {
        Change::Put(_) => "put",
        Change::Replace(_) => "replace",
        Change::Delete => "delete",
    }
}
