//! `mount`: looking around through a folder.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ::backup::{Error, Progress, SnapshotList, mount};
use clap::Args;
use serde_json::json;

use crate::access::{self, Limits};
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::interrupt;
use crate::output::{self, Output};
use crate::snapshot_argument::Narrow;

/// How often is looked whether it is mounted.
const LOOK: Duration = Duration::from_millis(20);

/// Look around in all snapshots through a folder
///
/// Shows snapshots as folders, read only, until it is interrupted or the folder is unmounted.
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
        let vault = access::open_to_read(global, Limits::default())?;
        let list = SnapshotList::load(&vault)?;
        for (name, damage) in &list.damaged {
            output::note(&format!("note: {name} is not shown: {damage}"));
        }
        let snapshots = list.matching(&self.narrow.filter());
        let progress = Arc::new(Progress::new());
        interrupt::cancels_patiently(&progress);
        thread::scope(|scope| {
            let mounting = scope.spawn(|| mount(&vault, &self.folder, &snapshots, &progress));
            // It is said only when it is true: scripts wait for this line.
            while !mounting.is_finished() && progress.stage() != "mounted" {
                thread::sleep(LOOK);
            }
            if progress.stage() == "mounted" {
                self.tell(output);
            }
            mounting.join().unwrap_or(Err(Error::Interrupted))
        })?;
        output.summary("mount", exit::DONE, json!({}));
        Ok(exit::DONE)
    }

    fn tell(&self, output: &Output) {
        let folder = self.folder.as_os_str().as_bytes();
        let shown = output::path(folder);
        output.say(&format!("Showing the snapshots in {shown}; interrupt or unmount it to end."));
        output.event(&output::with(json!({ "type": "mounted" }), output::json_path(folder)));
    }
}
