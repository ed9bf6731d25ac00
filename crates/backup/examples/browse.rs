//! What can be done with a vault made by the example `cycle`, with figures, for profiling: `browse VAULT VERB [ARGUMENT]`.
//! Verbs: `check`, `check-data`, `stats`, `tar` (to nowhere), `diff` (the two newest), `find NAME`, `mount FOLDER`.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use backup::{Credential, FindRequest, Part, Progress, ReadData, Reader, SecretText, SnapshotList, Vault};
use store::{FolderStore, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [vault, verb, rest @ ..] = arguments.as_slice() else {
        return Err("usage: browse VAULT VERB [ARGUMENT]".into());
    };
    let argument = rest.first().map(String::as_str).unwrap_or_default();
    let cache = Path::new(vault).with_extension("cache");
    let credential = Credential::recognise(SecretText::new("example".into()));
    let store: Arc<dyn Store> = Arc::new(FolderStore::open(Path::new(vault))?);
    let begun = Instant::now();
    let opened = Vault::open(store, &credential, &cache)?;
    println!("opened in {:?}", begun.elapsed());
    let progress = Arc::new(Progress::new());
    let begun = Instant::now();
    let list = SnapshotList::load(&opened)?;
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
        "stats" => println!("{:#?}", backup::stats(&opened, &progress)?),
        "tar" => {
            let reader = Reader::new(&opened, 32 << 20);
            let snapshot = list.snapshots.last().ok_or("no snapshot")?;
            let root = reader.open(snapshot)?;
            let report = backup::dump_tar(&reader, &root, b"/", &mut std::io::sink(), &progress)?;
            println!("{} entries, {} bytes", report.entries, report.bytes);
        }
        "diff" => {
            let [.., before, after] = list.snapshots.as_slice() else {
                return Err("no two snapshots".into());
            };
            let part = |snapshot: &Arc<_>| Part { snapshot: Arc::clone(snapshot), path: Vec::new() };
            let summary = backup::diff(&opened, &part(before), &part(after), &progress, &mut |_| Ok(()))?;
            println!("{summary:?}");
        }
        "find" => {
            let request = FindRequest { patterns: vec![argument.to_owned()], ..FindRequest::default() };
            let report = backup::find(&opened, &list.snapshots, &request, &progress, &mut |_, _, _| Ok(()))?;
            println!("{} found", report.found);
        }
        "mount" => backup::mount(&opened, Path::new(argument), &list.snapshots, &progress)?,
        other => return Err(format!("there is no verb {other}").into()),
    }
    println!("{verb}: {:?}", begun.elapsed());
    Ok(())
}
