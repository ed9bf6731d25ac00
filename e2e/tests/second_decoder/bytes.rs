//! The basic values of section 1, read from a slice. What breaks a rule panics: this is a test.

use std::collections::BTreeSet;

/// Bytes, and how far they were read.
#[derive(Clone)]
pub struct Bytes<'a> {
    whole: &'a [u8],
    at: usize,
}

impl<'a> Bytes<'a> {
    pub fn new(whole: &'a [u8]) -> Self {
        Self { whole, at: 0 }
    }

    /// How many bytes were read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// All bytes read so far: what signatures and additional data stand for.
    pub fn before(&self) -> &'a [u8] {
        &self.whole[..self.at]
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.whole.len() - self.at
    }

    #[track_caller]
    pub fn take(&mut self, length: usize) -> &'a [u8] {
        assert!(length <= self.left(), "{length} bytes wanted, {} left", self.left());
        self.at += length;
        &self.whole[self.at - length..self.at]
    }

    #[track_caller]
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().unwrap()
    }

    #[track_caller]
    pub fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    #[track_caller]
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    #[track_caller]
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    #[track_caller]
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    #[track_caller]
    pub fn varint(&mut self) -> u64 {
        let mut value = 0u128;
        for place in 0..10 {
            let byte = self.u8();
            value |= u128::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                assert!(byte != 0 || place == 0, "a varint is longer than it must be");
                return value.try_into().expect("a varint has at most 64 bits");
            }
        }
        panic!("a varint has at most ten bytes");
    }

    /// A varint that is a small number: a length, a count, a place in a list.
    #[track_caller]
    pub fn number<T: TryFrom<u64>>(&mut self) -> T {
        let value = self.varint();
        T::try_from(value).unwrap_or_else(|_| panic!("{value} is too large here"))
    }

    #[track_caller]
    pub fn signed(&mut self) -> i64 {
        let value = self.varint();
        (value >> 1) as i64 ^ -((value & 1) as i64)
    }

    /// Seconds and nanoseconds.
    #[track_caller]
    pub fn time(&mut self) -> (i64, u32) {
        let time = (self.signed(), self.number());
        assert!(time.1 < 1_000_000_000);
        time
    }

    #[track_caller]
    pub fn sized(&mut self) -> &'a [u8] {
        let length = self.number();
        self.take(length)
    }

    #[track_caller]
    pub fn text(&mut self) -> String {
        String::from_utf8(self.sized().to_vec()).unwrap()
    }

    /// A count and that many items of at least `least` bytes each.
    #[track_caller]
    pub fn list<T>(&mut self, least: usize, item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count: usize = self.number();
        assert!(count <= self.left() / least, "{count} items do not fit into {} bytes", self.left());
        let mut item = item;
        (0..count).map(|_| item(self)).collect()
    }

    /// A set of segment numbers.
    #[track_caller]
    pub fn set(&mut self) -> BTreeSet<u32> {
        let mut numbers = BTreeSet::new();
        let mut at = 0u64;
        self.list(2, |bytes| {
            let (skipped, run) = (bytes.varint(), bytes.varint());
            assert!(run > 0 && (skipped > 0 || numbers.is_empty()), "a run that is none");
            at = at.checked_add(skipped).unwrap();
            let end = at.checked_add(run).unwrap();
            assert!(end <= 1 << 20);
            numbers.extend(at as u32..end as u32);
            at = end;
        });
        numbers
    }

    /// The header of an object.
    #[track_caller]
    pub fn header(&mut self, kind: u8) {
        assert_eq!(self.take(5), b"SROOM");
        assert_eq!(self.u8(), kind, "the kind of object");
        assert_eq!(self.u16(), 1, "the format version");
    }

    #[track_caller]
    pub fn features(&mut self) {
        assert_eq!(self.u64(), 0, "the features");
    }

    #[track_caller]
    pub fn layout(&mut self) {
        assert_eq!(self.u8(), 1, "the layout");
    }

    /// Insists that everything was read.
    #[track_caller]
    pub fn end(self) {
        assert_eq!(self.left(), 0, "bytes are left");
    }
}
