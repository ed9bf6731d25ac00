//! Crash points of all that changes a vault beside a backup. A real run is cut at each of its store calls, in each way
//! that a call can fail. Then a machine that knows nothing opens the vault: everything that was committed and not
//! forgotten restores, byte by byte. The same is begun again, gets to its end, and cleanups leave nothing unneeded.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and tells how many cuts there were"
)]

mod cleanup;
mod copies;
mod cut;
mod forget;
mod keys;
mod repairs;
#[path = "../support/mod.rs"]
mod support;
mod tidy;
mod world;
