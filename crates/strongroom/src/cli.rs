//! What can be typed: the contents page. Each verb's own options stand with the verb in `commands`.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands;
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{Output, WhenClosed};

/// Encrypted, deduplicated, compressed backups that you can trust to come back.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, subcommand_value_name = "VERB")]
pub struct Cli {
    /// What every verb takes.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self, output: &Output) -> Result<Code, Failure> {
        let global = self.global;
        match self.verb {
            Verb::Init(verb) => verb.run(&global, output),
            Verb::Backup(verb) => verb.run(&global, output),
            Verb::Snapshots(verb) => verb.run(&global, output),
            Verb::Ls(verb) => verb.run(&global, output),
            Verb::Find(verb) => verb.run(&global, output),
            Verb::Diff(verb) => verb.run(&global, output),
            Verb::Restore(verb) => verb.run(&global, output),
            Verb::Dump(verb) => verb.run(&global, output),
            Verb::Mount(verb) => verb.run(&global, output),
            Verb::Cleanup(verb) => verb.run(&global, output),
            Verb::Forget(verb) => verb.run(&global, output),
            Verb::Undelete(verb) => verb.run(&global, output),
            Verb::Pin(verb) => verb.run(&global, output),
            Verb::Unpin(verb) => verb.run(&global, output),
            Verb::Settings(verb) => verb.run(&global, output),
            Verb::Check(verb) => verb.run(&global, output),
            Verb::Copy(verb) => verb.run(&global, output),
            Verb::Repair(verb) => verb.run(&global, output),
            Verb::Stats(verb) => verb.run(&global, output),
            Verb::Key(verb) => verb.run(&global, output),
            Verb::Store(verb) => verb.run(&global, output),
            Verb::Completions(verb) => verb.run(command(), output),
            Verb::Man(verb) => verb.run(&command(), output),
        }
    }
}

/// The verbs. What each does stands with its options.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Init(commands::init::Init),
    Backup(commands::backup::Backup),
    Snapshots(commands::snapshots::Snapshots),
    Ls(commands::ls::Ls),
    Find(commands::find::Find),
    Diff(commands::diff::Diff),
    Restore(commands::restore::Restore),
    Dump(commands::dump::Dump),
    Mount(commands::mount::Mount),
    Cleanup(commands::cleanup::Cleanup),
    Forget(commands::forget::Forget),
    Undelete(commands::undelete::Undelete),
    Pin(commands::pin::Pin),
    Unpin(commands::pin::Unpin),
    Settings(commands::settings::Settings),
    Check(commands::check::Check),
    Copy(commands::copy::Copy),
    Repair(commands::repair::Repair),
    Stats(commands::stats::Stats),
    Key(commands::key::Key),
    Store(commands::store::Store),
    Completions(commands::generate::Completions),
    Man(commands::generate::Man),
}

impl Verb {
    /// What becomes of it when nobody reads its output any more.
    pub fn when_closed(&self) -> WhenClosed {
        match self {
            Self::Snapshots(_) | Self::Ls(_) | Self::Find(_) | Self::Diff(_) | Self::Stats(_) => {
                WhenClosed::End
            }
            Self::Completions(_) => WhenClosed::End,
            _ => WhenClosed::GoOn,
        }
    }
}

/// The verbs as the contents page groups them.
const GROUPS: &[(&str, &[&str])] = &[
    ("Back up", &["init", "backup"]),
    ("Look", &["snapshots", "ls", "find", "diff", "stats"]),
    ("Get back", &["restore", "dump", "mount"]),
    ("Keep and forget", &["forget", "undelete", "pin", "unpin", "cleanup", "settings"]),
    ("Keep safe", &["copy", "check", "repair", "key", "store"]),
    ("This program", &["completions", "man"]),
];

/// Environment variables and what they mean.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("STRONGROOM_VAULT", "where the vault is, as --vault"),
    ("STRONGROOM_PASSPHRASE", "passphrase, recovery code or key"),
    (
        "STRONGROOM_TO_…",
        "a variable of the store, for `copy --to` alone; STRONGROOM_FROM_… for `repair --from`",
    ),
    ("STRONGROOM_CACHE", "where the local cache is, as --cache"),
];

const EXAMPLES: &[&str] =
    &["strongroom backup ~/Documents --exclude '*.tmp'", "strongroom restore latest:/etc --target /tmp/etc"];

/// Understands the command line.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The definitions, with the contents page: everything generated comes from these.
pub fn command() -> clap::Command {
    let command = Cli::command();
    let template = format!(
        "{{about-with-newline}}\nWith nothing configured, `strongroom backup PATH` makes a vault and a key, prints a \
         recovery\ncode once, and just works; from then on every verb finds both by itself.\n\n\
         {{usage-heading}} {{usage}}\n{}\nOptions:\n{{options}}{{after-help}}",
        contents(&command)
    );
    command.help_template(template).after_help(after_help())
}

fn contents(command: &clap::Command) -> String {
    let mut text = String::new();
    for (title, verbs) in GROUPS {
        text.push_str(&format!("\n{title}:\n"));
        for verb in *verbs {
            let about = command.find_subcommand(verb).and_then(clap::Command::get_about);
            text.push_str(&format!("  {verb:<12} {}\n", about.map(ToString::to_string).unwrap_or_default()));
        }
    }
    text
}

fn after_help() -> String {
    let mut text = String::from(
        "Snapshots are named by the beginning of their id, or `latest`; SNAPSHOT:PATH means a part of one.\n\
         `strongroom VERB --help` says what a verb takes.\n\nEnvironment:\n",
    );
    for (name, meaning) in ENVIRONMENT {
        text.push_str(&format!("  {name:<22} {meaning}\n"));
    }
    text.push_str("\nExit codes:\n");
    for (code, meaning) in exit::MAP {
        text.push_str(&format!("  {:<5} {meaning}\n", code.0));
    }
    text.push_str("\nExamples:\n");
    for example in EXAMPLES {
        text.push_str(&format!("  {example}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        command().debug_assert();
    }

    #[test]
    fn each_verb_is_in_one_group() {
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, verbs)| verbs.iter().copied()).collect();
        let command = command();
        let mut verbs: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        grouped.sort_unstable();
        verbs.sort_unstable();
        assert_eq!(grouped, verbs);
    }

    #[test]
    fn the_guide_holds_the_map_of_exit_codes() {
        let guide = include_str!("../../../docs/user-guide.md");
        for (code, meaning) in exit::MAP {
            let row = format!("| {} | {meaning} |", code.0);
            assert!(guide.contains(&row), "docs/user-guide.md lacks the row: {row}");
        }
        let rows = guide.lines().filter(|line| line.starts_with("| ") && line.contains(" | "));
        let codes = rows.filter(|line| line.split(' ').nth(1).is_some_and(|code| code.parse::<u8>().is_ok()));
        assert_eq!(codes.count(), exit::MAP.len());
    }
}
