//! Small records: damage, forgotten snapshots, pins, settings, condemnations and relocations.

use bytes::Bytes;
use store::{Kind, ObjectInfo};

use super::fetches::Fetches;
use super::finding::Finding;
use super::{Check, unreadable};
use crate::damage;
use crate::error::{Damage, VaultError};
use crate::name::ObjectHash;
use crate::pins::{PIN_MAX, Pin};
use crate::settings::{SETTINGS_MAX, Settings};
use crate::{condemned, relocation, trash};

impl Check<'_> {
    pub(super) async fn damage_records(&mut self) -> Result<(), VaultError> {
        let objects = std::mem::take(&mut self.listing.damage_records);
        let advice = "remove it: the next check that finds damage writes it anew";
        let vault = self.vault();
        let decode = |bytes: &Bytes| damage::decode(bytes, vault);
        let found = self.records(&objects, damage::RECORD_MAX, advice, decode).await?;
        self.report.recorded = found.into_iter().flatten().map(|damaged| damaged.object).collect();
        Ok(())
    }

    /// Marks of forgotten snapshots, pins, and settings.
    pub(super) async fn small_records(&mut self) -> Result<(), VaultError> {
        let vault = self.vault();
        let owner = self.descriptor.owner;
        let objects = std::mem::take(&mut self.listing.trash_marks);
        let advice =
            "its snapshot counts as never forgotten; forget that again if you want to, and remove this";
        let marks =
            self.records(&objects, trash::RECORD_MAX, advice, |bytes| trash::decode(bytes, vault)).await?;
        self.marks = marks.into_iter().flatten().collect();
        let objects = std::mem::take(&mut self.listing.pins);
        let advice = "nothing is forgotten while it is there: pin again what should stay, then remove this";
        self.records(&objects, PIN_MAX, advice, |bytes| Pin::decode(bytes, vault)).await?;
        let objects = std::mem::take(&mut self.listing.settings);
        let advice = "it counts for nothing; see what holds with `strongroom settings`, then remove this";
        self.records(&objects, SETTINGS_MAX, advice, |bytes| Settings::decode(bytes, vault, &owner)).await?;
        let objects = std::mem::take(&mut self.listing.condemnations);
        let advice = "remove it: the next cleanup finds again what nobody needs";
        self.records(&objects, condemned::RECORD_MAX, advice, |bytes| condemned::decode(bytes, vault))
            .await?;
        let objects = std::mem::take(&mut self.listing.relocations);
        let advice = "remove it: the next cleanup writes down anew where packs went";
        self.records(&objects, relocation::RECORD_MAX, advice, |bytes| relocation::decode(bytes, vault))
            .await?;
        Ok(())
    }

    /// Reads these records; what is wrong with one is a finding.
    async fn records<T>(
        &mut self,
        objects: &[ObjectInfo],
        size_max: u64,
        advice: &str,
        decode: impl Fn(&Bytes) -> Result<T, Damage>,
    ) -> Result<Vec<T>, VaultError> {
        let mut read = Vec::new();
        let mut fetches = Fetches::new(self.store, objects, size_max);
        while self.goes_on()
            && let Some((object, outcome)) = fetches.next().await
        {
            let decoded = match outcome {
                Ok(bytes) if ObjectHash::from_object_name(&object.name) != Some(ObjectHash::of(&bytes)) => {
                    Err(Damage::HashMismatch)
                }
                Ok(bytes) => decode(&bytes),
                // Somebody removed it since it was listed: a mark is taken back, a record replaced.
                Err(error) if error.kind == Kind::NotFound => continue,
                Err(error) => {
                    self.report.findings.add(unreadable(error, advice)?);
                    continue;
                }
            };
            match decoded {
                Ok(content) => read.push(content),
                // It was replaced and is about to be deleted.
                Err(_) if name_of(object).is_some_and(|hash| self.holders.is_going(hash)) => {}
                Err(damage) => {
                    self.report.findings.add(Finding::of(&object.name, &damage, advice));
                }
            }
        }
        Ok(read)
    }
}

fn name_of(object: &ObjectInfo) -> Option<ObjectHash> {
    ObjectHash::from_object_name(&object.name)
}
