//! The store as one actor sees it: its own faults, its own rights, and a pause before and after everything.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use store::{Kind, ObjectInfo, Operation, Store, StoreError};

use crate::objects::{Age, Change, Millis, Object};
use crate::world::{Place, Shared, World, lock, moment, verb};

/// What an actor may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// Everything.
    Owner,
    /// What a machine needs that only adds: create packs, fragments and snapshots, and replace its own leases.
    Agent,
}

/// One actor's way to the store.
#[derive(Clone)]
pub struct ActorStore {
    world: Shared,
    actor: usize,
    place: Place,
    credential: Credential,
    /// How often a call that failed is tried again.
    tries: u32,
}

impl fmt::Debug for ActorStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store of actor {}", self.actor)
    }
}

/// A pause that the scheduler ends.
struct Pause<'a> {
    world: &'a Shared,
    actor: usize,
    earliest: Millis,
    ticket: Option<u64>,
    call: Option<String>,
}

impl Future for Pause<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut world = lock(self.world);
        match self.ticket {
            None => {
                let ticket =
                    world.wait(self.actor, self.earliest, context.waker().clone(), self.call.clone());
                drop(world);
                self.ticket = Some(ticket);
                Poll::Pending
            }
            Some(ticket) if world.may_go_on(ticket, context.waker()) => Poll::Ready(()),
            Some(_) => Poll::Pending,
        }
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            lock(self.world).leave(ticket);
        }
    }
}

/// Lets the scheduler go on with somebody else, for at least so long.
pub async fn pause(world: &Shared, actor: usize, at_least: Millis) {
    let earliest = lock(world).now + at_least;
    Pause { world, actor, earliest, ticket: None, call: None }.await;
}

/// Lets the scheduler go on with somebody else before a call; only a schedule written by hand asks which.
async fn pause_before(world: &Shared, actor: usize, verb: &str, name: &str) {
    let (earliest, call) = {
        let world = lock(world);
        (world.now, world.is_by_hand.then(|| format!("{verb} {name}")))
    };
    Pause { world, actor, earliest, ticket: None, call }.await;
}

impl ActorStore {
    /// A way for this actor.
    pub fn open(
        world: &Shared,
        actor: usize,
        place: Place,
        credential: Credential,
        tries: u32,
    ) -> Arc<dyn Store> {
        Arc::new(Self { world: world.clone(), actor, place, credential, tries: tries.max(1) })
    }

    fn error(&self, kind: Kind, operation: Operation, name: &str) -> StoreError {
        StoreError::new(kind, operation.verb(), name, self.location())
    }

    fn may_change(&self, name: &str, change: &Change) -> bool {
        let in_one_of = |folders: &[&str]| folders.iter().any(|folder| name.starts_with(folder));
        match (self.credential, change) {
            (Credential::Owner, _) => true,
            (Credential::Agent, Change::Put(_)) => in_one_of(&["packs/", "index/", "snapshots/", "leases/"]),
            // A lease's name is random: who did not choose it has to list it first, and a gatekeeper knows whose it is.
            (Credential::Agent, Change::Replace(_)) => in_one_of(&["leases/"]),
            (Credential::Agent, Change::Delete) => false,
        }
    }

    async fn write(&self, operation: Operation, name: &str, change: Change) -> Result<(), StoreError> {
        let mut left = self.tries;
        loop {
            left -= 1;
            let outcome = self.write_once(operation, name, change.clone()).await;
            match outcome {
                Err(error) if error.kind == Kind::Unavailable && left > 0 => {}
                outcome => return outcome,
            }
        }
    }

    async fn write_once(&self, operation: Operation, name: &str, change: Change) -> Result<(), StoreError> {
        pause_before(&self.world, self.actor, verb(&change), name).await;
        let outcome = {
            let mut world = lock(&self.world);
            let outcome = if self.may_change(name, &change) {
                world.try_change(self.place, name, change.clone())
            } else {
                Err(Kind::PermissionDenied)
            };
            world.note(|| {
                format!("#{} {} {}{name}: {outcome:?}", self.actor, verb(&change), self.place.prefix())
            });
            outcome
        };
        pause(&self.world, self.actor, 0).await;
        outcome.map_err(|kind| self.error(kind, operation, name))
    }

    async fn read<T>(
        &self,
        operation: Operation,
        name: &str,
        look: impl Fn(&mut World) -> Result<T, Kind>,
    ) -> Result<T, StoreError> {
        let mut left = self.tries;
        loop {
            left -= 1;
            pause_before(&self.world, self.actor, operation.verb(), name).await;
            let outcome = {
                let mut world = lock(&self.world);
                let refused = world.faults.refused;
                let outcome =
                    if world.random.permille(refused) { Err(Kind::Unavailable) } else { look(&mut world) };
                world.note(|| {
                    let result = outcome.as_ref().map(|_| ()).map_err(|kind| *kind);
                    format!("#{} {} {}{name}: {result:?}", self.actor, operation.verb(), self.place.prefix())
                });
                outcome
            };
            pause(&self.world, self.actor, 0).await;
            match outcome {
                Err(Kind::Unavailable) if left > 0 => {}
                outcome => return outcome.map_err(|kind| self.error(kind, operation, name)),
            }
        }
    }
}

