//! `find`: names in snapshots.

use ::backup::{FindRequest, SnapshotList};
use clap::Args;
use serde_json::json;

use super::ls;
use super::units::parse_size;
use crate::access::{self, Limits};
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};
use crate::progress_bar::Shown;
use crate::snapshot_argument::{Narrow, SnapshotArgument};

/// Find names in snapshots
///
/// `*.conf` anywhere, `etc/*.conf` at the end of a path, `/etc/**` from the top.
#[derive(Args, Debug)]
pub struct Find {
    /// What to look for; any of several
    #[arg(value_name = "PATTERN", required = true)]
    patterns: Vec<String>,
    /// Only in this snapshot (repeatable); otherwise in all that fit
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Vec<std::ffi::OsString>,
    /// Take capital and small letters as the same
    #[arg(long, short)]
    ignore_case: bool,
    /// Only files of at least this size
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    larger_than: Option<u64>,
    /// Only files of at most this size
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    smaller_than: Option<u64>,
    /// Show mode, owner, size and time
    #[arg(long, short)]
    long: bool,
    #[command(flatten)]
    narrow: Narrow,
}

impl Find {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let vault = access::open_to_read(global, Limits::default())?;
        let snapshots = if self.snapshot.is_empty() {
            SnapshotList::load(&vault)?.matching(&self.narrow.filter())
        } else {
            let parse = |text: &std::ffi::OsString| {
                let argument = SnapshotArgument::parse(text);
                if argument.path != b"/" {
                    let hint = "put the path into the pattern, such as '/etc/**/*.conf'";
                    return Err(Failure::usage("--snapshot takes a whole snapshot", hint));
                }
                argument.find(&vault, &self.narrow)
            };
            self.snapshot.iter().map(parse).collect::<Result<_, _>>()?
        };
        let request = FindRequest {
            patterns: self.patterns.clone(),
            ignore_case: self.ignore_case,
            size_min: self.larger_than,
            size_max: self.smaller_than,
            ..FindRequest::default()
        };
        let shown = Shown::hidden();
        let mut last = None;
        let report =
            ::backup::find(&vault, &snapshots, &request, shown.progress(), &mut |snapshot, path, entry| {
                if output.json {
                    let event = output::with(ls::entry_event("found", entry), output::json_path(path));
                    output.event(&output::with(event, json!({ "snapshot": snapshot.id.to_string() })));
                    return Ok(());
                }
                if last != Some(snapshot.id) {
                    let time = output::local_time(snapshot.envelope.time.0);
                    output.line(&format!("Snapshot {} of {time}:", snapshot.id.short()));
                    last = Some(snapshot.id);
                }
                let text = if self.long { ls::long(path, entry) } else { output::path(path) };
                output.line(&format!("  {text}"));
                Ok(())
            })?;
        report.problems.iter().for_each(|problem| output.problem(problem));
        if report.found == 0 {
            output.say(&format!("Nothing found in {}.", output::count(snapshots.len() as u64, "snapshot")));
        }
        let code = if report.problems.is_empty() { exit::DONE } else { exit::DAMAGED };
        output.summary("find", code, json!({ "found": report.found, "snapshots": snapshots.len() }));
        Ok(code)
    }
}
