//! `check`: proof that the vault is whole.

use ::backup::{ReadData, Severity};
use clap::Args;
use serde_json::json;

use super::units::{parse_duration, parse_percent};
use crate::access::{self, Limits, Place};
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};
use crate::progress_bar::Shown;

/// Prove that the vault is whole
///
/// Every object is what its name says, every snapshot's needs are met, every tree can be read. With --read-data, every
/// byte is read, opened and compared with its name. What is damaged is named, with what it affects; exit code 12.
///
/// With --without-key it needs no passphrase: whoever keeps the vault and must not read it can prove that every byte is
/// what was stored, that nobody but the owner signed, and that no snapshot is missing.
#[derive(Args, Debug)]
pub struct Check {
    /// Read all data too, or a random share of it
    #[arg(
        long, value_name = "PERCENT", num_args = 0..=1, require_equals = true, default_missing_value = "100",
        value_parser = parse_percent
    )]
    read_data: Option<f64>,
    /// Read all data that was not verified for so long, and each time a share of the rest, the oldest first
    ///
    /// Run daily with `30d`, it reads about a thirtieth each day, and no byte stays unverified for longer than 30 days.
    /// What was verified when is kept in the vault.
    #[arg(long, value_name = "DURATION", conflicts_with = "read_data", value_parser = parse_duration)]
    max_age: Option<std::time::Duration>,
    /// Prove what can be proved without a passphrase; what is sealed is not opened
    #[arg(long)]
    without_key: bool,
}

impl Check {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let read = match (self.read_data, self.max_age) {
            (None, None) => ReadData::No,
            (None, Some(age)) => ReadData::Due(age),
            (Some(percent), _) if percent >= 100.0 => ReadData::All,
            (Some(percent), _) => ReadData::Percent(percent),
        };
        let (shown, report) = if self.without_key {
            let store = Place::of(global)?.open_store(Limits::default())?;
            let shown = Shown::start(output);
            let report = ::backup::check_sealed(&store, read, shown.progress())?;
            (shown, report)
        } else {
            let vault = access::open_vault(global)?;
            let shown = Shown::start(output);
            let report = ::backup::check(&vault, read, shown.progress())?;
            (shown, report)
        };
        shown.end();
        for finding in &report.findings {
            let label = match finding.severity {
                Severity::Damage => "damage",
                Severity::Newer => "newer",
                Severity::Note => "note",
            };
            output.event(&json!({
                "type": "finding", "severity": label, "object": finding.object, "message": finding.message,
                "advice": finding.advice, "affects": finding.affects,
            }));
            if output.json || (output.quiet && finding.severity == Severity::Note) {
                continue;
            }
            let text = |text: &str| output::path(text.as_bytes());
            output.line(&format!("{label}: {}: {}", text(&finding.object), text(&finding.message)));
            finding.affects.iter().for_each(|who| output.line(&format!("    affects {}", text(who))));
            if !finding.advice.is_empty() {
                output.line(&format!("    hint: {}", finding.advice));
            }
        }
        output.say(&format!(
            "Checked {}, {} and {} in {}; {} of data read and proved.",
            output::count(report.snapshots, "snapshot"),
            output::count(report.packs, "pack"),
            output::count(report.segments, "segment"),
            output::duration(report.duration),
            output::size(report.bytes_read)
        ));
        let damaged = report.is_damaged();
        output.say(match (damaged, self.without_key) {
            (true, _) => "The vault is damaged; see above.",
            (false, true) => "The vault is whole, as far as can be seen without its key.",
            (false, false) => "The vault is whole.",
        });
        let code = if damaged { exit::DAMAGED } else { exit::DONE };
        let figures = json!({
            "damaged": damaged, "without_key": self.without_key, "findings": report.findings.len(), "snapshots": report.snapshots,
            "packs": report.packs, "segments": report.segments, "bytes_read": report.bytes_read,
            "seconds": report.duration.as_secs_f64(),
        });
        output.summary("check", code, figures);
        Ok(code)
    }
}
