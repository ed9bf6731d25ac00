//! `undelete`: snapshots out of the trash.

use std::collections::BTreeSet;

use ::backup::{Filter, SnapshotList};
use clap::Args;
use serde_json::json;

use crate::access;
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::Output;

/// Bring snapshots back from the trash
///
/// `strongroom snapshots --trash` lists what can be brought back, and until when. After that it is refused, because
/// data of the snapshot may be gone.
#[derive(Args, Debug)]
pub struct Undelete {
    /// The beginning of a snapshot's id
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<String>,
}

impl Undelete {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let vault = access::open_vault(global)?;
        let list = SnapshotList::load(&vault)?;
        let ids = self.snapshots.iter().map(|text| list.find_id_of(text, &Filter::default()));
        // Named twice is named once.
        let ids: Vec<_> = ids.collect::<Result<BTreeSet<_>, _>>()?.into_iter().collect();
        ::backup::undelete(&vault, &list, &ids)?;
        for id in &ids {
            output.say(&format!("Snapshot {} is back.", id.short()));
            output.event(&json!({ "type": "undeleted", "snapshot": id.to_string() }));
        }
        output.summary("undelete", exit::DONE, json!({ "undeleted": ids.len() }));
        Ok(exit::DONE)
    }
}
