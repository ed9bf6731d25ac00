//! What black-box tests need: the built program in a world of its own, and an oracle.
//!
//! The oracle looks at a folder with the standard library and the system's calls alone, never through the program's
//! own crates, so that it cannot share their mistakes.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a test's helper panics to fail the test")]

pub mod golden;
pub mod oracle;
pub mod plant;
pub mod proxy;
pub mod trial;
mod world;

pub use world::{Outcome, World};

/// Bytes that do not compress and depend on `seed` alone.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}