impl World {
    /// A write or delete, and what the one who asked for it is told.
    fn try_change(&mut self, place: Place, name: &str, change: Change) -> Result<(), Kind> {
        let faults = self.faults;
        if !matches!(change, Change::Delete) && self.now < self.full_until {
            return Err(Kind::NoSpace);
        }
        if self.random.permille(faults.refused) {
            return Err(Kind::Unavailable);
        }
        if self.random.permille(faults.late) {
            if self.settle > 0 && self.random.permille(800) {
                self.change_later(place, name, change);
            }
            return Err(Kind::Unavailable);
        }
        if self.settle > 0 && self.random.permille(faults.twice) {
            self.change_later(place, name, change.clone());
        }
        self.change(place, name, change);
        if self.random.permille(faults.unanswered) { Err(Kind::Unavailable) } else { Ok(()) }
    }

    fn age(&mut self) -> Age {
        let stale = self.faults.stale;
        match self.random.permille(stale) {
            false => Age::Newest,
            true if self.random.permille(500) => Age::Oldest,
            true => Age::Any,
        }
    }

    /// What a listing shows, with the bytes; all at once, and perhaps behind.
    pub fn listed(&mut self, place: Place, prefix: &str) -> Vec<(String, Bytes)> {
        let age = self.age();
        let World { objects, copy, random, now, settle, .. } = self;
        let objects = if place == Place::Vault { objects } else { &mut copy.objects };
        let seen = objects.names(prefix).filter_map(|name| {
            let object = objects.seen(name, *now, *settle, age, random)?;
            Some((name.clone(), object.bytes))
        });
        seen.collect()
    }

    /// Whether something is seen as late as the store may show it, by a schedule written by hand.
    fn is_hidden(hidden: &[String], name: &str) -> bool {
        hidden.iter().any(|hidden| name.starts_with(hidden))
    }

    fn find(&mut self, place: Place, name: &str) -> Result<Object, Kind> {
        let age = if Self::is_hidden(&self.hidden, name) { Age::Oldest } else { self.age() };
        let World { objects, copy, random, now, settle, .. } = self;
        let objects = if place == Place::Vault { objects } else { &mut copy.objects };
        objects.seen(name, *now, *settle, age, random).ok_or(Kind::NotFound)
    }
}

fn info(name: &str, object: &Object) -> ObjectInfo {
    ObjectInfo { name: name.to_owned(), size: object.bytes.len() as u64, modified: moment(object.modified) }
}

fn join(parts: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(parts) {
        Ok([only]) => only,
        Err(parts) => parts.concat().into(),
    }
}

#[async_trait]
impl Store for ActorStore {
    fn location(&self) -> String {
        match self.place {
            Place::Vault => "simulated".to_owned(),
            Place::Copy => "simulated copy".to_owned(),
        }
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.write(Operation::Put, name, Change::Put(join(parts))).await
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.write(Operation::Replace, name, Change::Replace(join(parts))).await
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        self.read(Operation::Get, name, |world| {
            let bytes = world.find(self.place, name)?.bytes;
            if bytes.len() as u64 > size_max { Err(Kind::TooLarge) } else { Ok(bytes) }
        })
        .await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.read(Operation::GetRange, name, |world| {
            let bytes = world.find(self.place, name)?.bytes;
            let (start, end) = (range.start as usize, range.end as usize);
            if start <= end && end <= bytes.len() {
                Ok(bytes.slice(start..end))
            } else {
                Err(Kind::Truncated)
            }
        })
        .await
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        self.read(Operation::GetTail, name, |world| {
            let bytes = world.find(self.place, name)?.bytes;
            let start = bytes.len() - (length_max as usize).min(bytes.len());
            Ok((bytes.slice(start..), bytes.len() as u64))
        })
        .await
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        self.read(Operation::Stat, name, |world| {
            world.find(self.place, name).map(|object| info(name, &object))
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.read(Operation::List, prefix, |world| {
            let age = world.age();
            let World { objects, copy, random, now, settle, hidden, .. } = world;
            let objects = if self.place == Place::Vault { objects } else { &mut copy.objects };
            let seen = objects.names(prefix).filter_map(|name| {
                let age = if World::is_hidden(hidden, name) { Age::Oldest } else { age };
                objects.seen(name, *now, *settle, age, random).map(|object| info(name, &object))
            });
            Ok(seen.collect())
        })
        .await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.write(Operation::Delete, name, Change::Delete).await
    }
}
