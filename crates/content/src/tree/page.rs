//! Pages of a directory.
//!
//! ```text
//! layout (u8 = 1)
//! packs:  count, each: pack id (16)
//! owners: count, each: user id (varint)  group id (varint)  user name (sized)  group name (sized)
//! count of entries, each:
//!   name (sized)
//!   form (u8): low four bits what it is (0 file, 1 directory, 2 symlink, 3 fifo, 4 socket, 5 character device,
//!              6 block device); 0x10 has xattrs, 0x20 hard-linked, 0x40 has holes, 0x80 changed while it was read
//!   mode (varint)  owner's place in the table (varint)
//!   modified: seconds less the previous entry's (signed varint)  nanoseconds (u32)
//!   changed: seconds less modified's (signed varint)  nanoseconds XOR modified's (u32)
//!   inode less the previous entry's (signed varint, wrapping)
//!   hard-linked: links (varint)  device (varint)
//!   file:      size (varint)
//!              holes: count, each: distance from the end of the one before (varint)  length (varint)
//!              where (u8: 0 chunks, 1 extent pages)  count  addresses; of chunks, the last has no length: it is
//!              what is left of the size less the holes
//!   directory: count  addresses of pages  files (varint)  bytes (varint)
//!   symlink:   target (sized)        device: major (varint)  minor (varint)
//!   xattrs:    count, each: name (sized)  value (sized)
//! ```
//! A page ends after an entry once it has 16 KiB of entries and the PRF (see `cut`) of the entry's name is below
//! 2^64 / 256, or once it has 1 MiB of entries.

use std::collections::HashMap;
use std::sync::Arc;

use vault::wire::{Malformed, Reader, Write};

use super::address::{AddressReader, AddressWriter};
use super::entry::{Entry, FileContent, Hole, Node, Owner, Time};
use crate::chunk::Address;
use crate::cut::Cutter;

/// A page is never longer than this, in bytes: the largest entry (64 KiB of xattrs, a list of extent pages) and what
/// goes before it.
pub const PAGE_MAX: usize = crate::segment::RAW_SEGMENT_MAX;

const PAGE_FULL: usize = 1 << 20;
const PAGE_MIN: usize = 16 << 10;
const NAME_CUTS_BELOW: u64 = u64::MAX / 256;
const FIELD_MAX: usize = PAGE_MAX;

const XATTRS: u8 = 0x10;
const HARD_LINKED: u8 = 0x20;
const HOLES: u8 = 0x40;
const CHANGING: u8 = 0x80;

/// Collects entries into pages.
#[derive(Debug, Default)]
pub struct PageWriter {
    entries: Vec<u8>,
    count: u64,
    addresses: AddressWriter,
    owners: Vec<Arc<Owner>>,
    owner_numbers: HashMap<Arc<Owner>, usize>,
    last: Previous,
}

/// What an entry's numbers are relative to.
#[derive(Debug, Default)]
struct Previous {
    seconds: i64,
    inode: u64,
}

impl PageWriter {
    /// Starts an empty page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds an entry. Returns whether the page ends here.
    pub fn push(&mut self, entry: &Entry, cutter: &Cutter) -> bool {
        self.write(entry);
        self.count += 1;
        let length = self.entries.len();
        length >= PAGE_FULL || (length >= PAGE_MIN && cutter.pseudorandom(&entry.name) < NAME_CUTS_BELOW)
    }

