//! `snapshots`: what there is.

use std::sync::Arc;
use std::time::SystemTime;

use ::backup::{Delays, InTrash, Pins, SealedSnapshot, Snapshot, SnapshotList, Until};
use clap::Args;
use content::tree::Time;
use serde_json::{Value, json};
use vault::error::Damage;

use crate::access::{self, Limits};
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
    /// List those in the trash instead, and until when they can be brought back
    #[arg(long)]
    trash: bool,
    #[command(flatten)]
    narrow: Narrow,
}

/// What is to be said of a snapshot besides itself.
struct Beside {
    text: String,
    event: Value,
}

impl Beside {
    fn pinned(pins: &Pins, snapshot: &Snapshot) -> Self {
        let until = pins.until(snapshot.id, SystemTime::now());
        let (text, held_until) = match until {
            None => (String::new(), None),
            Some(Until::Unpinned) => ("  (pinned)".to_owned(), None),
            Some(Until::Moment(end)) => {
                let moment = output::json_time(Time { seconds: end, nanoseconds: 0 });
                (format!("  (held until {})", output::local_time(end)), Some(moment))
            }
        };
        let pinned = until == Some(Until::Unpinned);
        Self { text, event: json!({ "pinned": pinned, "held_until": held_until }) }
    }

    fn in_trash(delays: &Delays, one: &InTrash) -> Self {
        let until = delays.kept_until(one.forgotten.since);
        let text = if until <= SystemTime::now() {
            "  (too late to bring it back)".to_owned()
        } else {
            format!("  (until {})", output::local_moment(until))
        };
        let forgotten = output::json_moment(one.forgotten.since);
        Self { text, event: json!({ "forgotten": forgotten, "until": output::json_moment(until) }) }
    }
}

impl Snapshots {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let vault = access::open_to_read(global, Limits::default())?;
        let list = SnapshotList::load(&vault)?;
        let filter = self.narrow.filter();
        let (snapshots, damaged): (Vec<_>, Vec<_>) = if self.trash {
            let delays = vault.delays()?;
            let readable = list.trash.iter().filter_map(|one| Some((one, one.snapshot.as_ref().ok()?)));
            let fitting = readable.filter(|(_, snapshot)| filter.fits(snapshot));
            let damaged = |one: &InTrash| Some((one.id.snapshot_name(), one.snapshot.clone().err()?));
            (
                fitting.map(|(one, snapshot)| (snapshot.clone(), Beside::in_trash(&delays, one))).collect(),
                list.trash.iter().filter_map(damaged).collect(),
            )
        } else {
            let pins = vault.pins()?;
            let beside = |snapshot: Arc<Snapshot>| {
                let beside = Beside::pinned(&pins, &snapshot);
                (snapshot, beside)
            };
            (list.matching(&filter).into_iter().map(beside).collect(), list.damaged.clone())
        };
        let in_place = |sealed: &&SealedSnapshot| list.in_trash(sealed.id).is_some() == self.trash;
        let sealed: Vec<_> = list.sealed.iter().filter(in_place).collect();
        match (snapshots.is_empty() && sealed.is_empty(), self.trash) {
            (true, false) if list.trash.is_empty() => {
                output.say("There are no snapshots yet; `strongroom backup PATH` makes one.");
            }
            (true, false) => output.say("There are no snapshots but those in the trash."),
            (true, true) => output.say("There is nothing in the trash."),
            (false, _) => output.line(&format!(
                "{:8}  {:25}  {:16}  {:>10}  {:>10}  paths",
                "id", "time", "host", "files", "size"
            )),
        }
        for (snapshot, beside) in &snapshots {
            self.show(output, snapshot, beside);
        }
        for sealed in &sealed {
            tell_sealed(output, sealed);
        }
        for (name, damage) in
            damaged.iter().filter(|(_, damage)| *damage != Damage::Sealed || sealed.is_empty())
        {
            tell_damage(output, name, damage);
        }
        let is_damaged = damaged.iter().any(|(_, damage)| !damage.is_newer());
        let code = if is_damaged { exit::DAMAGED } else { exit::DONE };
        let figures =
            json!({ "snapshots": snapshots.len(), "sealed": sealed.len(), "unreadable": damaged.len() });
        output.summary("snapshots", code, figures);
        Ok(code)
    }

    fn show(&self, output: &Output, snapshot: &Snapshot, beside: &Beside) {
        let body = &snapshot.body;
        let paths: Vec<String> = body.paths.iter().map(|path| output::path(path)).collect();
        let tags = if body.tags.is_empty() { String::new() } else { format!("  [{}]", body.tags.join(", ")) };
        let tags = output::path(tags.as_bytes());
        let errors = body.problems.iter().filter(|problem| problem.kind.is_error()).count() as u64;
        let mark =
            if errors == 0 { String::new() } else { format!("  ({})", output::count(errors, "problem")) };
        output.line(&format!(
            "{:8}  {:25}  {:16}  {:>10}  {:>10}  {}{tags}{mark}{}",
            snapshot.id.short(),
            output::local_time(snapshot.envelope.time.0),
            output::path(body.host.as_bytes()),
            output::number(snapshot.envelope.files),
            output::size(snapshot.envelope.bytes),
            paths.join(", "),
            beside.text,
        ));
        let numbers = &body.statistics;
        let event = json!({
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
        });
        output.event(&output::with(event, beside.event.clone()));
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

/// What is public of a snapshot that the key does not open, for programs.
pub fn sealed_event(sealed: &SealedSnapshot) -> Value {
    let envelope = &sealed.envelope;
    let (seconds, nanoseconds) = envelope.time;
    json!({
        "type": "sealed", "id": sealed.id.to_string(), "time": output::json_time(Time { seconds, nanoseconds }),
        "files": envelope.files, "bytes": envelope.bytes, "write_only": sealed.is_write_only,
    })
}

/// The same for people.
fn tell_sealed(output: &Output, sealed: &SealedSnapshot) {
    let envelope = &sealed.envelope;
    let why =
        if sealed.is_write_only { "this key can only add" } else { "sealed with newer keys than these" };
    output.event(&sealed_event(sealed));
    output.line(&format!(
        "{:8}  {:25}  {:16}  {:>10}  {:>10}  ({why})",
        sealed.id.short(),
        output::local_time(envelope.time.0),
        "",
        output::number(envelope.files),
        output::size(envelope.bytes),
    ));
}

fn tell_damage(output: &Output, name: &str, damage: &Damage) {
    let newer = damage.is_newer();
    let message = damage.to_string();
    output.event(&json!({ "type": "unreadable", "object": name, "newer": newer, "message": message }));
    let next = if newer { "update this program" } else { "run `strongroom check`" };
    output::note(&format!("warning: {name} cannot be read: {message}; {next}"));
}
