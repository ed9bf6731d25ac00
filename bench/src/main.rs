//! Corpora for the comparison with other backup programs: made, copied and changed, the same way each time.
//! `scripts/bench` calls this and runs the programs.

mod change;
mod many;
mod random;
mod text;
mod usr;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Makes and changes the corpora that scripts/bench backs up")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a corpus in a folder that is empty or not there
    Corpus {
        #[command(subcommand)]
        kind: Corpus,
    },
    /// Edit 1 % of the files below a folder, delete 0.2 %, add 300
    Change {
        /// The folder
        folder: PathBuf,
        /// Chooses the files, the places and the new text
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

#[derive(Subcommand)]
enum Corpus {
    /// Many small text files
    Many {
        /// The folder
        folder: PathBuf,
        /// How many files
        #[arg(long, default_value_t = 400_000)]
        files: u64,
        /// Chooses names, sizes and text
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// A copy of /usr/{bin,include,lib,share}, up to a size
    Usr {
        /// The folder
        folder: PathBuf,
        /// About how many bytes of file content at most
        #[arg(long, default_value_t = 5_000_000_000)]
        size: u64,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Corpus { kind: Corpus::Many { folder, files, seed } } => many::make(&folder, files, seed),
        Verb::Corpus { kind: Corpus::Usr { folder, size } } => usr::copy(&folder, size),
        Verb::Change { folder, seed } => change::change(&folder, seed),
    };
    let (text, code) = match &outcome {
        Ok(summary) => (summary.clone(), ExitCode::SUCCESS),
        Err(error) => (format!("bench: {error}"), ExitCode::FAILURE),
    };
    // Nobody is left to tell when the output is closed.
    let _ = if outcome.is_ok() { writeln!(io::stdout(), "{text}") } else { writeln!(io::stderr(), "{text}") };
    code
}

/// What happened at which path.
fn at(path: &std::path::Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Makes a folder for a corpus; one that has something in it is refused, so that a corpus is never mixed.
fn make_empty_folder(folder: &std::path::Path) -> io::Result<()> {
    std::fs::create_dir_all(folder).map_err(at(folder))?;
    if std::fs::read_dir(folder).map_err(at(folder))?.next().is_some() {
        return Err(at(folder)(io::Error::other("the folder is not empty")));
    }
    Ok(())
}
