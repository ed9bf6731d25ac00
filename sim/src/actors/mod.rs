//! Who acts in a scenario. Each actor is a future; whatever it does to the store, others may come in between.

mod collector;
mod copier;
mod owner;
mod reader;
mod scrubber;
mod thief;
mod trash;
mod writer;

use std::sync::Arc;

use store::Store;

use crate::actor_store::{ActorStore, Credential};
use crate::objects::Millis;
use crate::world::{Place, Shared, lock};

pub use collector::{clean, collect, regroup};
pub use copier::{Arrivals, copy};
pub use reader::read;
pub use scrubber::{Verdict, check, scrub};
pub use thief::steal;
pub use trash::{forget, undelete};
pub use writer::{Machine, write};

/// What is the same for all actors of a scenario.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How long a lease lasts.
    pub lease: Millis,
    /// How long a forgotten snapshot can be brought back.
    pub delay: Millis,
    /// How long what was never needed is left alone.
    pub unfinished: Millis,
    /// How often a call that failed is tried again.
    pub tries: u32,
    /// Segments hold two chunks each, so that there is something to regroup.
    pub doubles: bool,
}

/// Who acts, and where.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The world.
    pub world: Shared,
    /// Its number.
    pub number: usize,
    /// The rules.
    pub rules: Rules,
    /// The vault it works on.
    pub place: Place,
}

impl Actor {
    /// The same one at work on a vault.
    pub fn at(&self, place: Place) -> Self {
        Self { place, ..self.clone() }
    }

    fn store(&self) -> Arc<dyn Store> {
        ActorStore::open(&self.world, self.number, self.place, Credential::Owner, self.rules.tries)
    }

    fn store_of_an_agent(&self) -> Arc<dyn Store> {
        ActorStore::open(&self.world, self.number, self.place, Credential::Agent, self.rules.tries)
    }

    fn identity(&self) -> [u8; 16] {
        lock(&self.world).random.identity()
    }

    fn chance(&self, permille: u64) -> bool {
        lock(&self.world).random.permille(permille)
    }

    fn note(&self, line: impl FnOnce() -> String) {
        let number = self.number;
        lock(&self.world).note(|| format!("#{number} {}", line()));
    }
}
