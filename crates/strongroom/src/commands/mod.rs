//! The verbs, each in its own file.

pub mod backup;
pub mod check;
mod command_output;
pub mod diff;
pub mod dump;
pub mod find;
pub mod generate;
pub mod init;
pub mod key;
pub mod ls;
pub mod mount;
pub mod restore;
pub mod snapshots;
pub mod stats;
mod units;

use crate::cli::{Cli, Verb};
use crate::exit::Code;
use crate::failure::Failure;
use crate::output::Output;

/// Runs the verb.
pub fn run(cli: Cli, output: &Output) -> Result<Code, Failure> {
    let global = cli.global;
    match cli.verb {
        Verb::Init(verb) => verb.run(&global, output),
        Verb::Backup(verb) => verb.run(&global, output),
        Verb::Snapshots(verb) => verb.run(&global, output),
        Verb::Ls(verb) => verb.run(&global, output),
        Verb::Find(verb) => verb.run(&global, output),
        Verb::Diff(verb) => verb.run(&global, output),
        Verb::Restore(verb) => verb.run(&global, output),
        Verb::Dump(verb) => verb.run(&global, output),
        Verb::Mount(verb) => verb.run(&global, output),
        Verb::Check(verb) => verb.run(&global, output),
        Verb::Stats(verb) => verb.run(&global, output),
        Verb::Key(verb) => verb.run(&global, output),
        Verb::Completions(verb) => verb.run(output),
        Verb::Man(verb) => verb.run(output),
    }
}
