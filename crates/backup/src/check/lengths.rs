//! How long each segment is when it is opened, as the packs' sealed directories say.

use std::collections::HashMap;
use std::sync::Arc;

use content::Address;
use content::index::open_directories;
use content::segment::Opener;
use vault::check::{Finding, Severity};
use vault::fragment::{self, FRAGMENT_MAX};
use vault::{ObjectHash, PackId, name};

use super::{Ledger, PACK_ADVICE};
use crate::{Error, Progress, Vault};

/// Four bytes for each segment of the vault.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    packs: HashMap<PackId, Box<[u32]>>,
}

impl Lengths {
    /// Reads them from the index. What is wrong with fragments themselves was found before.
    pub(super) fn read(vault: &Arc<Vault>, ledger: &mut Ledger, progress: &Progress) -> Result<Self, Error> {
        let mut lengths = Self::default();
        let mut opener = Opener::new();
        for object in vault.wait(vault.store().list(name::INDEX))? {
            progress.checkpoint()?;
            let Some(hash) = ObjectHash::from_object_name(&object.name) else { continue };
            let Ok(bytes) = vault.wait(vault.store().get(&object.name, FRAGMENT_MAX)) else { continue };
            let Ok(records) = fragment::decode(&bytes, hash, vault.id()) else { continue };
            for (record, trailer) in records {
                match open_directories(vault.keyring(), &record, &trailer, &mut opener) {
                    Ok(packs) => {
                        for pack in packs {
                            let sum = |chunks: &Vec<(_, u32)>| {
                                chunks.iter().map(|(_, length)| *length).fold(0, u32::saturating_add)
                            };
                            lengths.packs.insert(pack.pack, pack.segments.iter().map(sum).collect());
                        }
                    }
                    Err(error) => {
                        let message = format!("its list of chunks cannot be opened: {error}");
                        let name = record.hash.pack_name();
                        ledger.findings.add(Finding::new(Severity::Damage, name, message, PACK_ADVICE));
                    }
                }
            }
        }
        Ok(lengths)
    }

    /// Whether an address lies within its segment, as far as that is known.
    pub(super) fn hold(&self, address: &Address) -> bool {
        match self.packs.get(&address.pack).and_then(|pack| pack.get(address.segment as usize)) {
            // No pack has an empty segment: nothing is known of this one.
            None | Some(0) => true,
            Some(length) => u64::from(address.offset) + u64::from(address.length) <= u64::from(*length),
        }
    }
}
