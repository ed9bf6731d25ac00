//! `init`: a new vault.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use ::backup::{FirstSettings, LockSetting};
use clap::Args;
use serde_json::json;
use store::{LockMode, StorageClass};

use super::key::add_key_file;
use super::units::{parse_class, parse_duration, parse_lock_mode};
use crate::access::{self, Place};
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::Output;
use crate::passphrase;

/// Make a new vault
///
/// It is empty and opens with a passphrase (asked for, or given as usual) and with a recovery code, which
/// is printed once.
#[derive(Args, Debug)]
pub struct Init {
    /// A name for the passphrase, shown by `key list`
    #[arg(long, value_name = "TEXT", default_value = "passphrase")]
    label: String,
    /// How long a forgotten snapshot can be brought back before it may be deleted: 7d unless said otherwise; 0 is not at all
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    delete_delay: Option<Duration>,
    /// Keep data in this storage class of an S3 store, such as GLACIER; what is needed to find it stays as it is
    #[arg(long, value_name = "CLASS", value_parser = parse_class)]
    data_class: Option<StorageClass>,
    /// Write a key into this new file that can add snapshots and not read them, for this machine's backups
    #[arg(long, value_name = "FILE")]
    write_only: Option<PathBuf>,
    /// Lock objects against being deleted for so long, in an S3 bucket that was made with object lock, such as 30d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    lock: Option<Duration>,
    /// Who may take a lock away before its time: governance, whom the store's owner allows it; compliance, nobody
    #[arg(long, value_name = "MODE", default_value = "governance", value_parser = parse_lock_mode, requires = "lock")]
    lock_mode: LockMode,
}

impl Init {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let place = Place::of(global)?;
        // What stands in the way is said before a passphrase is asked for.
        if place.has_vault()? {
            return Err(::backup::Error::VaultExists { location: place.shown() }.into());
        }
        refuse_foreign(&place)?;
        let credential = match passphrase::given(global)? {
            Some(credential) => credential,
            None => passphrase::ask_for_new()?,
        };
        let lock = self.lock.map(|period| LockSetting { period, mode: self.lock_mode });
        let first =
            FirstSettings { delete_delay: self.delete_delay, data_class: self.data_class.clone(), lock };
        if let Some(path) = self.write_only.as_ref().filter(|path| path.symlink_metadata().is_ok()) {
            let message = format!("there is something at {} already", path.display());
            return Err(Failure::plain(message, "name a file that is not there yet"));
        }
        let vault = access::create_vault(global, output, &place, credential, &self.label, &first)?;
        if let Some(path) = &self.write_only {
            add_key_file(&vault, output, path, "write only", true)?;
            output.say(&format!(
                "Backups on this machine: give {} with --passphrase-file. It opens nothing that was stored.",
                path.display()
            ));
        }
        output.summary("init", exit::DONE, json!({}));
        Ok(exit::DONE)
    }
}

/// A vault begins in a folder of its own: among other files it could neither be copied nor removed safely. What a
/// creation that was interrupted left behind does not count.
fn refuse_foreign(place: &Place) -> Result<(), Failure> {
    let Some(folder) = place.folder() else {
        return match place.in_the_way()? {
            None => Ok(()),
            Some(object) => {
                let message = format!("{} is not empty: there is {object}", place.shown());
                Err(Failure::plain(message, "choose a prefix or folder of its own for the vault"))
            }
        };
    };
    let names = match std::fs::read_dir(folder) {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::file(folder, "read", &error)),
    };
    for name in names {
        let name = name.map_err(|error| Failure::file(folder, "read", &error))?.file_name();
        if !matches!(name.as_encoded_bytes(), b"keys" | b"tmp" | b"lost+found") {
            let message = format!("the folder {} is not empty", place.shown());
            return Err(Failure::plain(message, "choose an empty or a new folder for the vault"));
        }
    }
    Ok(())
}
