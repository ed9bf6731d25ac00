//! `cleanup`: getting rid of what nobody needs.

use std::time::Duration;

use ::backup::{CleanupReport, CleanupRequest, clean_up, clean_up_regrouping};
use clap::Args;
use serde_json::json;

use super::units::{parse_duration, parse_percent, parse_share, parse_size_or_none};
use crate::access::{self, Limits, Place};
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};
use crate::progress_bar::Shown;

/// Free the space of what was forgotten
///
/// Deletes snapshots whose time in the trash is over and data that no snapshot needs, and joins packs that are mostly
/// unused. It works beside running backups and needs no passphrase. What is not needed is condemned first, and deleted
/// once everybody who may not know of that has ended: with a vault on another machine, by the next cleanup.
#[derive(Args, Debug)]
pub struct Cleanup {
    /// Put up with this share of unused bytes, against those in use, before packs are joined
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = parse_share)]
    max_unused: f64,
    /// Move no more bytes than this, such as 5G; 0 only deletes
    #[arg(long, value_name = "SIZE", value_parser = parse_size_or_none)]
    max_move: Option<u64>,
    /// Leave data that no snapshot ever needed alone for so long: an interrupted backup goes on with it
    #[arg(long, value_name = "DURATION", default_value = "2d", value_parser = parse_duration)]
    unfinished: Duration,
    /// Take chunks that no snapshot needs out of packs in which they are more than this share; needs a key that can read
    ///
    /// Small files share segments, which stay as long as anything in them is needed. With the key, what is needed of them is
    /// sealed anew without the rest. Every snapshot restores as before. A pack is announced by one cleanup and regrouped
    /// by the next, when everybody who may not know of that has ended; in a folder at which nobody is at work, by the same.
    #[arg(
        long, value_name = "PERCENT", num_args = 0..=1, require_equals = true, default_missing_value = "15",
        value_parser = parse_percent
    )]
    regroup: Option<f64>,
    /// Regroup though copies of another vault arrived here: the other one is lost, and none will arrive any more
    ///
    /// Usually nothing is regrouped in a vault at which copies arrive, since a later one may need what is taken out. What is
    /// regrouped at their source arrives with the next copy.
    #[arg(long, requires = "regroup")]
    no_more_copies: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// What a dry run says will be free: what is condemned, without what is moved out of it.
fn to_free(report: &CleanupReport) -> u64 {
    report.bytes_condemned.saturating_sub(report.bytes_moved)
}

