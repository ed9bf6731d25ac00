//! The names of one folder, sorted, in little memory: a million names take their own bytes and 16
//! more each.

use std::ffi::CStr;
use std::io;

use crate::stat::Kind;

/// Names in one block of bytes, each ended by a zero.
#[derive(Debug, Default)]
pub(crate) struct Names {
    bytes: Vec<u8>,
    index: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The name's first eight bytes as a number that sorts as they do; most comparisons end here.
    head: u64,
    start: u32,
    length: u16,
    kind: Option<Kind>,
}

impl Names {
    /// Adds a name as listed. Fails when the names exceed 4 GiB together.
    pub fn push(&mut self, name: &[u8], kind: Option<Kind>) -> io::Result<()> {
        let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, "the folder holds too many names");
        let start = u32::try_from(self.bytes.len()).map_err(too_large)?;
        let length = u16::try_from(name.len()).map_err(too_large)?;
        let mut head = [0; 8];
        let shared = name.len().min(8);
        head[..shared].copy_from_slice(&name[..shared]);
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        self.index.push(Slot { head: u64::from_be_bytes(head), start, length, kind });
        Ok(())
    }

    /// Sorts by bytes. A name that was listed twice (a file system may, while names change) stays once.
    pub fn sort(&mut self) {
        let bytes = &self.bytes;
        let name = |slot: &Slot| &bytes[slot.start as usize..][..usize::from(slot.length)];
        self.index.sort_unstable_by(|a, b| a.head.cmp(&b.head).then_with(|| name(a).cmp(name(b))));
        self.index.dedup_by(|a, b| a.head == b.head && name(a) == name(b));
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// The name at `place`, with the kind that the listing gave.
    pub fn get(&self, place: usize) -> (&CStr, Option<Kind>) {
        let slot = &self.index[place];
        let with_end = &self.bytes[slot.start as usize..][..usize::from(slot.length) + 1];
        // A zero ends each name and none can be inside: the system ends names there too.
        (CStr::from_bytes_until_nul(with_end).unwrap_or_default(), slot.kind)
    }

    /// Whether `name` is among them; only after [`sort`](Self::sort).
    pub fn contains(&self, name: &[u8]) -> bool {
        self.index
            .binary_search_by(|slot| self.bytes[slot.start as usize..][..usize::from(slot.length)].cmp(name))
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn sorts_as_a_set_of_byte_strings_does(
            listed in proptest::collection::vec(proptest::collection::vec(1..=255u8, 1..20), 0..60),
            wanted in proptest::collection::vec(1..=255u8, 1..4),
        ) {
            let mut names = Names::default();
            for name in &listed {
                names.push(name, None).unwrap();
            }
            names.sort();
            let sorted: Vec<_> = (0..names.len()).map(|place| names.get(place).0.to_bytes()).collect();
            let expected: BTreeSet<&[u8]> = listed.iter().map(|name| &name[..]).collect();
            prop_assert_eq!(sorted, expected.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(names.contains(&wanted), expected.contains(&wanted[..]));
            for name in &listed {
                prop_assert!(names.contains(name));
            }
        }
    }
}
