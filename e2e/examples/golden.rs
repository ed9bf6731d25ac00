//! Makes a golden vault: a vault as today's program writes it, which every later one must read; and damaged ones of it.
//!
//!   cargo run -p e2e --example golden -- FOLDER
//!   cargo run -p e2e --example golden -- FOLDER --damage
//!
//! Writes FOLDER/vault.tar; the secrets that open it: FOLDER/recovery-code, FOLDER/key, FOLDER/write-only-key, and
//! FOLDER/older-key, which knows nothing of the renewed keys; and FOLDER/restored: what each snapshot must give back. The
//! second form writes the damaged ones beside FOLDER that are not there yet, and of each what the program says, which
//! somebody has to read before it is kept. The hashes of what is new go into `golden/hashes`.
//!
//! Make a new one, with a new number, when the format gains something; the old ones stay as they are. It needs root, and
//! a server with object lock (`scripts/services/ceph`).
#![allow(clippy::unwrap_used, reason = "who makes a fixture sees the panic")]

#[path = "golden/damage.rs"]
mod damage;
#[path = "golden/history.rs"]
mod history;
#[path = "golden/plant.rs"]
mod plant;
#[path = "../tests/lock/world.rs"]
#[allow(dead_code, reason = "its thief has nothing to do here")]
mod world;

use std::path::Path;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("the folder to make");
    match arguments.next().as_deref() {
        None => history::make(Path::new(&folder)),
        Some("--damage") => damage::make(Path::new(&folder)),
        Some(other) => panic!("{other} is not understood"),
    }
}
