//! The owner's side of a vault: keys, cutting, sealing, segments, the local index, and trees.
//!
//! This crate turns files' bytes and metadata into sealed bytes and back. It knows no path on disk but the folder of
//! its own cache, and it never decides when something is stored; the pipelines in `backup` do.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod body;
pub mod chunk;
pub mod cut;
pub mod directory;
pub mod envelope;
pub mod error;
pub mod index;
pub mod keyring;
pub mod random;
pub mod secret;
pub mod segment;
pub mod slot;
pub mod tree;

pub use chunk::{Address, ChunkId};
pub use error::ContentError;
pub use keyring::Keyring;
