//! What the vault's store can do, kept in the vault.

use std::sync::Arc;

use store::Store;
use vault::abilities::Abilities;
use vault::clock::seconds;
use vault::name::{self, VaultId};

use crate::Error;
use crate::vault_access::{new_runtime, read_descriptor};

/// Writes down what a test of the store found, with the store's time, if the store holds a vault. It needs no key.
pub fn record_abilities(store: &Arc<dyn Store>, found: Abilities) -> Result<Option<VaultId>, Error> {
    new_runtime()?.block_on(async {
        let (_, descriptor) = match read_descriptor(store).await {
            Ok(read) => read.map_err(|damage| Error::damaged(name::DESCRIPTOR, damage))?,
            Err(Error::Vault(vault::VaultError::NoVault { .. })) => return Ok(None),
            Err(error) => return Err(error),
        };
        let tested = seconds(vault::store_clock(store.as_ref()).await?);
        let found = Abilities { tested, ..found };
        found.write(store.as_ref(), descriptor.vault, content::random::identity()).await?;
        Ok(Some(descriptor.vault))
    })
}
