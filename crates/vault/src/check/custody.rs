//! The small records that a vault is kept with.

use store::ObjectInfo;

use super::Check;
use super::fetches::Fetches;
use super::finding::Finding;
use super::unreadable;
use crate::error::{Damage, VaultError};
use crate::name::{self, ObjectHash, VaultId};
use crate::{condemned, relocation, trash};

/// The folders of records whose name is their hash.
pub(super) const FOLDERS: [&str; 3] = [name::TRASH, name::CONDEMNED, name::RELOCATIONS];

impl Check<'_> {
    /// Every record is what its name says and can be read.
    pub(super) async fn custody(&mut self) -> Result<(), VaultError> {
        let objects = std::mem::take(&mut self.listing.custody);
        let mut fetches = Fetches::new(self.store, &objects, condemned::RECORD_MAX);
        while self.goes_on()
            && let Some((object, outcome)) = fetches.next().await
        {
            match outcome {
                Ok(bytes) => {
                    if let Err(damage) = decode(object, &bytes, self.vault()) {
                        self.report.findings.add(Finding::of(&object.name, &damage, advice(object)));
                    }
                }
                Err(error) if error.kind == store::Kind::NotFound => {}
                Err(error) => {
                    self.report.findings.add(unreadable(error, advice(object))?);
                }
            }
        }
        Ok(())
    }
}

fn decode(object: &ObjectInfo, bytes: &bytes::Bytes, vault: VaultId) -> Result<(), Damage> {
    if ObjectHash::from_object_name(&object.name) != Some(ObjectHash::of(bytes)) {
        return Err(Damage::HashMismatch);
    }
    if object.name.starts_with(name::TRASH) {
        trash::decode(bytes, vault).map(drop)
    } else if object.name.starts_with(name::CONDEMNED) {
        condemned::decode(bytes, vault).map(drop)
    } else {
        relocation::decode(bytes, vault).map(drop)
    }
}

fn advice(object: &ObjectInfo) -> &'static str {
    if object.name.starts_with(name::TRASH) {
        "remove it: the snapshots it marked are back in the vault, and can be forgotten again"
    } else if object.name.starts_with(name::CONDEMNED) {
        "remove it: the next cleanup finds again what nobody needs"
    } else {
        "remove it: the next cleanup writes down anew where packs went"
    }
}
