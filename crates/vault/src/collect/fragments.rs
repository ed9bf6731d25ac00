//! Keeping the index in order: fragments that name what is gone, and many small ones, are written anew.

use std::collections::HashSet;
use std::sync::Arc;

use store::{Kind, Store};

use super::view::{PackObject, View};
use crate::condemned::What;
use crate::error::VaultError;
use crate::fragment::{self, FRAGMENT_MAX, PackRecord};
use crate::name::{ObjectHash, VaultId};
use crate::pack::read_trailer;

/// A new fragment is ended when it has about this many bytes: it is held in memory.
const TARGET: usize = 32 << 20;
/// Fragments smaller than this are worth joining, when there are many.
const SMALL: u64 = 1 << 20;
/// … namely this many.
const SMALL_MANY: usize = 16;

/// Which fragments are to be written anew, in order: those that name packs which are not there or will not be, and
/// small ones when there are many.
pub(super) fn worn(view: &View, going: &HashSet<ObjectHash>) -> Vec<ObjectHash> {
    let condemned = view.row.of(What::Fragment);
    let in_use = || view.fragments.iter().filter(|fragment| !condemned.contains(&fragment.hash));
    let names_what_is_gone = |packs: &[ObjectHash]| {
        packs.iter().any(|pack| going.contains(pack) || !view.objects.contains_key(pack))
    };
    let many = in_use().filter(|fragment| fragment.size < SMALL).count() >= SMALL_MANY;
    let worn = in_use().filter(|fragment| {
        fragment.is_doubtful
            || names_what_is_gone(&fragment.packs)
            || (many && fragment.size < SMALL)
            || fragment.packs.is_empty()
    });
    let mut worn: Vec<_> = worn.map(|fragment| fragment.hash).collect();
    worn.sort();
    worn
}

/// Writes fragments for the packs of `worn` that stay, for packs that stay and that no fragment names, and for `new`.
/// Returns how many were written.
pub(super) async fn rewrite(
    store: &Arc<dyn Store>,
    vault: VaultId,
    view: &View,
    worn: &[ObjectHash],
    going: &HashSet<ObjectHash>,
    new: Vec<PackRecord>,
) -> Result<usize, VaultError> {
    // Those that are written anew are condemned next: what replaces one must not have its name.
    let mut avoided = view.row.of(What::Fragment);
    avoided.extend(worn);
    let mut writing = Writing { store, vault, avoided, records: Vec::new(), size: 0, written: 0 };
    let mut done: HashSet<ObjectHash> = HashSet::new();
    for record in new {
        done.insert(record.hash);
        writing.add(record).await?;
    }
    for fragment in worn {
        let bytes = match store.get(&fragment.index_name(), FRAGMENT_MAX).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind == Kind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        let packs = fragment::decode(&bytes, *fragment, vault)
            .map_err(|damage| VaultError::damaged(fragment.index_name(), damage))?;
        for (record, _) in packs {
            let is_true = |seen: &PackObject| seen.trailer == ObjectHash::of(&record.trailer);
            let stays = view.objects.get(&record.hash).is_some_and(is_true) && !going.contains(&record.hash);
            if stays && done.insert(record.hash) {
                // A copy of its own: the fragment's bytes are let go.
                let trailer = bytes::Bytes::copy_from_slice(&record.trailer);
                writing.add(PackRecord { trailer, ..record }).await?;
            }
        }
    }
    let unnamed = view.objects.iter().filter(|(object, pack)| !pack.indexed && !going.contains(object));
    let mut unnamed: Vec<_> = unnamed.map(|(object, _)| *object).collect();
    unnamed.sort();
    for object in unnamed {
        if !done.insert(object) {
            continue;
        }
        match read_trailer(store.as_ref(), object, vault).await {
            Ok(Ok((_, trailer, size))) => writing.add(PackRecord { hash: object, size, trailer }).await?,
            // It is looked at again next time.
            Ok(Err(_)) => {}
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::Cold) => {}
            Err(error) => return Err(error.into()),
        }
    }
    writing.end().await?;
    Ok(writing.written)
}

struct Writing<'a> {
    store: &'a Arc<dyn Store>,
    vault: VaultId,
    avoided: HashSet<ObjectHash>,
    records: Vec<PackRecord>,
    size: usize,
    written: usize,
}

impl Writing<'_> {
    async fn add(&mut self, record: PackRecord) -> Result<(), VaultError> {
        self.size += record.trailer.len() + 48;
        self.records.push(record);
        if self.size >= TARGET { self.end().await } else { Ok(()) }
    }

    async fn end(&mut self) -> Result<(), VaultError> {
        if self.records.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut self.records);
        self.size = 0;
        fragment::write(self.store.as_ref(), self.vault, records, &self.avoided).await?;
        self.written += 1;
        Ok(())
    }
}
