//! `copy`: the vault at another place.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::backup::{CopyReport, CopyRequest, Credential, LockSetting, SnapshotList, Vault, copy, find_by_id};
use ::vault::SnapshotId;
use clap::Args;
use serde_json::json;
use store::{LockMode, MemoryStore, Store};

use super::units::{ClassOrNone, parse_class_or_none, parse_duration, parse_lock_mode, parse_size};
use crate::access::{self, Limits, Place};
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};
use crate::progress_bar::Shown;
use crate::settings;
use crate::snapshot_argument::Narrow;

/// What variables begin with that concern the target alone.
const TARGET_VARIABLES: &str = "STRONGROOM_TO_";

/// Copy the vault, or some snapshots, to another place
///
/// The copy is a vault of its own that the same passphrases open. Only what is missing there is copied, sealed as it is;
/// an interrupted copy goes on with the next one. It needs no passphrase unless snapshots are chosen by `latest`,
/// --host, --path or --tag, or the copy is given a --lock. Nothing is ever deleted at the target, and what was forgotten
/// there is not brought back: forget and clean up there what is not to be kept, or let --forget do the former.
#[derive(Args, Debug)]
pub struct Copy {
    /// Where to: a folder, or a URL such as swift://CONTAINER/PREFIX; made if it is not there
    #[arg(long, value_name = "URL|PATH")]
    to: String,
    /// Only these snapshots: the beginnings of their ids, or `latest`
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// Read back everything that was copied, and compare
    #[arg(long)]
    verify: bool,
    /// Store no more than this per second, such as 5M
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    limit_upload: Option<u64>,
    /// Fetch no more than this per second, such as 5M
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    limit_download: Option<u64>,
    /// Keep data in this storage class of the place that is copied to, or in its usual one: none; as the vault's settings
    /// say unless said otherwise
    #[arg(long, value_name = "CLASS|none", value_parser = parse_class_or_none)]
    data_class: Option<ClassOrNone>,
    /// Lock what is copied, and all that comes there later, for so long, such as 30d: in an S3 bucket that was made with
    /// object lock
    ///
    /// It is a setting of the copy alone, which needs the passphrase. Later copies follow it by themselves; the copy's own
    /// cleanup keeps the locks up.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    lock: Option<Duration>,
    /// Who may take a lock away before its time: governance, whom the store's owner allows it; compliance, nobody
    #[arg(long, value_name = "MODE", default_value = "governance", value_parser = parse_lock_mode, requires = "lock")]
    lock_mode: LockMode,
    /// Put into the target's trash what nobody can bring back here any more
    ///
    /// That is what was forgotten here and whose delay has passed. There it can be brought back until the target's delay
    /// has passed too, and what is pinned there stays.
    #[arg(long)]
    forget: bool,
    /// Compare and count; write nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    narrow: Narrow,
}

/// A vault's store, and the snapshots of it that are meant; all when there is no list.
type Source = (Arc<dyn Store>, Option<Vec<SnapshotId>>);

/// Makes the copy without any snapshot, if there is none, and sets its lock: from then on whoever writes there locks.
/// Whether it was made.
fn give_lock(
    source: &Arc<dyn Store>,
    target: &Arc<dyn Store>,
    request: &CopyRequest,
    lock: &LockSetting,
    credential: &Credential,
    cache: &Path,
    shown: &Shown,
) -> Result<bool, Failure> {
    let empty = CopyRequest { snapshots: Some(Vec::new()), ..request.clone() };
    let is_new = copy(source, target, &empty, shown.progress())?.is_new;
    Vault::open(target.clone(), credential, cache)?.set_lock(Some(lock))?;
    Ok(is_new)
}

/// Locks are a decision for when a bucket is made, and not for us to take.
fn no_bucket(target: &Place) -> Failure {
    let message = format!("there is nothing at {}", target.shown());
    Failure::plain(message, "objects can be locked in a bucket that was made with object lock: make one")
}

