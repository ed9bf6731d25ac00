//! What each operation costs: the calls that it makes to the store, and the bytes that it reads and writes. The limits
//! follow from the shape of the vault, and are so close that no operation can do anything twice unnoticed. How many
//! requests a vault on another machine takes, with what a machine keeps of it, is in `requests.rs`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backups;
mod checks;
mod cleanups;
mod copies;
mod ledger;
mod marks;
mod repairs;
#[path = "../support/mod.rs"]
mod support;
mod world;
