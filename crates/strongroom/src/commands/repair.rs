//! `repair`: what is damaged, from a replica.

use ::backup::{LostFile, RepairHow, RepairReport, RepairRequest, files_lost, repair};
use clap::Args;
use serde_json::json;

use crate::access::{self, Limits, Place};
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};
use crate::progress_bar::Shown;

/// What variables begin with that concern the replica alone.
const REPLICA_VARIABLES: &str = "STRONGROOM_FROM_";

/// Put back what is damaged or missing
///
/// Looks for objects that are damaged or missing and takes what is lost from a copy of the vault: sealed as it is, without
/// a passphrase. Packs that a check recorded as damaged are read whole; with --read-data, all that snapshots need. What
/// no copy has stays lost: --salvage then takes it out of the index, so that the next backup stores it again from files
/// that still exist, and names every file of every snapshot that is touched (for which it needs the passphrase).
#[derive(Args, Debug)]
pub struct Repair {
    /// A copy of the vault: a folder, or a URL
    #[arg(long, value_name = "URL|PATH")]
    from: Option<String>,
    /// Read every pack that a snapshot needs
    #[arg(long)]
    read_data: bool,
    /// Take what nobody has out of the index, and name the files that are touched
    #[arg(long)]
    salvage: bool,
    /// Look and tell; change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Repair {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let place = Place::of(global)?;
        let store = place.open_store(Limits::default())?;
        let mut replica = None;
        if let Some(from) = &self.from {
            let other = Place::other(from, REPLICA_VARIABLES)?;
            if place.is(&other) {
                let message = format!("{} is the vault itself", other.shown());
                return Err(Failure::usage(message, "name a copy of it with --from"));
            }
            replica = Some(other.open_store(Limits::default())?);
        }
        let request =
            RepairRequest { read_data: self.read_data, salvage: self.salvage, dry_run: self.dry_run };
        let shown = Shown::start(output);
        let report = repair(&store, replica.as_ref(), request, shown.progress());
        shown.end();
        let report = report?;
        self.tell(output, &report);
        let mut files = 0;
        if self.salvage && report.lost.iter().any(|lost| !lost.segments.is_empty()) {
            let vault = access::open_vault(global)?;
            let shown = Shown::start(output);
            let lost = files_lost(&vault, &report, shown.progress());
            shown.end();
            let lost = lost?;
            lost.iter().for_each(|file| tell_file(output, file));
            files = lost.len();
        }
        let code = if report.lost.is_empty() { exit::DONE } else { exit::DAMAGED };
        let figures = json!({
            "dry_run": self.dry_run, "healed": report.healed.len(), "lost": report.lost.len(),
            "files_lost": files, "snapshots_back": report.snapshots_back.len(),
            "segments_fetched": report.segments_fetched, "bytes_read": report.bytes_read,
            "bytes_written": report.bytes_written, "records_healed": report.records_healed,
            "salvaged": report.salvaged,
        });
        output.summary("repair", code, figures);
        Ok(code)
    }

    fn tell(&self, output: &Output, report: &RepairReport) {
        for healed in &report.healed {
            let how = match healed.how {
                RepairHow::PutBack => "put_back",
                RepairHow::Moved => "moved",
                RepairHow::MadeAnew => "made_anew",
            };
            let message = healed.damage.to_string();
            output
                .event(&json!({ "type": "healed", "object": healed.object, "how": how, "message": message }));
            let what = match (self.dry_run, healed.how) {
                (true, _) => "could be healed",
                (false, RepairHow::PutBack) => "was put back",
                (false, RepairHow::Moved) => "was replaced by a new pack",
                (false, RepairHow::MadeAnew) => "was made anew",
            };
            output.line(&output::path(format!("healed: {} ({message}) {what}", healed.object).as_bytes()));
        }
        for lost in &report.lost {
            let message = lost.damage.to_string();
            let segments = |(pack, segments): &(::vault::PackId, ::vault::SegmentSet)| json!({ "pack": pack.to_string(), "segments": segments.len() });
            output.event(&json!({
                "type": "lost", "object": lost.object, "message": message,
                "packs": lost.segments.iter().map(segments).collect::<Vec<_>>(),
            }));
            let count: u64 = lost.segments.iter().map(|(_, segments)| segments.len() as u64).sum();
            let missing = match count {
                0 => String::new(),
                count => format!("; {} that snapshots need cannot be had", output::count(count, "segment")),
            };
            output.line(&output::path(format!("lost: {}: {message}{missing}", lost.object).as_bytes()));
        }
        let next = match (report.healed.is_empty(), report.lost.is_empty(), self.salvage) {
            (true, true, _) if self.read_data => "Nothing that snapshots need is damaged.",
            (true, true, _) => {
                "Nothing is known to be damaged; `strongroom check --read-data` looks at every byte."
            }
            (false, true, _) if self.dry_run => "All of it can be healed: run it without --dry-run.",
            (false, true, _) => {
                "All of it is healed; `strongroom check --read-data` proves it, and `strongroom cleanup` removes what \
                 was replaced."
            }
            (_, false, true) if self.dry_run => {
                "What is lost stays lost in old snapshots; run it without --dry-run, and the next backup stores it again \
                 from files that still exist."
            }
            (_, false, true) => {
                "What is lost stays lost in old snapshots; the next backup stores it again from files that still exist. When \
                 the snapshots that are touched are forgotten for good, `strongroom cleanup` keeps what is whole of the rest."
            }
            (_, false, false) => {
                "Name another copy with --from; if there is none, --salvage names the files that are touched."
            }
        };
        output.say(next);
    }
}

fn tell_file(output: &Output, file: &LostFile) {
    let event = json!({ "type": "file_lost", "snapshot": file.snapshot.to_string() });
    output.event(&output::with(event, output::json_path(&file.path)));
    output.line(&format!("    touches {}:{}", file.snapshot.short(), output::path(&file.path)));
}