impl Copy {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let (place, target) = (Place::of(global)?, Place::other(&self.to, TARGET_VARIABLES)?);
        if place.is(&target) {
            let message = format!("{} is the vault itself", target.shown());
            return Err(Failure::usage(message, "name another place with --to"));
        }
        if target.is_inside(&place) {
            let message = format!("{} is inside the vault itself", target.shown());
            return Err(Failure::usage(message, "name a place outside of it with --to"));
        }
        let limits = Limits { upload: None, download: self.limit_download };
        let (source, snapshots) = self.source(global, &place, limits)?;
        let limits = Limits { upload: self.limit_upload, download: None };
        let may_make = !self.dry_run && (self.lock.is_none() || !target.has_buckets());
        let store = target.open_or_make(limits, may_make)?;
        let lock = self.lock.map(|period| LockSetting { period, mode: self.lock_mode });
        let store = match (store, lock) {
            (Some(store), _) => store,
            (None, None) => Arc::new(MemoryStore::new()),
            (None, Some(_)) => return Err(no_bucket(&target)),
        };
        let data_class = self.data_class.clone().map(|ClassOrNone(class)| class);
        let (verify, forget, dry_run) = (self.verify, self.forget, self.dry_run);
        let request = CopyRequest { snapshots, verify, data_class, lock, forget, dry_run };
        let credential = lock.map(|_| access::open_with_credential(global)).transpose()?;
        let shown = Shown::start(output);
        let mut is_new = false;
        if let (Some(lock), Some((_, credential)), false) = (&lock, credential, self.dry_run) {
            is_new =
                give_lock(&source, &store, &request, lock, &credential, &settings::cache(global)?, &shown)?;
        }
        let report = copy(&source, &store, &request, shown.progress());
        shown.end();
        let mut report = report?;
        report.is_new |= is_new;
        let code = match &report {
            report if report.ended_early => exit::INTERRUPTED,
            report if !report.is_complete() => exit::DAMAGED,
            _ => exit::DONE,
        };
        self.tell(output, &report, &target, code);
        Ok(code)
    }

    /// The vault's store and the snapshots that are meant. The vault is opened only if they are chosen by what is
    /// sealed.
    fn source(&self, global: &Global, place: &Place, limits: Limits) -> Result<Source, Failure> {
        let filter = self.narrow.filter();
        let is_narrowed = !(filter.hosts.is_empty() && filter.paths.is_empty() && filter.tags.is_empty());
        if !is_narrowed && !self.snapshots.iter().any(|text| text == "latest") {
            let store = place.open_store(limits)?;
            if self.snapshots.is_empty() {
                return Ok((store, None));
            }
            let ids = find_by_id(&store, &self.snapshots)?;
            return Ok((store, Some(ids)));
        }
        let vault: Arc<Vault> = access::open_limited(global, limits)?;
        let list = SnapshotList::load(&vault)?;
        let ids: Vec<SnapshotId> = if self.snapshots.is_empty() {
            list.matching(&filter).iter().map(|snapshot| snapshot.id).collect()
        } else {
            let found = self.snapshots.iter().map(|text| list.find(text, &filter));
            found.map(|found| found.map(|snapshot| snapshot.id)).collect::<Result<_, _>>()?
        };
        Ok((vault.store().clone(), Some(ids)))
    }

    fn tell(&self, output: &Output, report: &CopyReport, target: &Place, code: Code) {
        for id in &report.forgotten_at_target {
            output.event(
                &json!({ "type": "passed_over", "snapshot": id.to_string(), "forgotten_at": "target" }),
            );
            output.say(&format!(
                "Snapshot {} was forgotten at the target and is not brought back.",
                id.short()
            ));
        }
        for id in &report.forgotten_at_source {
            output.event(
                &json!({ "type": "passed_over", "snapshot": id.to_string(), "forgotten_at": "source" }),
            );
        }
        if !report.forgotten_at_source.is_empty() {
            let count = output::count(report.forgotten_at_source.len() as u64, "snapshot");
            output.say(&format!("Not copied: {count} in the trash here; `strongroom undelete` brings back."));
        }
        for id in &report.forgotten {
            output.event(&json!({ "type": "forgotten", "snapshot": id.to_string(), "until": null }));
            let verb = if self.dry_run { "would go" } else { "went" };
            output.say(&format!(
                "Snapshot {} {verb} to the trash at the target, as it is gone here.",
                id.short()
            ));
        }
        for fault in &report.faults {
            let message = fault.damage.to_string();
            output.event(&json!({
                "type": "fault", "object": fault.object, "location": fault.location, "message": message,
            }));
            let text = format!("damage: {} at {}: {message}", fault.object, fault.location);
            output.line(&output::path(text.as_bytes()));
        }
        for left in &report.left_behind {
            output.event(&json!({
                "type": "left_behind", "snapshot": left.snapshot.to_string(), "objects": left.objects,
            }));
            let objects = left.objects.join(", ");
            output.line(&format!("Snapshot {} was not copied: it needs {objects}", left.snapshot.short()));
        }
        let copied = report.copied.len() as u64;
        let (verb, made) = match (self.dry_run, report.is_new) {
            (true, _) => ("Would copy", ""),
            (false, true) => ("Copied", ", a new vault"),
            (false, false) => ("Copied", ""),
        };
        output.say(&format!(
            "{verb} {}, {} and {} to {}{made}; {} there already.",
            output::count(copied, "snapshot"),
            output::count(report.packs_copied, "pack"),
            output::size(report.bytes_copied),
            target.shown(),
            output::count(report.present, "snapshot"),
        ));
        if report.ended_early {
            output::note("interrupted: run the same command again, what arrived is kept");
        } else if code == exit::DAMAGED {
            output::note(
                "hint: see `strongroom check`, then `strongroom repair --from` the vault that is whole",
            );
        }
        let figures = json!({
            "location": target.shown(), "dry_run": self.dry_run, "new": report.is_new, "copied": copied,
            "present": report.present, "left_behind": report.left_behind.len(), "faults": report.faults.len(),
            "packs_copied": report.packs_copied, "packs_present": report.packs_present,
            "segments_moved": report.segments_moved, "bytes_copied": report.bytes_copied,
            "forgotten_at_source": report.forgotten_at_source.len(),
            "forgotten_at_target": report.forgotten_at_target.len(), "forgotten": report.forgotten.len(),
        });
        output.summary("copy", code, figures);
    }
}
