//! `forget`: snapshots into the trash, by rules or by name.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::backup::{Dropped, ForgetReport, GroupBy, Judged, Policy, SnapshotList, Vault, Verdict};
use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;
use serde_json::json;

use super::units::{parse_days_or_forever, parse_duration};
use crate::access;
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};
use crate::snapshot_argument::Narrow;

/// Put snapshots into the trash, by rules or by name
///
/// A snapshot stays if any rule keeps it. Snapshots are judged in groups, and in each group the newest good one always
/// stays. What goes can be brought back with `undelete` until the vault's delay has passed.
#[derive(Args, Debug)]
pub struct Forget {
    /// Forget these, instead of going by rules
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    rules: Rules,
    /// What makes a group of snapshots that are judged together
    #[arg(
        long, value_name = "WHAT", value_enum, value_delimiter = ',', default_values_t = [By::System, By::Paths],
        help_heading = "Rules"
    )]
    group_by: Vec<By>,
    #[command(flatten)]
    narrow: Narrow,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Rules")]
struct Rules {
    /// Keep the last N
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_last: u32,
    /// Keep the last of each of the last N hours that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_hourly: u32,
    /// Likewise of days
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_daily: u32,
    /// Likewise of weeks
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_weekly: u32,
    /// Likewise of months
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_monthly: u32,
    /// Likewise of years
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_yearly: u32,
    /// Keep all made within this time before the newest, such as 36h or 2w
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    keep_within: Option<Duration>,
    /// Keep all of the last N days before now, or all: forever
    #[arg(long, value_name = "N|forever", value_parser = parse_days_or_forever)]
    keep_days: Option<u32>,
    /// Keep all with this tag
    #[arg(long, value_name = "TAG")]
    keep_tag: Vec<String>,
    /// Keep this many of the newest good ones whatever the rules say
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    keep_at_least: u32,
}

