//! Addresses within a page: short when one follows the other.
//!
//! ```text
//! 0                                             the same segment, right after the previous address
//! 1                                             the next segment of the same pack, from its start
//! 2 + p  segment (varint)  offset (varint)      pack p of the page's table
//! then the length (varint), unless it follows from elsewhere
//! ```

use std::collections::HashMap;

use vault::PackId;
use vault::segments::SEGMENTS_MAX;
use vault::wire::{Malformed, Reader, Write};

use crate::chunk::Address;
use crate::segment::RAW_SEGMENT_MAX;

/// Appends addresses, remembering the packs and the last address of the page.
#[derive(Default, Debug)]
pub(super) struct AddressWriter {
    packs: Vec<PackId>,
    numbers: HashMap<PackId, usize>,
    last: Option<Address>,
}

impl AddressWriter {
    pub(super) fn write(&mut self, address: &Address, with_length: bool, out: &mut Vec<u8>) {
        match self.last {
            Some(last) if follows(&last, address) => out.push(0),
            Some(last) if starts_next(&last, address) => out.push(1),
            _ => {
                let next = self.packs.len();
                let number = *self.numbers.entry(address.pack).or_insert(next);
                if number == next {
                    self.packs.push(address.pack);
                }
                out.varint(2 + number as u64);
                out.varint(u64::from(address.segment));
                out.varint(u64::from(address.offset));
            }
        }
        if with_length {
            out.varint(u64::from(address.length));
        }
        self.last = Some(*address);
    }

    /// The table of packs, to stand before whatever refers to it.
    pub(super) fn table(&self, out: &mut Vec<u8>) {
        out.varint(self.packs.len() as u64);
        for pack in &self.packs {
            out.extend_from_slice(pack.bytes());
        }
    }
}

fn follows(last: &Address, next: &Address) -> bool {
    last.pack == next.pack && last.segment == next.segment && last.offset + last.length == next.offset
}

fn starts_next(last: &Address, next: &Address) -> bool {
    last.pack == next.pack && last.segment + 1 == next.segment && next.offset == 0
}

/// Reads what [`AddressWriter`] wrote.
#[derive(Debug)]
pub(super) struct AddressReader {
    packs: Vec<PackId>,
    last: Option<Address>,
}

impl AddressReader {
    pub(super) fn new(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = reader.count("packs of a page", PackId::LENGTH)?;
        let packs = (0..count).map(|_| PackId::read(reader, "pack id")).collect::<Result<_, _>>()?;
        Ok(Self { packs, last: None })
    }

    /// Reads an address; its length is given, or read when `None`.
    pub(super) fn read(
        &mut self,
        reader: &mut Reader<'_>,
        length: Option<u64>,
    ) -> Result<Address, Malformed> {
        let form = reader.varint("address")?;
        let (pack, segment, offset) = match (form, self.last) {
            (0, Some(last)) => (last.pack, last.segment, last.offset + last.length),
            (1, Some(last)) => (last.pack, last.segment + 1, 0),
            (0 | 1, None) => return Err(reader.malformed("address", "nothing goes before it")),
            (form, _) => {
                let number = usize::try_from(form - 2).unwrap_or(usize::MAX);
                let pack = self.packs.get(number).copied();
                let pack = pack.ok_or_else(|| reader.malformed("address", "there is no such pack"))?;
                let segment = reader.varint_max("segment", u64::from(SEGMENTS_MAX))? as u32;
                let offset = reader.varint_max("offset", RAW_SEGMENT_MAX as u64)? as u32;
                (pack, segment, offset)
            }
        };
        let length = match length {
            Some(length) => length,
            None => reader.varint("length")?,
        };
        if segment >= SEGMENTS_MAX || u64::from(offset).saturating_add(length) > RAW_SEGMENT_MAX as u64 {
            return Err(reader.malformed("address", "it lies outside any segment"));
        }
        let address = Address { pack, segment, offset, length: length as u32 };
        self.last = Some(address);
        Ok(address)
    }
}
