//! `snapshots`: what there is.

use ::backup::{Snapshot, SnapshotList};
use clap::Args;
use serde_json::json;

use crate::access;
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};
use crate::snapshot_argument::Narrow;

/// List the snapshots, or the problems they recorded
///
/// The oldest comes first.
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
            let newer = damage.is_newer();
            let message = damage.to_string();
            output
                .event(&json!({ "type": "unreadable", "object": name, "newer": newer, "message": message }));
            let next = if newer { "update this program" } else { "run `strongroom check`" };
            output::note(&format!("warning: {name} cannot be read: {message}; {next}"));
        }
        let damaged = list.damaged.iter().any(|(_, damage)| !damage.is_newer());
        let code = if damaged { exit::DAMAGED } else { exit::DONE };
        let figures = json!({ "snapshots": snapshots.len(), "unreadable": list.damaged.len() });
        output.summary("snapshots", code, figures);
        Ok(code)
    }

    fn show(&self, output: &Output, snapshot: &Snapshot) {
        let body = &snapshot.body;
        let paths: Vec<String> = body.paths.iter().map(|path| output::path(path)).collect();
        let tags = if body.tags.is_empty() { String::new() } else { format!("  [{}]", body.tags.join(", ")) };
        let tags = output::path(tags.as_bytes());
        let errors = body.problems.iter().filter(|problem| problem.kind.is_error()).count() as u64;
        let mark =
            if errors == 0 { String::new() } else { format!("  ({})", output::count(errors, "problem")) };
        output.line(&format!(
            "{:8}  {:25}  {:16}  {:>10}  {:>10}  {}{tags}{mark}",
            snapshot.id.short(),
            output::local_time(snapshot.envelope.time.0),
            output::path(body.host.as_bytes()),
            output::number(snapshot.envelope.files),
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
                let message = output::path(problem.message.as_bytes());
                output.line(&format!("          {}: {message}", output::path(&problem.path)));
                let event = json!({
                    "type": "snapshot_problem", "snapshot": snapshot.id.to_string(),
                    "kind": output::problem_kind(problem.kind), "error": problem.kind.is_error(),
                    "message": problem.message,
                });
                output.event(&output::with(event, output::json_path(&problem.path)));
            }
        }
    }
}
