//! Small immutable records: objects in a folder of their own, named by their hash, read all at once.

use bytes::Bytes;
use store::{Kind, ObjectInfo, Store};

use crate::error::{Damage, VaultError};
use crate::name::ObjectHash;

/// One object of such a folder, and what is in it or what is wrong with it.
#[derive(Debug, Clone)]
pub struct Record<T> {
    /// The object, with its time by the store's clock.
    pub object: ObjectInfo,
    /// What it says.
    pub content: Result<T, Damage>,
}

/// Reads every record in `folder`. One that is deleted meanwhile is left out.
pub async fn read_all<T>(
    store: &dyn Store,
    folder: &str,
    size_max: u64,
    decode: impl Fn(&Bytes) -> Result<T, Damage>,
) -> Result<Vec<Record<T>>, VaultError> {
    let mut records = Vec::new();
    for object in store.list(folder).await? {
        let content = match store.get(&object.name, size_max).await {
            Ok(bytes) if ObjectHash::from_object_name(&object.name) == Some(ObjectHash::of(&bytes)) => {
                decode(&bytes)
            }
            Ok(_) => Err(Damage::HashMismatch),
            Err(error) => match error.kind {
                Kind::NotFound => continue,
                Kind::TooLarge | Kind::Truncated => Err(Damage::HashMismatch),
                _ => return Err(error.into()),
            },
        };
        records.push(Record { object, content });
    }
    Ok(records)
}

/// Stores a record; its name.
pub async fn write(store: &dyn Store, folder: &str, bytes: Vec<u8>) -> Result<String, VaultError> {
    let name = format!("{folder}{}", ObjectHash::of(&bytes));
    store.put(&name, vec![bytes.into()]).await?;
    Ok(name)
}
