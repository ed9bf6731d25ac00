//! What can be typed: the contents page. Each verb's own options stand with the verb in `commands`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands;
use crate::exit;

/// Encrypted, deduplicated, compressed backups that you can trust to come back.
///
/// With nothing configured, `strongroom backup PATH` makes a vault in your data folder and a random key that only you
/// can read, and prints a recovery code once. From then on every verb finds both by itself.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, after_help = after_help(), disable_help_subcommand = true)]
pub struct Cli {
    /// What every verb takes.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What every verb takes.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Where the vault is: a folder, or file:///PATH
    #[arg(
        long,
        global = true,
        value_name = "URL|PATH",
        env = "STRONGROOM_VAULT",
        help_heading = "Vault and key"
    )]
    pub vault: Option<String>,
    /// Read the passphrase, recovery code or key from the first line of this file
    #[arg(long, global = true, value_name = "FILE", help_heading = "Vault and key")]
    pub passphrase_file: Option<PathBuf>,
    /// Run this command with `sh -c` and take the first line it writes
    #[arg(long, global = true, value_name = "COMMAND", help_heading = "Vault and key")]
    pub passphrase_command: Option<String>,
    /// Keep the local index and journals under this folder
    #[arg(long, global = true, value_name = "DIR", env = "STRONGROOM_CACHE", help_heading = "Vault and key")]
    pub cache: Option<PathBuf>,
    /// Write one JSON object per line, progress included
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// Say only what went wrong
    #[arg(long, short, global = true, help_heading = "Output")]
    pub quiet: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a new vault
    Init(commands::init::Init),
    /// Back files and folders up
    Backup(commands::backup::Backup),
    /// List the snapshots, or the problems they recorded
    Snapshots(commands::snapshots::Snapshots),
    /// List what is in a snapshot
    Ls(commands::ls::Ls),
    /// Find names in snapshots
    Find(commands::find::Find),
    /// Compare two snapshots
    Diff(commands::diff::Diff),
    /// Bring files and folders back
    Restore(commands::restore::Restore),
    /// Write a file, or a folder as tar, to standard output
    Dump(commands::dump::Dump),
    /// Look around in all snapshots through a folder
    Mount(commands::mount::Mount),
    /// Prove that the vault is whole
    Check(commands::check::Check),
    /// Show how much is stored, and how well it packs
    Stats(commands::stats::Stats),
    /// List, add, remove and change what opens the vault
    Key(commands::key::Key),
    /// Write a completion script for a shell
    Completions(commands::generate::Completions),
    /// Write the manual pages into a folder
    Man(commands::generate::Man),
}

fn after_help() -> String {
    let mut text = String::from(
        "Snapshots are named by the beginning of their id, or `latest`; SNAPSHOT:PATH means a part of one.\n\n\
         Environment:\n  \
         STRONGROOM_VAULT       where the vault is\n  \
         STRONGROOM_PASSPHRASE  passphrase, recovery code or key\n  \
         STRONGROOM_CACHE       where the local cache is\n\n\
         Examples:\n  \
         strongroom backup ~/Documents --exclude '*.tmp'\n  \
         strongroom restore latest:/etc --target /tmp/etc\n\n\
         Exit codes:",
    );
    for (code, meaning) in exit::MAP {
        text.push_str(&format!("\n  {:<5} {meaning}", code.0));
    }
    text
}