    /// The stored form; the writer is empty afterwards.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() + 256);
        out.push(1);
        self.addresses.table(&mut out);
        out.varint(self.owners.len() as u64);
        for owner in &self.owners {
            out.varint(u64::from(owner.user));
            out.varint(u64::from(owner.group));
            out.sized(&owner.user_name);
            out.sized(&owner.group_name);
        }
        out.varint(self.count);
        out.extend_from_slice(&self.entries);
        *self = Self::default();
        out
    }

    fn write(&mut self, entry: &Entry) {
        let owner = self.owner(&entry.owner);
        let out = &mut self.entries;
        out.sized(&entry.name);
        out.push(form(entry));
        out.varint(u64::from(entry.mode));
        out.varint(owner);
        out.signed(entry.modified.seconds.wrapping_sub(self.last.seconds));
        out.extend_from_slice(&entry.modified.nanoseconds.to_le_bytes());
        out.signed(entry.changed.seconds.wrapping_sub(entry.modified.seconds));
        out.extend_from_slice(&(entry.changed.nanoseconds ^ entry.modified.nanoseconds).to_le_bytes());
        out.signed(entry.inode.wrapping_sub(self.last.inode).cast_signed());
        self.last = Previous { seconds: entry.modified.seconds, inode: entry.inode };
        if entry.is_hard_linked() {
            out.varint(entry.links);
            out.varint(entry.device);
        }
        self.write_node(&entry.node);
        if !entry.xattrs.is_empty() {
            let out = &mut self.entries;
            out.varint(entry.xattrs.len() as u64);
            for (name, value) in &entry.xattrs {
                out.sized(name);
                out.sized(value);
            }
        }
    }

    fn write_node(&mut self, node: &Node) {
        let out = &mut self.entries;
        match node {
            Node::File { size, content, holes, .. } => {
                out.varint(*size);
                if !holes.is_empty() {
                    out.varint(holes.len() as u64);
                    let mut end = 0;
                    for hole in holes {
                        out.varint(hole.offset - end);
                        out.varint(hole.length);
                        end = hole.offset + hole.length;
                    }
                }
                let (place, list) = match content {
                    FileContent::Chunks(list) => (0, list),
                    FileContent::Extents(list) => (1, list),
                };
                out.push(place);
                out.varint(list.len() as u64);
                for (index, address) in list.iter().enumerate() {
                    let implied = place == 0 && index + 1 == list.len();
                    self.addresses.write(address, !implied, out);
                }
            }
            Node::Directory { pages, files, bytes } => {
                out.varint(pages.len() as u64);
                for page in pages {
                    self.addresses.write(page, true, out);
                }
                out.varint(*files);
                out.varint(*bytes);
            }
            Node::Symlink { target } => out.sized(target),
            Node::Fifo | Node::Socket => {}
            Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => {
                out.varint(u64::from(*major));
                out.varint(u64::from(*minor));
            }
        }
    }

    fn owner(&mut self, owner: &Arc<Owner>) -> u64 {
        if let Some(number) = self.owner_numbers.get(owner) {
            return *number as u64;
        }
        let number = self.owners.len();
        self.owners.push(owner.clone());
        self.owner_numbers.insert(owner.clone(), number);
        number as u64
    }
}

fn form(entry: &Entry) -> u8 {
    let (kind, flags) = match &entry.node {
        Node::File { holes, changing, .. } => {
            (0, if holes.is_empty() { 0 } else { HOLES } | if *changing { CHANGING } else { 0 })
        }
        Node::Directory { .. } => (1, 0),
        Node::Symlink { .. } => (2, 0),
        Node::Fifo => (3, 0),
        Node::Socket => (4, 0),
        Node::CharDevice { .. } => (5, 0),
        Node::BlockDevice { .. } => (6, 0),
    };
    let xattrs = if entry.xattrs.is_empty() { 0 } else { XATTRS };
    kind | flags | xattrs | if entry.is_hard_linked() { HARD_LINKED } else { 0 }
}

/// Reads a page. The entries are in strictly ascending order of their names, and no name is `.` or `..` or holds a
/// `/` or NUL; the empty name is allowed only alone, for the root.
pub fn decode_page(bytes: &[u8]) -> Result<Vec<Entry>, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.u8("page layout")? != 1 {
        return Err(reader.malformed("page layout", "it is not known"));
    }
    let mut addresses = AddressReader::new(&mut reader)?;
    let count = reader.count("owners", 4)?;
    let mut owners = Vec::with_capacity(count);
    for _ in 0..count {
        owners.push(Arc::new(Owner {
            user: reader.varint_u32("user id")?,
            group: reader.varint_u32("group id")?,
            user_name: reader.sized("user name", FIELD_MAX)?.to_vec(),
            group_name: reader.sized("group name", FIELD_MAX)?.to_vec(),
        }));
    }
    let count = reader.count("entries", 15)?;
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    let mut last = Previous::default();
    for _ in 0..count {
        let entry = read_entry(&mut reader, &mut addresses, &owners, &mut last)?;
        let in_order = entries.last().is_none_or(|before| before.name < entry.name);
        if !in_order || !is_name(&entry.name, count) {
            return Err(reader.malformed("name", "it is not allowed here, or out of order"));
        }
        entries.push(entry);
    }
    reader.finish("page")?;
    Ok(entries)
}

