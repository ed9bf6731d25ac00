//! `store`: the place of a vault, apart from the vault.

use std::sync::Arc;

use ::backup::{Abilities, Harm, record_abilities, recover};
use clap::{Args, Subcommand};
use serde_json::json;
use store::Store as ObjectStore;
use store::probe::{Found, Probed, Tried, probe_blocking};
use store::survey::Survey;

use super::abilities;
use crate::access::{Limits, Place};
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};
use crate::progress_bar::Shown;

/// Try what a store allows, or bring back what somebody took away from it
#[derive(Args, Debug)]
#[command(disable_help_subcommand = true)]
pub struct Store {
    #[command(subcommand)]
    verb: StoreVerb,
}

#[derive(Debug, Subcommand)]
enum StoreVerb {
    /// Try every right that a vault needs, and say what is missing and how to mend it
    ///
    /// It also finds out what protects what is there (versioning, object lock). If the store holds a vault, what was found is
    /// kept in it, and shown by stats.
    Test(Test),
    /// Bring back objects of a vault that somebody deleted or overwrote in its store
    ///
    /// For stores that keep older versions: S3 buckets with versioning or object lock, and Swift containers with versioning.
    /// Of each object that was deleted or changed, the version whose bytes are what its name says becomes the current one
    /// again. It needs no passphrase. A check afterwards says whether all is there.
    Recover(Recover),
}

#[derive(Args, Debug)]
struct Test {
    /// The store; the vault's when none is named
    #[arg(value_name = "URL|PATH")]
    location: Option<String>,
}

#[derive(Args, Debug)]
struct Recover {
    /// The store; the vault's when none is named
    #[arg(value_name = "URL|PATH")]
    location: Option<String>,
    /// Say what would be brought back, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// The place that is named, or the vault's.
fn place(global: &Global, named: Option<&String>) -> Result<Place, Failure> {
    let mut global = global.clone();
    global.vault = named.cloned().or(global.vault);
    Place::of(&global)
}

impl Store {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        match &self.verb {
            StoreVerb::Test(test) => test.run(global, output),
            StoreVerb::Recover(recover) => recover.run(global, output),
        }
    }
}

impl Recover {
    fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let place = place(global, self.location.as_ref())?;
        let versioned = place.open_versioned()?;
        let store = place.open_store(Limits::default())?;
        let shown = Shown::start(output);
        let report = recover(&store, &versioned, self.dry_run, shown.progress());
        shown.end();
        let report = report?;
        for back in &report.back {
            let harm = match back.harm {
                Harm::Deleted => "deleted",
                Harm::Overwritten => "overwritten",
            };
            output.event(&json!({
                "type": "recovered", "object": back.name, "harm": harm, "bytes": back.size,
                "written": output::json_moment(back.written),
            }));
            output.line(&format!(
                "{harm:<12} {} ({}, written {})",
                back.name,
                output::size(back.size),
                output::local_moment(back.written)
            ));
        }
        for object in &report.lost {
            output.event(&json!({ "type": "lost", "object": object, "message": NO_VERSION }));
            output.line(&format!("LOST         {object}: {NO_VERSION}"));
        }
        let code = if report.lost.is_empty() { exit::DONE } else { exit::DAMAGED };
        let back = output::count(report.back.len() as u64, "object");
        output.say(&match (report.back.is_empty(), self.dry_run) {
            (true, _) => {
                format!("Nothing to bring back among {}.", output::count(report.objects, "object"))
            }
            (false, true) => format!("{back} could be brought back."),
            (false, false) => format!("{back} brought back. Run `strongroom check --read-data` now."),
        });
        let figures = json!({
            "location": place.shown(), "dry_run": self.dry_run, "objects": report.objects,
            "recovered": report.back.len(), "lost": report.lost.len(), "closed_again": report.closed_again,
        });
        output.summary("store recover", code, figures);
        Ok(code)
    }
}

/// Why an object cannot be brought back.
const NO_VERSION: &str = "no version of it is what its name says";

impl Test {
    fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let place = place(global, self.location.as_ref())?;
        let (store, surveyed) = place.open_surveyed()?;
        let Probed { tried, found } =
            probe_blocking(store.clone(), surveyed).map_err(::backup::Error::from)?;
        for tried in &tried {
            show(tried, output);
        }
        let problems = tried.iter().filter(|tried| tried.problem.is_some()).count();
        let code = if problems == 0 { exit::DONE } else { exit::FAILED };
        output.say(&match problems {
            0 => format!("{} can hold a vault.", place.shown()),
            _ => format!("{} lacks something; see above.", place.shown()),
        });
        let found = abilities_of(&found);
        // Else the test did not come far enough to learn anything.
        if found != Abilities::default() {
            keep(&store, found, output);
        }
        output.summary("store test", code, json!({ "location": place.shown(), "problems": problems }));
        Ok(code)
    }
}

/// What is kept of a test.
fn abilities_of(found: &Found) -> Abilities {
    let Survey { creates_only, keeps_versions, locks, lock_days, gives_grants } = found.survey;
    Abilities {
        // Whoever writes it down asks the store.
        tested: 0,
        creates_only,
        listing_lag_ms: found.listing_lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
        keeps_versions,
        locks,
        lock_days,
        gives_grants,
        deletes: found.deletes,
        clock_offset_seconds: found.clock_offset,
    }
}

/// Shows what was found, and writes it down in the vault that is there, if there is one. That it cannot be is no failure
/// of the test.
fn keep(store: &Arc<dyn ObjectStore>, found: Abilities, output: &Output) {
    let recorded = record_abilities(store, found).unwrap_or_else(|error| {
        output::note(&format!("note: what was found could not be written down in the vault: {error}"));
        None
    });
    let event = json!({ "type": "abilities", "recorded": recorded.map(|vault| vault.to_string()) });
    output.event(&output::with(event, abilities::json(&found)));
    output.line(&format!("found   {}", abilities::words(&found)));
    if let Some(danger) = abilities::danger(&found, store.is_remote()) {
        output.line(&format!("        {danger}"));
    }
    if recorded.is_some() {
        output.say("What was found is written down in the vault; `strongroom stats` shows it.");
    }
}

fn show(tried: &Tried, output: &Output) {
    let problem = tried.problem.as_ref();
    let cause = problem
        .and_then(|problem| std::error::Error::source(problem.error.as_ref()?))
        .map(ToString::to_string);
    output.event(&json!({
        "type": "tried", "need": tried.need.words(), "works": problem.is_none(),
        "message": problem.map(|problem| &problem.message), "cause": cause,
        "remedy": problem.map(|problem| &problem.remedy),
    }));
    if output.json {
        return;
    }
    let Some(problem) = problem else { return output.line(&format!("ok      {}", tried.need.words())) };
    output.line(&format!("FAILED  {}: {}", tried.need.words(), output::path(problem.message.as_bytes())));
    if let Some(cause) = cause {
        output.line(&format!("          because: {}", output::path(cause.as_bytes())));
    }
    output.line(&format!("          remedy: {}", problem.remedy));
}
