//! Addresses, pages of directories and extent pages: sections 9 and 11.

use super::bytes::Bytes;
use super::cutting::page_ends;

/// Where a chunk is.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    pub pack: [u8; 16],
    pub segment: u32,
    pub offset: u64,
    pub length: u64,
}

impl Address {
    /// As the root's is written: relative to nothing.
    pub fn absolute(bytes: &mut Bytes) -> Self {
        let (pack, segment) = (bytes.array(), bytes.number());
        Self { pack, segment, offset: bytes.varint(), length: bytes.varint() }.checked()
    }

    fn checked(self) -> Self {
        assert!(self.segment < 1 << 20 && self.offset + self.length <= 8 << 20, "{self:?}");
        self
    }
}

/// The chain of addresses in a page.
struct Chain {
    packs: Vec<[u8; 16]>,
    previous: Option<Address>,
}

impl Chain {
    /// The next address; its length is `implied` or written.
    fn next(&mut self, bytes: &mut Bytes, implied: Option<u64>) -> Address {
        let form: usize = bytes.number();
        let (pack, segment, offset) = match (form, self.previous) {
            (0, Some(a)) => (a.pack, a.segment, a.offset + a.length),
            (1, Some(a)) => (a.pack, a.segment + 1, 0),
            (0 | 1, None) => panic!("the first address of a page names its pack"),
            (form, _) => (self.packs[form - 2], bytes.number(), bytes.varint()),
        };
        let length = implied.unwrap_or_else(|| bytes.varint());
        let address = Address { pack, segment, offset, length }.checked();
        self.previous = Some(address);
        address
    }

    fn list(&mut self, bytes: &mut Bytes) -> Vec<Address> {
        bytes.list(2, |bytes| self.next(bytes, None))
    }
}

#[derive(Debug)]
pub struct Owner {
    pub user: u32,
    pub group: u32,
    pub user_name: Vec<u8>,
    pub group_name: Vec<u8>,
}

