//! `dump`: a file or a tar archive to standard output.

use std::ffi::OsString;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use ::backup::{Error, Problem, ProblemKind, Reader, dump_file, dump_tar};
use clap::Args;
use content::tree::Node;
use serde_json::json;

use crate::access::{self, Limits};
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};
use crate::progress_bar::Shown;
use crate::snapshot_argument::{Narrow, SnapshotArgument};

const CACHE: usize = 32 << 20;

/// Write a file, or a folder as tar, to standard output
///
/// What cannot be read whole of a folder is listed, and zeros stand for it in the archive; exit code 3.
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
        let vault = access::open_to_read(global, Limits::default())?;
        let argument = SnapshotArgument::parse(&self.snapshot);
        let snapshot = argument.find(&vault, &self.narrow)?;
        let reader = Reader::new(&vault, CACHE);
        let entry = argument.entry(&reader, &snapshot)?;
        if !matches!(entry.node, Node::File { .. } | Node::Directory { .. }) {
            let message = format!("{} is neither a file nor a folder", output::path(&argument.path));
            return Err(Failure::plain(message, "dump the folder it is in"));
        }
        if self.output.is_none() && entry.is_directory() && std::io::stdout().is_terminal() {
            let message = "a tar archive is nothing to show on a terminal";
            return Err(Failure::usage(message, "send it through a pipe, or name a file with --output"));
        }
        let mut sink = self.sink()?;
        // While a pipe's other end writes to the same terminal, progress would only be in its way.
        let shown = if self.output.is_some() { Shown::start(output) } else { Shown::hidden() };
        let written = match &entry.node {
            Node::File { .. } => dump_file(&reader, &entry, &mut sink, shown.progress()),
            _ => dump_tar(&reader, &entry, &argument.path, &mut sink, shown.progress()),
        };
        shown.end();
        let report = written.map_err(|error| self.unfinished(error))?;
        for path in &report.left_out {
            let message = "a socket, which an archive cannot hold; it was left out";
            output.problem(&Problem {
                kind: ProblemKind::Vanished,
                path: path.clone(),
                message: message.into(),
            });
        }
        report.problems.iter().for_each(|problem| output.problem(problem));
        let code = if report.problems.is_empty() { exit::DONE } else { exit::PARTIAL };
        let figures = json!({
            "snapshot": snapshot.id.to_string(), "entries": report.entries, "bytes": report.bytes,
            "left_out": report.left_out.len(), "problems": report.problems.len(),
        });
        output.summary("dump", code, figures);
        Ok(code)
    }

    /// Where it goes. Standard output is written to directly: the usual way looks for line ends in every block.
    fn sink(&self) -> Result<File, Failure> {
        match &self.output {
            Some(path) => {
                let file = File::options().write(true).create_new(true).mode(0o600).open(path);
                file.map_err(|error| Failure::file(path, "made", &error))
            }
            None => {
                let standard = std::io::stdout().as_fd().try_clone_to_owned();
                let fail = |error| Failure::file("standard output".as_ref(), "written", &error);
                standard.map(File::from).map_err(fail)
            }
        }
    }

    /// Half a dump under its full name would be taken for a whole one.
    fn unfinished(&self, error: Error) -> Failure {
        if let Some(path) = &self.output {
            let _ = std::fs::remove_file(path);
        }
        error.into()
    }
}
