//! `dump`: a file or a tar archive to standard output.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use ::backup::{Error, Reader, dump_file, dump_tar};
use clap::Args;
use content::tree::Node;

use crate::access;
use crate::cli::Global;
use crate::exit::{self, Code};
use crate::output::{self, Failure, Output};
use crate::progress_bar::Shown;
use crate::snapshot_argument::{Narrow, SnapshotArgument};

const CACHE: usize = 32 << 20;

/// Writes a file's content, or a folder as a tar archive, to standard output or into a file.
#[derive(Args, Debug)]
pub struct Dump {
    /// The snapshot and the path in it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,
    /// Write into this new file instead
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    narrow: Narrow,
}

impl Dump {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        if global.json && self.output.is_none() {
            return Err(Failure::usage(
                "--json and the dump cannot share standard output",
                "name a file with --output",
            ));
        }
        let vault = access::open_vault(global)?;
        let argument = SnapshotArgument::parse(&self.snapshot);
        let snapshot = argument.find(&vault, &self.narrow)?;
        let reader = Reader::new(&vault, CACHE);
        let root = reader.open(&snapshot)?;
        let entry = reader.lookup(&root, &argument.path)?.ok_or_else(|| Error::NoSuchPath {
            path: output::path(&argument.path),
            snapshot: snapshot.id.short(),
        })?;
        let mut sink: Box<dyn Write> = match &self.output {
            Some(path) => {
                use std::os::unix::fs::OpenOptionsExt;
                let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
                Box::new(file.map_err(|error| Failure::file(path, "written", error))?)
            }
            None => Box::new(std::io::stdout().lock()),
        };
        let shown = Shown::start(&Output { quiet: global.quiet || self.output.is_none(), ..*output });
        let report = match &entry.node {
            Node::File { .. } => dump_file(&reader, &entry, &mut sink, shown.progress())?,
            Node::Directory { .. } => dump_tar(&reader, &entry, &argument.path, &mut sink, shown.progress())?,
            _ => {
                let message = format!("{} is neither a file nor a folder", output::path(&argument.path));
                return Err(Failure::plain(message, "dump the folder it is in"));
            }
        };
        drop(shown);
        for path in &report.left_out {
            output::note(&format!("note: {} is a socket, which an archive cannot hold", output::path(path)));
        }
        report.problems.iter().for_each(|problem| {
            output::note(&format!("problem: {}: {}", output::path(&problem.path), problem.message));
        });
        Ok(if report.problems.is_empty() { exit::DONE } else { exit::PARTIAL })
    }
}
