//! `mount`: looking around through a folder.

use std::path::PathBuf;

use ::backup::{SnapshotList, mount};
use clap::Args;
use serde_json::json;

use crate::access;
use crate::cli::Global;
use crate::exit::{self, Code};
use crate::output::{Failure, Output};
use crate::progress_bar::Shown;
use crate::snapshot_argument::Narrow;

/// Shows all snapshots as folders, read only, until it is interrupted or the folder is unmounted.
#[derive(Args, Debug)]
pub struct Mount {
    /// An empty folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    narrow: Narrow,
}

impl Mount {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let vault = access::open_vault(global)?;
        let snapshots = SnapshotList::load(&vault)?.matching(&self.narrow.filter());
        let shown = Shown::start(&Output { quiet: true, json: false });
        let place = self.folder.display();
        output.say(&format!("Showing the snapshots in {place}; interrupt or unmount it to end."));
        output.event(&json!({ "type": "mounted", "folder": place.to_string() }));
        mount(&vault, &self.folder, &snapshots, shown.progress())?;
        Ok(exit::DONE)
    }
}
