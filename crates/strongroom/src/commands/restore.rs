//! `restore`: files and folders back from a snapshot.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use ::backup::{
    Overwrite, Reader, ReadingTenure, RestoreReport, RestoreRequest, Snapshot, SnapshotList, Vault,
    restore_during,
};
use clap::{Args, ValueEnum};
use files::Selection;
use serde_json::json;

use super::units::{parse_size, parse_threads};
use super::warming::{Next, Warming};
use crate::access::{self, Limits};
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};
use crate::progress_bar::Shown;
use crate::snapshot_argument::{Narrow, SnapshotArgument};

const TREE_CACHE: usize = 4 << 20;

/// What to do with files that exist.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Existing {
    /// Write all of their content again
    Always,
    /// Compare their content and write only what differs
    IfChanged,
    /// The same, but leave alone what is newer than the snapshot
    IfNewer,
    /// Leave alone everything that exists
    Never,
}

impl From<Existing> for Overwrite {
    fn from(existing: Existing) -> Self {
        match existing {
            Existing::Always => Self::Always,
            Existing::IfChanged => Self::IfChanged,
            Existing::IfNewer => Self::IfNewer,
            Existing::Never => Self::Never,
        }
    }
}

/// Bring files and folders back
///
/// Restores a snapshot, or a part of one. Of SNAPSHOT:FOLDER the contents come into the target; of a whole snapshot
/// everything comes below it with its full path. `--in-place` puts everything back where it was.
///
/// Of a vault with data in cold storage, what is needed is asked for first, which costs money, and waited for;
/// --dry-run tells how much that is.
#[derive(Args, Debug)]
pub struct Restore {
    /// The snapshot, or SNAPSHOT:PATH
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,
    /// The folder to restore into, made when missing
    #[arg(
        long,
        short,
        value_name = "DIR",
        required_unless_present = "in_place",
        conflicts_with = "in_place"
    )]
    target: Option<PathBuf>,
    /// Put everything back where it was
    #[arg(long)]
    in_place: bool,
    /// Only what fits this pattern (repeatable)
    #[arg(long, value_name = "PATTERN")]
    include: Vec<OsString>,
    /// Not what fits this pattern (repeatable)
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<OsString>,
    /// What to do with files that exist
    #[arg(long, value_enum, default_value = "if-changed", value_name = "WHEN")]
    overwrite: Existing,
    /// Fetch no more than this per second, such as 5M
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    limit_download: Option<u64>,
    /// Remove what is in restored folders and not in the snapshot
    #[arg(long)]
    delete: bool,
    /// Read everything back afterwards and compare it with the vault
    #[arg(long)]
    verify: bool,
    /// Look, compare and count; change nothing
    #[arg(long)]
    dry_run: bool,
    /// How many threads write
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    parallelism: Option<usize>,
    #[command(flatten)]
    warming: Warming,
    #[command(flatten)]
    narrow: Narrow,
}

/// Where a part of a snapshot was: a folder's contents go back into it, anything else into the folder it was in.
fn place(
    vault: &Arc<Vault>,
    tenure: Option<&ReadingTenure>,
    snapshot: &Snapshot,
    part: &[u8],
) -> Result<PathBuf, Failure> {
    let path = PathBuf::from("/").join(OsStr::from_bytes(part));
    let reader = match tenure {
        Some(tenure) => Reader::during(tenure, TREE_CACHE)?,
        None => Reader::new(vault, TREE_CACHE),
    };
    let root = reader.open(snapshot)?;
    match reader.lookup(&root, part)? {
        Some(entry) if !entry.is_directory() => Ok(path.parent().map_or_else(|| "/".into(), PathBuf::from)),
        _ => Ok(path),
    }
}

impl Restore {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let bytes = |patterns: &[OsString]| -> Vec<Vec<u8>> {
            patterns.iter().map(|pattern| pattern.as_encoded_bytes().to_vec()).collect()
        };
        let selection = Selection::new(&bytes(&self.include), &bytes(&self.exclude));
        let selection = selection.map_err(|error| Failure::of(&error, "see `strongroom restore --help`"))?;
        let vault = access::open_to_read(global, Limits { upload: None, download: self.limit_download })?;
        let argument = SnapshotArgument::parse(&self.snapshot);
        // It holds what it will choose from.
        let tenure = ReadingTenure::begin(&vault);
        let tenure = tenure.as_ref();
        let list = match tenure {
            Some(tenure) => SnapshotList::load_during(tenure)?,
            None => SnapshotList::load(&vault)?,
        };
        let snapshot = argument.find_in(&list, &self.narrow)?;
        let target = match &self.target {
            Some(target) => target.clone(),
            None => place(&vault, tenure, &snapshot, &argument.path)?,
        };
        let request = RestoreRequest {
            snapshot,
            part: argument.path,
            target,
            selection,
            overwrite: self.overwrite.into(),
            delete: self.delete,
            verify: self.verify,
            dry_run: self.dry_run,
            parallelism: self.parallelism,
        };
        if self.warming.run(output, &vault, &request)? == Next::End {
            output.summary("restore", exit::DONE, json!({ "dry_run": self.dry_run }));
            return Ok(exit::DONE);
        }
        let shown = Shown::start(output);
        let report = restore_during(tenure, &vault, &request, shown.progress())?;
        shown.end();
        let partial = report.problems.iter().any(|problem| problem.kind.is_error());
        let code = if partial { exit::PARTIAL } else { exit::DONE };
        self.tell(output, &report, code);
        Ok(code)
    }

    fn tell(&self, output: &Output, report: &RestoreReport, code: Code) {
        report.problems.iter().for_each(|problem| output.problem(problem));
        let did = if self.dry_run { "Would restore" } else { "Restored" };
        output.say(&format!(
            "{did} {} of {} in {}: {} written, {} were right already.",
            output::count(report.files_restored, "file"),
            output::size(report.bytes_total),
            output::duration(report.duration),
            output::size(report.bytes_written),
            output::count(report.files_unchanged, "file"),
        ));
        if report.deleted > 0 {
            let what = output::count(report.deleted, "file");
            output.say(&format!("  Removed {what} and folders that the snapshot does not have."));
        }
        let errors = report.problems.iter().filter(|problem| problem.kind.is_error()).count() as u64;
        if errors > 0 {
            let what = output::count(errors, "problem");
            output.say(&format!("  {what}, listed above: those paths are not as they were; all else is."));
        } else if self.verify && !self.dry_run {
            output.say("  Everything was read back and is as it was.");
        }
        let figures = json!({
            "seconds": report.duration.as_secs_f64(),
            "files_restored": report.files_restored, "files_unchanged": report.files_unchanged,
            "directories": report.directories, "bytes_total": report.bytes_total,
            "bytes_written": report.bytes_written, "deleted": report.deleted, "problems": errors,
            "dry_run": self.dry_run,
        });
        output.summary("restore", code, figures);
    }
}