#[derive(Debug)]
pub struct Entry {
    pub name: Vec<u8>,
    pub kind: u8,
    pub hard_linked: bool,
    pub mode: u32,
    /// Place in the page's list.
    pub owner: usize,
    pub modified: (i64, u32),
    pub changed: (i64, u32),
    pub inode: u64,
    pub links: u64,
    pub device: u64,
    pub what: What,
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What the kind of an entry needs.
#[derive(Debug)]
pub enum What {
    /// With start and end of each hole, and the addresses of its chunks or of its extent pages.
    File {
        size: u64,
        holes: Vec<(u64, u64)>,
        extents: bool,
        addresses: Vec<Address>,
    },
    Directory {
        pages: Vec<Address>,
        files: u64,
        bytes: u64,
    },
    Link(Vec<u8>),
    Device(u32, u32),
    Nothing,
}

/// The owners and entries of a page. `is_last` says which end the rule for pages must give, under the cutting key.
pub fn read_page(raw: &[u8], cutting_key: &[u8; 32], is_last: bool) -> (Vec<Owner>, Vec<Entry>) {
    let mut bytes = Bytes::new(raw);
    bytes.layout();
    let mut chain = Chain { packs: bytes.list(16, Bytes::array), previous: None };
    let owners = bytes.list(4, |bytes| Owner {
        user: bytes.number(),
        group: bytes.number(),
        user_name: bytes.sized().to_vec(),
        group_name: bytes.sized().to_vec(),
    });
    let count: usize = bytes.number();
    let start = bytes.at();
    let mut entries: Vec<Entry> = Vec::new();
    for place in 0..count {
        let entry = read_entry(&mut bytes, &mut chain, entries.last());
        assert!(entry.owner < owners.len());
        if let Some(before) = entries.last() {
            assert!(before.name < entry.name, "names ascend");
        }
        let ends = page_ends(cutting_key, bytes.at() - start, &entry.name);
        let is_end = place + 1 == count;
        assert!(ends == is_end || (is_end && is_last), "a page ends where it must");
        entries.push(entry);
    }
    bytes.end();
    (owners, entries)
}

fn read_entry(bytes: &mut Bytes, chain: &mut Chain, before: Option<&Entry>) -> Entry {
    let name = bytes.sized().to_vec();
    assert!(name != b"." && name != b".." && !name.iter().any(|byte| [b'/', 0].contains(byte)));
    let form = bytes.u8();
    let kind = form & 15;
    let mode = bytes.number();
    assert!(mode <= 0o7777);
    let owner = bytes.number();
    let modified_before = before.map_or(0, |entry| entry.modified.0);
    let modified = (modified_before.wrapping_add(bytes.signed()), bytes.u32());
    let changed = (modified.0.wrapping_add(bytes.signed()), modified.1 ^ bytes.u32());
    assert!(modified.1 < 1_000_000_000 && changed.1 < 1_000_000_000);
    let inode = before.map_or(0, |entry| entry.inode).wrapping_add_signed(bytes.signed());
    let hard_linked = form & 0x20 != 0;
    let (links, device) = if hard_linked { (bytes.varint(), bytes.varint()) } else { (1, 0) };
    assert!(!(hard_linked && kind == 1) && (form & 0xc0 == 0 || kind == 0), "form {form:#x}");
    let what = match kind {
        0 => read_file(bytes, chain, form & 0x40 != 0),
        1 => What::Directory { pages: chain.list(bytes), files: bytes.varint(), bytes: bytes.varint() },
        2 => What::Link(bytes.sized().to_vec()),
        3 | 4 => What::Nothing,
        5 | 6 => What::Device(bytes.number(), bytes.number()),
        other => panic!("kind {other}"),
    };
    let attributes = match form & 0x10 {
        0 => Vec::new(),
        _ => bytes.list(2, |bytes| (bytes.sized().to_vec(), bytes.sized().to_vec())),
    };
    assert!(attributes.is_sorted_by(|(one, _), (next, _)| one < next));
    assert_eq!(attributes.is_empty(), form & 0x10 == 0);
    Entry { name, kind, hard_linked, mode, owner, modified, changed, inode, links, device, what, attributes }
}

fn read_file(bytes: &mut Bytes, chain: &mut Chain, has_holes: bool) -> What {
    let size = bytes.varint();
    assert!(size < 1 << 63);
    let mut holes: Vec<(u64, u64)> = Vec::new();
    if has_holes {
        bytes.list(2, |bytes| {
            let (distance, length) = (bytes.varint(), bytes.varint());
            assert!(length > 0 && (distance > 0 || holes.is_empty()));
            let start = holes.last().map_or(0, |hole| hole.1).checked_add(distance).unwrap();
            holes.push((start, start.checked_add(length).unwrap()));
        });
    }
    assert!(holes.last().is_none_or(|hole| hole.1 <= size));
    let extents = match bytes.u8() {
        0 => false,
        1 => true,
        other => panic!("where is {other}"),
    };
    if extents {
        return What::File { size, holes, extents, addresses: chain.list(bytes) };
    }
    let mut left = size - holes.iter().map(|hole| hole.1 - hole.0).sum::<u64>();
    let mut more: usize = bytes.number();
    assert!(more <= bytes.left());
    let mut addresses = Vec::new();
    while more > 0 {
        more -= 1;
        let address = chain.next(bytes, (more == 0).then_some(left));
        left = left.checked_sub(address.length).expect("chunks do not exceed the file");
        addresses.push(address);
    }
    assert_eq!(left, 0, "chunks are not short of the file");
    What::File { size, holes, extents, addresses }
}

/// The addresses in an extent page.
pub fn read_extents(raw: &[u8]) -> Vec<Address> {
    let mut bytes = Bytes::new(raw);
    bytes.layout();
    let mut chain = Chain { packs: bytes.list(16, Bytes::array), previous: None };
    let addresses = chain.list(&mut bytes);
    bytes.end();
    assert!(addresses.len() <= 8192);
    addresses
}
