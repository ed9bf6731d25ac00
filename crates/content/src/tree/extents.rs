//! Extent pages: the chunk addresses of a file that has too many for its entry.
//!
//! ```text
//! layout (u8 = 1)  table of packs  count, then for each chunk: address, length
//! ```

use vault::wire::{Malformed, Reader, Write};

use super::address::{AddressReader, AddressWriter};
use crate::chunk::Address;

/// How many addresses a full extent page holds; a file with no more chunks has no extent pages.
pub const EXTENT_PAGE_ADDRESSES: usize = 8192;

/// The stored form of one extent page.
pub fn encode_extents(addresses: &[Address]) -> Vec<u8> {
    let mut writer = AddressWriter::default();
    let mut list = Vec::with_capacity(addresses.len() * 5);
    for address in addresses {
        writer.write(address, true, &mut list);
    }
    let mut out = vec![1];
    writer.table(&mut out);
    out.varint(addresses.len() as u64);
    out.extend_from_slice(&list);
    out
}

/// Reads one extent page.
pub fn decode_extents(bytes: &[u8]) -> Result<Vec<Address>, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.u8("extent page layout")? != 1 {
        return Err(reader.malformed("extent page layout", "it is not known"));
    }
    let mut addresses = AddressReader::new(&mut reader)?;
    let count = reader.count("chunks", 2)?;
    let list = (0..count).map(|_| addresses.read(&mut reader, None)).collect::<Result<_, _>>()?;
    reader.finish("extent page")?;
    Ok(list)
}
