//! Small immutable records: objects in a folder of their own, named by their hash, read all at once.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::join_all;
use store::{Kind, ObjectInfo, Store};

use crate::error::{Damage, VaultError};
use crate::name::ObjectHash;
use crate::sabotage::{Rule, keeps};

/// How many are fetched at once.
const AT_ONCE: usize = 8;
/// How often a folder is listed, when records vanish. A listing may show what is gone for a while.
const TRIES: usize = 3;

/// One object of such a folder, and what is in it or what is wrong with it.
#[derive(Debug, Clone)]
pub struct Record<T> {
    /// The object, with its time by the store's clock.
    pub object: ObjectInfo,
    /// What it says.
    pub content: Result<T, Damage>,
}

impl<T> Record<T> {
    /// Whether a newer program wrote it: nobody here may replace or remove it.
    pub fn is_newer(&self) -> bool {
        self.content.as_ref().is_err_and(Damage::is_newer)
    }
}

/// Reads every record in `folder`. One that is deleted meanwhile is left out, but what was written in its place is not:
/// a record goes after its successor has come, so the folder is listed once more.
pub async fn read_all<T>(
    store: &dyn Store,
    folder: &str,
    size_max: u64,
    decode: impl Fn(&Bytes) -> Result<T, Damage>,
) -> Result<Vec<Record<T>>, VaultError> {
    let mut records = BTreeMap::new();
    for _ in 0..TRIES {
        if read_more(store, folder, size_max, &decode, &mut records).await? {
            break;
        }
    }
    Ok(records.into_values().collect())
}

/// Reads those that were not read yet; false when one that was listed is gone.
async fn read_more<T>(
    store: &dyn Store,
    folder: &str,
    size_max: u64,
    decode: impl Fn(&Bytes) -> Result<T, Damage>,
    records: &mut BTreeMap<String, Record<T>>,
) -> Result<bool, VaultError> {
    let mut objects = store.list(folder).await?;
    objects.retain(|object| !records.contains_key(&object.name));
    let mut all_there = true;
    for group in objects.chunks(AT_ONCE) {
        let fetches = group.iter().map(|object| store.get(&object.name, size_max));
        for (object, outcome) in group.iter().zip(join_all(fetches).await) {
            let content = match outcome {
                Ok(bytes) if ObjectHash::from_object_name(&object.name) == Some(ObjectHash::of(&bytes)) => {
                    decode(&bytes)
                }
                Ok(_) => Err(Damage::HashMismatch),
                Err(error) => match error.kind {
                    Kind::NotFound => {
                        all_there &= !keeps(Rule::SuccessorsAreLookedFor);
                        continue;
                    }
                    Kind::TooLarge | Kind::Truncated => Err(Damage::HashMismatch),
                    _ => return Err(error.into()),
                },
            };
            records.insert(object.name.clone(), Record { object: object.clone(), content });
        }
    }
    Ok(all_there)
}

/// Stores a record; its name.
pub async fn write(store: &dyn Store, folder: &str, bytes: Vec<u8>) -> Result<String, VaultError> {
    let name = format!("{folder}{}", ObjectHash::of(&bytes));
    store.put(&name, vec![bytes.into()]).await?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_are_read_in_the_order_of_their_names_and_damage_is_told() {
        let store = store::MemoryStore::new();
        for n in 0..20u8 {
            write(&store, "trash/", vec![n]).await.unwrap();
        }
        store.replace(&format!("trash/{}", ObjectHash::of(&[7])), vec![vec![8].into()]).await.unwrap();
        let records = read_all(&store, "trash/", 1, |bytes| Ok(bytes.to_vec())).await.unwrap();
        assert_eq!(records.len(), 20);
        assert!(records.is_sorted_by_key(|record| &record.object.name));
        let damaged = records.iter().filter(|record| record.content.is_err());
        let names: Vec<_> = damaged.map(|record| record.object.name.clone()).collect();
        assert_eq!(names, [format!("trash/{}", ObjectHash::of(&[7]))]);
        let small = read_all(&store, "trash/", 0, |bytes| Ok(bytes.to_vec())).await.unwrap();
        assert!(small.iter().all(|record| record.content == Err(Damage::HashMismatch)));
    }
}
