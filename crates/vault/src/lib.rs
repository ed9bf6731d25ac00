//! The custodian's view of a vault.
//!
//! Everything here works on public bytes: object names, headers, pack trailers, index fragments and snapshot
//! envelopes. There is no key type in this crate and nothing in it can open a sealed byte, so a server built on it
//! can count, verify, copy and collect what it keeps without being able to read it.
//!
//! The byte layouts are specified in `docs/format.md`; each module here opens with the part it implements.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod abilities;
pub mod agent;
pub mod check;
pub mod clock;
pub mod collect;
pub mod condemned;
pub mod confirm;
pub mod copy;
pub mod damage;
pub mod descriptor;
pub mod error;
pub mod fragment;
pub mod header;
pub mod lease;
pub mod locking;
pub mod locks;
mod moving;
pub mod name;
pub mod pack;
pub mod pins;
pub mod records;
pub mod recover;
pub mod relocation;
pub mod repair;
pub mod retention;
#[doc(hidden)]
pub mod sabotage;
pub mod segments;
pub mod settings;
pub mod signing;
pub mod snapshot;
#[cfg(test)]
mod toy;
pub mod trash;
pub mod verified;
pub mod wire;
pub mod writer;

pub use clock::{store_clock, store_clock_or_own};
pub use error::VaultError;
pub use name::{ObjectHash, PackId, SnapshotId, SystemId, VaultId};
pub use segments::SegmentSet;
