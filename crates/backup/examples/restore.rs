//! One restore from a folder vault with figures, for profiling: `restore VAULT TARGET [always|never|verify|delete|dry]…`.
//! Takes the newest snapshot; the vault's key is the passphrase `example`, as in the example `cycle`.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::Path;
use std::sync::Arc;

use backup::{
    Credential, Filter, Overwrite, Progress, RestoreRequest, SecretText, SnapshotList, Vault, restore,
};
use store::FolderStore;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(vault), Some(target)) = (arguments.next(), arguments.next()) else {
        return Err("usage: restore VAULT TARGET [always|never|verify|delete|dry]…".into());
    };
    let options: Vec<String> = arguments.collect();
    let has = |option: &str| options.iter().any(|given| given == option);
    let cache = Path::new(&vault).with_extension("cache");
    let credential = Credential::recognise(SecretText::new("example".into()));
    let vault = Vault::open(Arc::new(FolderStore::open(&vault)?), &credential, &cache)?;
    let request = RestoreRequest {
        snapshot: SnapshotList::load(&vault)?.find("latest", &Filter::default())?,
        part: Vec::new(),
        target: target.into(),
        selection: files::Selection::default(),
        overwrite: match (has("always"), has("never")) {
            (true, _) => Overwrite::Always,
            (_, true) => Overwrite::Never,
            _ => Overwrite::IfChanged,
        },
        delete: has("delete"),
        verify: has("verify"),
        dry_run: has("dry"),
        parallelism: None,
    };
    let mut report = restore(&vault, &request, &Arc::new(Progress::new()))?;
    let problems = std::mem::take(&mut report.problems);
    println!("{report:?}");
    println!("{} problems", problems.len());
    for problem in problems.iter().take(10) {
        println!("{} {}", String::from_utf8_lossy(&problem.path), problem.message);
    }
    Ok(())
}
