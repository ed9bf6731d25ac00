//! Who acts in a scenario. Each actor is a future; whatever it does to the store, others may come in between.

mod collector;
mod reader;
mod thief;
mod trash;
mod writer;

use std::sync::Arc;

use store::Store;

use crate::actor_store::{ActorStore, Credential};
use crate::objects::Millis;
use crate::world::{Shared, lock};

pub use collector::{clean, collect};
pub use reader::read;
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
}

impl Actor {
    fn store(&self) -> Arc<dyn Store> {
        ActorStore::open(&self.world, self.number, Credential::Owner, self.rules.tries)
    }

    fn store_of_an_agent(&self) -> Arc<dyn Store> {
        ActorStore::open(&self.world, self.number, Credential::Agent, self.rules.tries)
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
