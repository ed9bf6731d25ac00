//! `snapshots`: what there is.

use ::backup::{Snapshot, SnapshotList};
use clap::Args;
use serde_json::json;

use crate::access;
use crate::cli::Global;
use crate::exit::{self, Code};
use crate::output::{self, Failure, Output};
use crate::snapshot_argument::Narrow;

/// Lists the snapshots, the oldest first.
#[derive(Args, Debug)]
pub struct Snapshots {
    /// Show the problems that each backup met
    #[arg(long)]
    problems: bool,
    #[command(flatten)]
    narrow: Narrow,
}

impl Snapshots {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let vault = access::open_vault(global)?;
        let list = SnapshotList::load(&vault)?;
        let snapshots = list.matching(&self.narrow.filter());
        if snapshots.is_empty() {
            output.say("There are no snapshots yet; `strongroom backup PATH` makes one.");
        } else {
            output.line(&format!(
                "{:8}  {:25}  {:16}  {:>10}  {:>10}  paths",
                "id", "time", "host", "files", "size"
            ));
        }
        for snapshot in &snapshots {
            self.show(output, snapshot);
        }
        for (name, damage) in &list.damaged {
            output.event(&json!({ "type": "damaged", "object": name, "message": damage.to_string() }));
            output::note(&format!("warning: {name} cannot be read: {damage}; run `strongroom check`"));
        }
        let damaged = list.damaged.iter().any(|(_, damage)| !damage.is_newer());
        Ok(if damaged { exit::DAMAGED } else { exit::DONE })
    }

    fn show(&self, output: &Output, snapshot: &Snapshot) {
        let body = &snapshot.body;
        let paths: Vec<String> = body.paths.iter().map(|path| output::path(path)).collect();
        let tags = if body.tags.is_empty() { String::new() } else { format!("  [{}]", body.tags.join(", ")) };
        let errors = body.problems.iter().filter(|problem| problem.kind.is_error()).count() as u64;
        let mark =
            if errors == 0 { String::new() } else { format!("  ({})", output::count(errors, "problem")) };
        output.line(&format!(
            "{:8}  {:25}  {:16}  {:>10}  {:>10}  {}{tags}{mark}",
            snapshot.id.short(),
            output::local_time(snapshot.envelope.time.0),
            body.host,
            snapshot.envelope.files,
            output::size(snapshot.envelope.bytes),
            paths.join(", "),
        ));
        let numbers = &body.statistics;
        output.event(&json!({
            "type": "snapshot",
            "id": snapshot.id.to_string(),
            "time": output::json_time(body.finished),
            "started": output::json_time(body.started),
            "host": body.host,
            "user": body.user,
            "program": body.program,
            "paths": body.paths.iter().map(|path| output::json_path(path)).collect::<Vec<_>>(),
            "tags": body.tags,
            "files": snapshot.envelope.files,
            "bytes": snapshot.envelope.bytes,
            "sequence": snapshot.envelope.sequence,
            "bytes_new": numbers.bytes_new,
            "bytes_stored": numbers.bytes_stored,
            "problems": errors,
        }));
        if self.problems {
            for problem in &body.problems {
                let text = format!("{}: {}", output::path(&problem.path), problem.message);
                output.line(&format!("          {text}"));
                let event = json!({
                    "type": "snapshot_problem", "snapshot": snapshot.id.to_string(), "message": problem.message,
                    "error": problem.kind.is_error(),
                });
                output.event(&output::with(event, output::json_path(&problem.path)));
            }
        }
    }
}
