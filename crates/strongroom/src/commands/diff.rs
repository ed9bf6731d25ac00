//! `diff`: what changed between two snapshots.

use std::ffi::OsString;

use ::backup::{ChangeKind, Part};
use clap::Args;
use serde_json::json;

use crate::access::{self, Limits};
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};
use crate::progress_bar::Shown;
use crate::snapshot_argument::{Narrow, SnapshotArgument};

/// Compare two snapshots
///
/// Or parts of them: + added, - removed, M other content, U other metadata, T another type.
#[derive(Args, Debug)]
pub struct Diff {
    /// The earlier snapshot, or SNAPSHOT:PATH
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    before: OsString,
    /// The later one
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    after: OsString,
    #[command(flatten)]
    narrow: Narrow,
}

impl Diff {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let vault = access::open_to_read(global, Limits::default())?;
        let part = |text: &OsString| -> Result<Part, Failure> {
            let argument = SnapshotArgument::parse(text);
            let snapshot = argument.find(&vault, &self.narrow)?;
            Ok(Part { snapshot, path: argument.path })
        };
        let (before, after) = (part(&self.before)?, part(&self.after)?);
        let shown = Shown::hidden();
        let summary = ::backup::diff(&vault, &before, &after, shown.progress(), &mut |change| {
            let (sign, kind) = match change.kind {
                ChangeKind::Added => ("+", "added"),
                ChangeKind::Removed => ("-", "removed"),
                ChangeKind::Content => ("M", "content"),
                ChangeKind::Metadata => ("U", "metadata"),
                ChangeKind::Type => ("T", "type"),
            };
            let is_directory = change
                .after
                .as_ref()
                .or(change.before.as_ref())
                .is_some_and(content::tree::Entry::is_directory);
            let end = if is_directory { "/" } else { "" };
            output.line(&format!("{sign} {}{end}", output::path(&change.path)));
            let event = json!({
                "type": "change", "change": kind, "size_before": change.size_before(), "size_after": change.size_after(),
            });
            output.event(&output::with(event, output::json_path(&change.path)));
            Ok(())
        })?;
        output.say(&format!(
            "{} added, {} removed, {} with other content, {} with other metadata, {} of another type",
            summary.added, summary.removed, summary.content, summary.metadata, summary.types
        ));
        let figures = json!({
            "added": summary.added, "removed": summary.removed, "content": summary.content,
            "metadata": summary.metadata, "types": summary.types,
            "bytes_before": summary.bytes_before, "bytes_after": summary.bytes_after,
        });
        output.summary("diff", exit::DONE, figures);
        Ok(exit::DONE)
    }
}