impl Rules {
    fn policy(&self) -> Policy {
        Policy {
            keep_last: self.keep_last,
            keep_hourly: self.keep_hourly,
            keep_daily: self.keep_daily,
            keep_weekly: self.keep_weekly,
            keep_monthly: self.keep_monthly,
            keep_yearly: self.keep_yearly,
            keep_within: self.keep_within,
            keep_days: self.keep_days,
            keep_tags: self.keep_tag.clone(),
            keep_at_least: self.keep_at_least,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// The machine
    System,
    /// The machine's name
    Host,
    /// What was backed up
    Paths,
}

impl Forget {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let policy = self.rules.policy();
        let by_name = !self.snapshots.is_empty();
        if by_name != policy.is_empty() {
            let message = if by_name { "both snapshots and rules are given" } else { "no rule is given" };
            return Err(Failure::usage(
                message,
                "name snapshots, or give rules such as `--keep-daily 14 --keep-monthly 12`",
            ));
        }
        let vault = access::open_vault(global)?;
        let list = SnapshotList::load(&vault)?;
        if by_name {
            self.by_name(&vault, &list, output)
        } else {
            self.by_rules(&vault, &list, &policy, output)
        }
    }

    fn by_name(&self, vault: &Arc<Vault>, list: &SnapshotList, output: &Output) -> Result<Code, Failure> {
        let filter = self.narrow.filter();
        let ids = self.snapshots.iter().map(|text| list.find_id_of(text, &filter));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        let report = ::backup::forget(vault, list, &ids, Dropped::Named, self.dry_run)?;
        Ok(finish(output, 0, &report, self.dry_run))
    }

    fn by_rules(
        &self,
        vault: &Arc<Vault>,
        list: &SnapshotList,
        policy: &Policy,
        output: &Output,
    ) -> Result<Code, Failure> {
        let has = |what| self.group_by.contains(&what);
        let group_by = GroupBy { system: has(By::System), host: has(By::Host), paths: has(By::Paths) };
        // A dry run writes nothing, and asking the store for its clock would.
        let now = if self.dry_run { SystemTime::now() } else { ::backup::store_clock(vault)? };
        let zone = TimeZone::system();
        let groups = ::backup::judge(vault, list, &self.narrow.filter(), policy, group_by, &zone, now)?;
        for (number, group) in groups.iter().enumerate() {
            show(output, number, group);
        }
        let judged = || groups.iter().flatten();
        let kept = judged().filter(|one| one.verdict.is_kept()).count();
        let gone: Vec<_> = judged().filter(|one| !one.verdict.is_kept()).map(|one| one.snapshot.id).collect();
        tell_others(output, list);
        let report = ::backup::forget(vault, list, &gone, Dropped::NoRule, self.dry_run)?;
        Ok(finish(output, kept, &report, self.dry_run))
    }
}

/// What no rule sees: snapshots that cannot be read, and those that this key does not open.
fn tell_others(output: &Output, list: &SnapshotList) {
    for (name, damage) in &list.damaged {
        let (newer, message) = (damage.is_newer(), damage.to_string());
        output.event(&json!({ "type": "unreadable", "object": name, "newer": newer, "message": message }));
        output::note(&format!("warning: {name} cannot be read and stays until it is named: {damage}"));
    }
    let sealed: Vec<_> = list.sealed.iter().filter(|sealed| list.in_trash(sealed.id).is_none()).collect();
    for one in &sealed {
        output.event(&super::snapshots::sealed_event(one));
    }
    if !sealed.is_empty() {
        output::note(&format!(
            "note: {} sealed with newer keys than these: no rule saw them, and they stay",
            output::count(sealed.len() as u64, "snapshot")
        ));
    }
}

/// The table of one group. Its machines are named in the order of their snapshots: one that was renamed has several names.
fn show(output: &Output, number: usize, group: &[Judged]) {
    let Some(newest) = group.last() else { return };
    let mut hosts: Vec<&str> = Vec::new();
    for Judged { snapshot, .. } in group {
        if !hosts.contains(&snapshot.body.host.as_str()) {
            hosts.push(&snapshot.body.host);
        }
    }
    let paths: Vec<String> = newest.snapshot.body.paths.iter().map(|path| output::path(path)).collect();
    if number > 0 {
        output.say("");
    }
    output.say(&format!("{}  {}", output::path(hosts.join(", ").as_bytes()), paths.join(", ")));
    for Judged { snapshot, verdict } in group {
        let (word, reasons, names) = match verdict {
            Verdict::Keep(reasons) => (
                "keep",
                reasons.iter().map(ToString::to_string).collect::<Vec<_>>(),
                reasons.iter().map(|reason| reason.name()).collect::<Vec<_>>(),
            ),
            Verdict::Forget(reason) => ("forget", vec![reason.to_string()], vec![reason.name()]),
        };
        output.say(&format!(
            "  {:8}  {:25}  {word:6}  {}",
            snapshot.id.short(),
            output::local_time(snapshot.envelope.time.0),
            reasons.join(", ")
        ));
        output.event(&json!({
            "type": "verdict", "snapshot": snapshot.id.to_string(), "group": number,
            "time": output::json_time(snapshot.body.finished), "host": snapshot.body.host,
            "paths": snapshot.body.paths.iter().map(|path| output::json_path(path)).collect::<Vec<_>>(),
            "tags": snapshot.body.tags, "keep": verdict.is_kept(), "reasons": names,
        }));
    }
}

fn finish(output: &Output, kept: usize, report: &ForgetReport, dry_run: bool) -> Code {
    let until = report.until.map(output::json_moment);
    for id in &report.forgotten {
        output.event(&json!({ "type": "forgotten", "snapshot": id.to_string(), "until": until }));
    }
    for id in &report.already {
        output.say(&format!("{} is in the trash already.", id.short()));
    }
    let count = output::count(report.forgotten.len() as u64, "snapshot");
    match report.until {
        _ if dry_run => output.say(&format!("Would put {count} into the trash.")),
        None => output.say("Nothing was put into the trash."),
        Some(until) if until <= SystemTime::now() => output.say(&format!(
            "Put {count} into the trash. This vault has no delay: they can not be brought back."
        )),
        Some(until) => {
            output.say(&format!(
                "Put {count} into the trash; `strongroom undelete` brings back until {}.",
                output::local_moment(until)
            ));
        }
    }
    let figures = json!({
        "dry_run": dry_run, "kept": kept, "forgotten": report.forgotten.len(), "until": until,
    });
    output.summary("forget", exit::DONE, figures);
    exit::DONE
}
