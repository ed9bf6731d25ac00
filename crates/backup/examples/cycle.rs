//! One backup into a folder vault with figures, for profiling: `cycle VAULT PATH…`.
//! The vault is made when missing; its key is the passphrase `example`.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::Path;
use std::sync::Arc;

use backup::{
    BackupRequest, Compression, Credential, Error, NewSlot, PassphraseCost, Progress, SecretText, Vault,
    back_up,
};
use store::{FolderStore, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(vault) = arguments.next() else {
        return Err("usage: cycle VAULT PATH…".into());
    };
    let cache = Path::new(&vault).with_extension("cache");
    let credential = Credential::recognise(SecretText::new("example".into()));
    std::fs::create_dir_all(&cache)?;
    let store = || -> Result<Arc<dyn Store>, Box<dyn std::error::Error>> {
        std::fs::create_dir_all(&vault)?;
        Ok(Arc::new(FolderStore::open(Path::new(&vault))?))
    };
    let opened = match Vault::open(store()?, &credential, &cache) {
        Err(Error::Vault(vault::VaultError::NoVault { .. })) => {
            let slot = NewSlot {
                credential,
                label: String::new(),
                cost: PassphraseCost::STANDARD,
                write_only: false,
            };
            Vault::create(store()?, &[slot], &cache)?
        }
        other => other?,
    };
    let request = BackupRequest {
        paths: arguments.map(Into::into).collect(),
        rules: files::Rules::default(),
        one_file_system: false,
        tags: Vec::new(),
        options: Vec::new(),
        dry_run: false,
        compression: Compression::Default,
        force_read: false,
        parallelism: None,
        host: "example".into(),
        skip: Vec::new(),
        parent: None,
    };
    let report = back_up(&opened, &request, &Arc::new(Progress::new()))?;
    println!("{:?} {:?}", report.duration, report.statistics);
    for problem in report.problems.iter().take(10) {
        println!("{problem:?}");
    }
    Ok(())
}
