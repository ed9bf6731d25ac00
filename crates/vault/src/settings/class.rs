//! In which storage class packs of data are kept, where the store has classes. All else is kept as the store usually
//! does: trees, the index and snapshots are read all the time.

use bytes::Bytes;
use store::StorageClass;

use super::Settings;
use crate::descriptor::Descriptor;
use crate::records::Record;

/// The descriptor's setting, and the settings' extension, with the class: its name, or nothing for none.
pub const DATA_CLASS_TAG: u64 = 2;

/// A class, or none, as a setting's value.
pub fn encode_class(class: Option<&StorageClass>) -> (u64, Bytes) {
    let name = class.map_or("", StorageClass::as_str);
    (DATA_CLASS_TAG, Bytes::copy_from_slice(name.as_bytes()))
}

/// What these settings say. `None`: nothing; a name that no class can have is none.
fn said(settings: &[(u64, Bytes)]) -> Option<Option<StorageClass>> {
    let (_, value) = settings.iter().find(|(tag, _)| *tag == DATA_CLASS_TAG)?;
    Some(std::str::from_utf8(value).ok().and_then(|name| StorageClass::new(name).ok()))
}

/// All that was ever said, the newest first.
fn history<'a>(
    descriptor: &'a Descriptor,
    records: &'a [Record<Settings>],
) -> impl Iterator<Item = Option<StorageClass>> + 'a {
    let changes = records.iter().rev().filter_map(|record| said(&record.content.as_ref().ok()?.extensions));
    changes.chain(said(&descriptor.settings))
}

/// The class for packs of data that are written from now on, from the descriptor and the settings as
/// [`super::read_all`] gives them.
pub fn data_class(descriptor: &Descriptor, records: &[Record<Settings>]) -> Option<StorageClass> {
    history(descriptor, records).next().flatten()
}

/// Whether packs of data may have been put into a class that has to be warmed before it can be read.
pub fn data_may_be_cold(descriptor: &Descriptor, records: &[Record<Settings>]) -> bool {
    history(descriptor, records).flatten().any(|class| class.may_be_cold())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use store::ObjectInfo;

    use super::*;
    use crate::descriptor::ChunkSizes;
    use crate::name::{ObjectHash, VaultId};
    use crate::signing::VerifyingKey;

    fn class(name: &str) -> Option<StorageClass> {
        StorageClass::new(name).ok()
    }

    fn descriptor(settings: Vec<(u64, Bytes)>) -> Descriptor {
        Descriptor {
            vault: VaultId::default(),
            created: 0,
            chunk_sizes: ChunkSizes { min: 1 << 18, average: 1 << 20, max: 1 << 22 },
            settings,
            owner: VerifyingKey::new([0; 32]),
        }
    }

    fn record(extensions: Vec<(u64, Bytes)>) -> Record<Settings> {
        let object = ObjectInfo { name: String::new(), size: 0, modified: SystemTime::UNIX_EPOCH };
        let (previous, delete_delay) = (ObjectHash::default(), 0);
        Record { object, content: Ok(Settings { sequence: 1, previous, delete_delay, extensions }) }
    }

    #[test]
    fn the_newest_word_counts_and_what_was_cold_may_be_so_still() {
        let cold = class("GLACIER");
        assert_eq!(data_class(&descriptor(Vec::new()), &[]), None);
        let made_cold = descriptor(vec![encode_class(cold.as_ref())]);
        assert_eq!(data_class(&made_cold, &[]), cold);
        // A change of something else says nothing of it.
        assert_eq!(data_class(&made_cold, &[record(Vec::new())]), cold);
        let warm = [record(vec![encode_class(None)]), record(Vec::new())];
        assert_eq!(data_class(&made_cold, &warm), None);
        assert!(data_may_be_cold(&made_cold, &warm));
        let readable = [record(vec![encode_class(class("GLACIER_IR").as_ref())])];
        assert_eq!(data_class(&descriptor(Vec::new()), &readable), class("GLACIER_IR"));
        assert!(!data_may_be_cold(&descriptor(Vec::new()), &readable));
        let nonsense = descriptor(vec![(DATA_CLASS_TAG, Bytes::from_static(b"\xff x"))]);
        assert_eq!(data_class(&nonsense, &[]), None);
    }
}
