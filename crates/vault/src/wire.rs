//! Reading and writing the primitive values all layouts are made of.
//!
//! Fixed integers are little-endian. A *varint* is unsigned LEB128 of at most ten bytes, shortest form only, so that
//! a value has one encoding. A *signed varint* is a zigzagged varint. *Sized bytes* are a varint length and the bytes.
//! The reader never panics and never allocates more than the bytes it was given.

/// Bytes that do not follow the layout: which field, where, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} at byte {offset}: {problem}")]
pub struct Malformed {
    /// The field being read.
    pub field: &'static str,
    /// Where the field starts, in bytes from the start of the decoded part.
    pub offset: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// A cursor over untrusted bytes.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// An error about the value that starts here.
    pub fn malformed(&self, field: &'static str, problem: &'static str) -> Malformed {
        Malformed { field, offset: self.position, problem }
    }

    /// The next `length` bytes.
    pub fn take(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.position.checked_add(length);
        match end.and_then(|end| self.bytes.get(self.position..end)) {
            Some(taken) => {
                self.position += length;
                Ok(taken)
            }
            None => Err(self.malformed(field, "the bytes end too early")),
        }
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        let taken = self.take(field, N)?;
        taken.try_into().map_err(|_| self.malformed(field, "the bytes end too early"))
    }

    /// One byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// An unsigned varint.
    pub fn varint(&mut self, field: &'static str) -> Result<u64, Malformed> {
        let start = self.position;
        let fail = |problem| Err(Malformed { field, offset: start, problem });
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.u8(field)?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return fail("the varint does not fit 64 bits");
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return fail("the varint is not in its shortest form");
                }
                return Ok(value);
            }
        }
        fail("the varint is longer than ten bytes")
    }

    /// An unsigned varint no larger than `max`.
    pub fn varint_max(&mut self, field: &'static str, max: u64) -> Result<u64, Malformed> {
        let start = self.position;
        match self.varint(field)? {
            value if value <= max => Ok(value),
            _ => Err(Malformed { field, offset: start, problem: "the value is larger than allowed" }),
        }
    }

    /// An unsigned varint that fits 32 bits.
    pub fn varint_u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        let value = self.varint_max(field, u64::from(u32::MAX))?;
        u32::try_from(value).map_err(|_| self.malformed(field, "the value is larger than allowed"))
    }

    /// A count of things that take at least `size_min` bytes each, so that it cannot exceed what is left.
    pub fn count(&mut self, field: &'static str, size_min: usize) -> Result<usize, Malformed> {
        let start = self.position;
        let value = self.varint(field)?;
        let possible = self.remaining() / size_min.max(1);
        match usize::try_from(value) {
            Ok(count) if count <= possible => Ok(count),
            _ => {
                Err(Malformed { field, offset: start, problem: "the count exceeds what the bytes can hold" })
            }
        }
    }

    /// A zigzagged varint.
    pub fn signed(&mut self, field: &'static str) -> Result<i64, Malformed> {
        let value = self.varint(field)?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// A varint length, no larger than `max`, and that many bytes.
    pub fn sized(&mut self, field: &'static str, max: usize) -> Result<&'a [u8], Malformed> {
        let length = self.varint_max(field, max as u64)?;
        let length = usize::try_from(length).map_err(|_| self.malformed(field, "the length is too large"))?;
        self.take(field, length)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        self.position = self.bytes.len();
        rest
    }

    /// Insists that everything was read.
    pub fn finish(self, field: &'static str) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(self.malformed(field, "there are bytes after the end")) }
    }
}

/// Appends primitive values to a buffer.
pub trait Write {
    /// An unsigned varint.
    fn varint(&mut self, value: u64);
    /// A zigzagged varint.
    fn signed(&mut self, value: i64);
    /// A varint length and the bytes.
    fn sized(&mut self, bytes: &[u8]);
}

impl Write for Vec<u8> {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    fn signed(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    fn sized(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_value_comes_back(a: u64, b: i64, c: Vec<u8>) {
            let mut out = Vec::new();
            out.varint(a);
            out.signed(b);
            out.sized(&c);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint("a"), Ok(a));
            prop_assert_eq!(reader.signed("b"), Ok(b));
            prop_assert_eq!(reader.sized("c", c.len()), Ok(&c[..]));
            prop_assert!(reader.finish("end").is_ok());
        }

        #[test]
        fn any_accepted_varint_has_one_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(value) = reader.varint("v") {
                let mut again = Vec::new();
                again.varint(value);
                prop_assert_eq!(&again[..], &bytes[..reader.position()]);
            }
        }
    }

    #[test]
    fn a_count_cannot_promise_more_than_the_bytes_hold() {
        let mut out = Vec::new();
        out.varint(1 << 40);
        out.extend_from_slice(&[0; 64]);
        assert_eq!(
            Reader::new(&out).count("things", 16).map_err(|e| e.problem),
            Err("the count exceeds what the bytes can hold")
        );
    }
}
