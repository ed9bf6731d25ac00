//! Proof by simulation: the vault's protocols (`docs/gc.md`) run in one thread from one seed, against hostile schedules
//! and a hostile store.
//!
//! [`scenario::run`] plays one seed; those with the bit [`scenario::WITH_OWNER`] have an owner who regroups. [`world`] holds the time and the store's true state, [`actor_store`] is the store as
//! one actor sees it, [`actors`] act, and [`oracle`] judges after every step. The same seed gives the same run everywhere.

pub mod actor_store;
pub mod actors;
pub mod afterwards;
pub mod campaign;
pub mod objects;
pub mod oracle;
pub mod play;
pub mod quiet;
pub mod random;
pub mod runtime;
pub mod scenario;
pub mod torn;
pub mod toy;
pub mod world;
