//! What can be done with a vault made by the example `cycle`, with figures, for profiling: `browse VAULT VERB …`.
//! Verbs: `check`, `check-data`.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use backup::{Credential, Progress, ReadData, SecretText, Vault};
use store::{FolderStore, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [vault, verb, ..] = arguments.as_slice() else {
        return Err("usage: browse VAULT VERB …".into());
    };
    let cache = Path::new(vault).with_extension("cache");
    let credential = Credential::recognise(SecretText::new("example".into()));
    let store: Arc<dyn Store> = Arc::new(FolderStore::open(Path::new(vault))?);
    let begun = Instant::now();
    let opened = Vault::open(store, &credential, &cache)?;
    println!("opened in {:?}", begun.elapsed());
    let progress = Arc::new(Progress::new());
    let begun = Instant::now();
    match verb.as_str() {
        "check" | "check-data" => {
            let read = if verb == "check" { ReadData::No } else { ReadData::All };
            let report = backup::check(&opened, read, &progress)?;
            println!(
                "{} snapshots, {} packs, {} segments, {} bytes read",
                report.snapshots, report.packs, report.segments, report.bytes_read
            );
            report.findings.iter().take(20).for_each(|finding| println!("{finding:#?}"));
        }
        other => return Err(format!("there is no verb {other}").into()),
    }
    println!("{verb}: {:?}", begun.elapsed());
    Ok(())
}