fn is_name(name: &[u8], count: usize) -> bool {
    let whole = (!name.is_empty() || count == 1) && name != b"." && name != b"..";
    whole && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

fn read_entry(
    reader: &mut Reader<'_>,
    addresses: &mut AddressReader,
    owners: &[Arc<Owner>],
    last: &mut Previous,
) -> Result<Entry, Malformed> {
    let name = reader.sized("name", FIELD_MAX)?.to_vec();
    let form = reader.u8("form")?;
    let mode = reader.varint_max("mode", 0o7777)? as u32;
    let owner = usize::try_from(reader.varint("owner")?).unwrap_or(usize::MAX);
    let owner =
        owners.get(owner).cloned().ok_or_else(|| reader.malformed("owner", "there is no such owner"))?;
    let modified = Time {
        seconds: last.seconds.wrapping_add(reader.signed("modified")?),
        nanoseconds: reader.u32("modified")?,
    };
    let changed = Time {
        seconds: modified.seconds.wrapping_add(reader.signed("changed")?),
        nanoseconds: reader.u32("changed")? ^ modified.nanoseconds,
    };
    if modified.nanoseconds > 999_999_999 || changed.nanoseconds > 999_999_999 {
        return Err(reader.malformed("time", "there are too many nanoseconds"));
    }
    let inode = last.inode.wrapping_add(reader.signed("inode")?.cast_unsigned());
    *last = Previous { seconds: modified.seconds, inode };
    let (links, device) = match form & HARD_LINKED {
        0 => (1, 0),
        _ => (reader.varint("links")?, reader.varint("device")?),
    };
    let node = read_node(reader, addresses, form)?;
    let mut xattrs = Vec::new();
    if form & XATTRS != 0 {
        for _ in 0..reader.count("xattrs", 2)? {
            let name = reader.sized("xattr name", FIELD_MAX)?.to_vec();
            xattrs.push((name, reader.sized("xattr value", FIELD_MAX)?.to_vec()));
        }
    }
    Ok(Entry { name, node, mode, owner, modified, changed, inode, device, links, xattrs })
}

fn read_node(reader: &mut Reader<'_>, addresses: &mut AddressReader, form: u8) -> Result<Node, Malformed> {
    let device = |reader: &mut Reader<'_>| -> Result<(u32, u32), Malformed> {
        Ok((reader.varint_u32("major")?, reader.varint_u32("minor")?))
    };
    Ok(match form & 0x0f {
        0 => read_file(reader, addresses, form)?,
        1 => {
            let count = reader.count("pages", 2)?;
            let pages = (0..count).map(|_| addresses.read(reader, None)).collect::<Result<_, _>>()?;
            Node::Directory { pages, files: reader.varint("files")?, bytes: reader.varint("bytes")? }
        }
        2 => Node::Symlink { target: reader.sized("link target", FIELD_MAX)?.to_vec() },
        3 => Node::Fifo,
        4 => Node::Socket,
        5 => device(reader).map(|(major, minor)| Node::CharDevice { major, minor })?,
        6 => device(reader).map(|(major, minor)| Node::BlockDevice { major, minor })?,
        _ => return Err(reader.malformed("form", "there is no such kind of entry")),
    })
}

fn read_file(reader: &mut Reader<'_>, addresses: &mut AddressReader, form: u8) -> Result<Node, Malformed> {
    let size = reader.varint_max("size", i64::MAX as u64)?;
    let holes = if form & HOLES == 0 { Vec::new() } else { read_holes(reader, size)? };
    let mut left = size - holes.iter().map(|hole| hole.length).sum::<u64>();
    let extents = match reader.u8("where")? {
        0 => false,
        1 => true,
        _ => return Err(reader.malformed("where", "it is neither 0 nor 1")),
    };
    let count = reader.count("addresses", 1)?;
    let mut list: Vec<Address> = Vec::with_capacity(count);
    for index in 0..count {
        let implied = !extents && index + 1 == count;
        let address = addresses.read(reader, implied.then_some(left))?;
        if !extents {
            let short = || reader.malformed("addresses", "the chunks are longer than the file");
            left = left.checked_sub(u64::from(address.length)).ok_or_else(short)?;
        }
        list.push(address);
    }
    if !extents && left > 0 {
        return Err(reader.malformed("addresses", "the chunks are shorter than the file"));
    }
    let content = if extents { FileContent::Extents(list) } else { FileContent::Chunks(list) };
    Ok(Node::File { size, content, holes, changing: form & CHANGING != 0 })
}

fn read_holes(reader: &mut Reader<'_>, size: u64) -> Result<Vec<Hole>, Malformed> {
    let count = reader.count("holes", 2)?;
    let mut holes: Vec<Hole> = Vec::with_capacity(count);
    let mut end = 0u64;
    for _ in 0..count {
        let distance = reader.varint("distance")?;
        let length = reader.varint("length of a hole")?;
        let offset = end.checked_add(distance);
        let stop = offset.and_then(|offset| offset.checked_add(length)).filter(|stop| *stop <= size);
        let (Some(offset), Some(stop)) = (offset, stop) else {
            return Err(reader.malformed("holes", "they reach beyond the file"));
        };
        if length == 0 || (distance == 0 && !holes.is_empty()) {
            return Err(reader.malformed("holes", "one is empty or touches the one before"));
        }
        holes.push(Hole { offset, length });
        end = stop;
    }
    Ok(holes)
}

#[cfg(test)]
mod tests;