impl Cleanup {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let request = CleanupRequest {
            max_unused: Some(self.max_unused / 100.0),
            max_move: self.max_move,
            unfinished: Some(self.unfinished),
            no_more_copies: self.no_more_copies,
            dry_run: self.dry_run,
        };
        let (shown, report) = match self.regroup {
            None => {
                let store = Place::of(global)?.open_store(Limits::default())?;
                let shown = Shown::start(output);
                let report = clean_up(&store, &request, shown.progress())?;
                (shown, report)
            }
            Some(percent) => {
                let vault = access::open_vault(global)?;
                let shown = Shown::start(output);
                let report = clean_up_regrouping(&vault, &request, percent / 100.0, shown.progress())?;
                (shown, report)
            }
        };
        shown.end();
        self.tell(&report, output);
        let calls: serde_json::Map<_, _> = report
            .calls
            .iter()
            .map(|(operation, count)| (operation.name().to_owned(), json!(count)))
            .collect();
        let figures = json!({
            "dry_run": self.dry_run, "snapshots_deleted": report.snapshots_deleted,
            "packs_deleted": report.packs_deleted, "bytes_freed": report.bytes_freed,
            "snapshots_condemned": report.snapshots_condemned, "packs_condemned": report.packs_condemned,
            "segments_condemned": report.segments_condemned, "bytes_condemned": report.bytes_condemned,
            "bytes_to_free": self.dry_run.then(|| to_free(&report)), "kept": report.kept,
            "segments_moved": report.segments_moved, "bytes_moved": report.bytes_moved,
            "packs_unfinished": report.unfinished.0, "bytes_unfinished": report.unfinished.1,
            "bytes_live": report.bytes_live, "bytes_unused": report.bytes_unused,
            "packs_closed": report.packs_closed, "packs_regrouped": report.packs_regrouped,
            "copies_arrive": report.copies_arrive, "calls": calls,
            "locked": report.locked, "bytes_locked": report.bytes_locked,
            "locked_until": report.locked_until.map(output::json_moment), "held": report.held.objects,
            "held_until": report.held.until.map(output::json_moment), "locks_extended": report.held.extended,
            "locks_impossible": report.held.is_impossible, "waiting": report.waiting.len(), "not_understood": report.not_understood.len(),
        });
        output.summary("cleanup", exit::DONE, figures);
        Ok(exit::DONE)
    }

    fn tell(&self, report: &CleanupReport, output: &Output) {
        let would = |is: &str, would: &str| if self.dry_run { would.to_owned() } else { is.to_owned() };
        if report.snapshots_condemned + report.packs_condemned > 0 {
            output.say(&format!(
                "{}: {} and {} ({}, {}), which nobody needs.",
                would("Condemned", "Would condemn"),
                output::count(report.snapshots_condemned, "snapshot"),
                output::count(report.packs_condemned, "pack"),
                output::count(report.segments_condemned, "segment"),
                output::size(report.bytes_condemned)
            ));
        }
        if report.bytes_moved > 0 {
            output.say(&format!(
                "{}: {} ({}) out of packs that are mostly unused.",
                would("Moved", "Would move"),
                output::count(report.segments_moved, "segment"),
                output::size(report.bytes_moved)
            ));
        }
        if self.dry_run {
            output.say(&format!("Would free: {}.", output::size(to_free(report))));
        }
        if report.kept > 0 {
            output.say(&format!(
                "Kept: {} that {} condemned and needed after all.",
                output::count(report.kept, "object"),
                if report.kept == 1 { "was" } else { "were" }
            ));
        }
        if !self.dry_run {
            output.say(&format!(
                "Deleted: {} and {}; {} freed.",
                output::count(report.snapshots_deleted, "snapshot"),
                output::count(report.packs_deleted, "pack"),
                output::size(report.bytes_freed)
            ));
        }
        if let Some(last) = report.waiting.iter().map(|waiting| waiting.until).max() {
            let whom = match report.waiting.iter().any(|waiting| waiting.holder.is_some()) {
                true => "somebody is at work on the vault, or was interrupted",
                false => "the store is given time to show everybody what was condemned",
            };
            output.say(&format!(
                "Waiting: what was condemned is deleted by a cleanup after {}: {whom}.",
                output::local_moment(last)
            ));
        }
        if report.locked > 0 {
            let until = report.locked_until.map(|until| format!(" until {}", output::local_moment(until)));
            output.say(&format!(
                "Locked: {} ({}) that nobody needs{}; a cleanup after that deletes them.",
                output::count(report.locked, "object"),
                output::size(report.bytes_locked),
                until.unwrap_or_default()
            ));
        }
        self.tell_held(report, output);
        if report.unfinished.0 > 0 {
            output.say(&format!(
                "Left alone: {} ({}) that no snapshot needs yet; a backup is running or was interrupted.",
                output::count(report.unfinished.0, "pack"),
                output::size(report.unfinished.1)
            ));
        }
        if report.copies_arrive {
            output.say(
                "Nothing is regrouped here, as copies of another vault arrive: regroup that one. If it is lost, use --no-more-copies.",
            );
        }
        if report.packs_closed + report.packs_regrouped > 0 {
            output.say(&format!(
                "Regrouped: {}; announced for it: {}.",
                output::count(report.packs_regrouped, "pack"),
                output::count(report.packs_closed, "pack")
            ));
        }
        let calls: u64 = report.calls.iter().map(|(_, count)| count).sum();
        let kinds = report.calls.iter().map(|(operation, count)| format!("{count} {}", operation.name()));
        output.say(&format!(
            "Asked of the store: {} ({}).",
            output::count(calls, "call"),
            kinds.collect::<Vec<_>>().join(", ")
        ));
        output.say(&format!(
            "In use: {}; unused within packs: {}.",
            output::size(report.bytes_live),
            output::size(report.bytes_unused)
        ));
        for (object, problem) in &report.not_understood {
            output::note(&format!(
                "warning: {} is left as it is: {}; run `strongroom check`",
                output::path(object.as_bytes()),
                output::path(problem.as_bytes())
            ));
        }
    }

    /// What is kept locked.
    fn tell_held(&self, report: &CleanupReport, output: &Output) {
        let held = &report.held;
        if held.is_impossible {
            output::note(
                "warning: the settings ask for locks, and this store has none; see `strongroom settings --help`",
            );
        }
        if let Some(until) = held.until {
            output.say(&format!(
                "Kept locked: {} until {} at least; {} made longer.",
                output::count(held.objects, "object"),
                output::local_moment(until),
                output::count(held.extended, "lock")
            ));
        }
    }
}
