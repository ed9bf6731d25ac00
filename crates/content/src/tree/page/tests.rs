use proptest::prelude::*;
use vault::PackId;
use vault::descriptor::ChunkSizes;

use super::*;
use crate::secret::Secret;

fn cutter() -> Cutter {
    Cutter::new(Secret::new([3; 32]), ChunkSizes { min: 4096, average: 16384, max: 65536 })
}

fn address() -> impl Strategy<Value = Address> {
    (0u8..4, 0u32..9, 0u32..1000, 0u32..100_000).prop_map(|(pack, segment, offset, length)| Address {
        pack: PackId::new([pack; 16]),
        segment,
        offset,
        length,
    })
}

fn node() -> impl Strategy<Value = Node> {
    let list = || proptest::collection::vec(address(), 0..6);
    let file = (list(), any::<bool>(), proptest::collection::vec((1u64..50, 1u64..1000), 0..4)).prop_map(
        |(list, changing, gaps)| {
            let data: u64 = list.iter().map(|address| u64::from(address.length)).sum();
            let mut holes = Vec::new();
            let mut end = 0;
            for (distance, length) in gaps {
                if holes.is_empty() || end + distance + length < data {
                    holes.push(Hole { offset: end + distance, length });
                    end += distance + length;
                }
            }
            let hollow: u64 = holes.iter().map(|hole| hole.length).sum();
            let size = (data + hollow).max(end);
            // A size larger than data and holes would need more data.
            let holes = if size == data + hollow { holes } else { Vec::new() };
            let size = if holes.is_empty() { data } else { size };
            Node::File { size, content: FileContent::Chunks(list), holes, changing }
        },
    );
    prop_oneof![
        file,
        (list(), any::<u64>().prop_map(|size| size >> 1)).prop_map(|(list, size)| Node::File {
            size,
            content: FileContent::Extents(list),
            holes: vec![],
            changing: false
        }),
        (list(), any::<u64>(), any::<u64>()).prop_map(|(pages, files, bytes)| Node::Directory {
            pages,
            files,
            bytes
        }),
        any::<Vec<u8>>().prop_map(|target| Node::Symlink { target }),
        Just(Node::Fifo),
        Just(Node::Socket),
        any::<(u32, u32)>().prop_map(|(major, minor)| Node::CharDevice { major, minor }),
        any::<(u32, u32)>().prop_map(|(major, minor)| Node::BlockDevice { major, minor }),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let time = || (any::<i64>(), 0u32..1_000_000_000).prop_map(|(s, n)| Time { seconds: s, nanoseconds: n });
    (
        proptest::collection::vec(
            any::<u8>().prop_filter("a name", |b| *b != 0 && *b != b'/' && *b != b'.'),
            1..20,
        ),
        node(),
        0u32..0o10000,
        (any::<u32>(), any::<Vec<u8>>()),
        (time(), time()),
        (any::<u64>(), any::<u64>(), 1u64..4),
        proptest::collection::vec(any::<(Vec<u8>, Vec<u8>)>(), 0..3),
    )
        .prop_map(
            |(name, node, mode, (user, user_name), (modified, changed), (inode, device, links), xattrs)| {
                let mut entry = Entry {
                    name,
                    node,
                    mode,
                    owner: Arc::new(Owner { user, group: user / 2, user_name, group_name: vec![] }),
                    modified,
                    changed,
                    inode,
                    device,
                    links,
                    xattrs,
                };
                if !entry.is_hard_linked() {
                    (entry.links, entry.device) = (1, 0);
                }
                entry
            },
        )
}

proptest! {
    #[test]
    fn a_page_comes_back(entries in proptest::collection::vec(entry(), 0..12)) {
        let mut entries = entries;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|a, b| a.name == b.name);
        let cutter = cutter();
        let mut writer = PageWriter::new();
        for entry in &entries {
            writer.push(entry, &cutter);
        }
        prop_assert_eq!(decode_page(&writer.finish()).unwrap(), entries);
        prop_assert!(writer.is_empty());
    }

    #[test]
    fn any_bytes_decode_or_fail_in_words(
        entries in proptest::collection::vec(entry(), 0..4),
        at: prop::sample::Index,
        value: u8,
        noise: Vec<u8>,
    ) {
        let _ = decode_page(&noise);
        let cutter = cutter();
        let mut writer = PageWriter::new();
        for entry in &entries {
            writer.push(entry, &cutter);
        }
        let mut bytes = writer.finish();
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = decode_page(&bytes);
    }

    #[test]
    fn extents_come_back(list in proptest::collection::vec(address(), 0..50), noise: Vec<u8>) {
        let again = super::super::decode_extents(&super::super::encode_extents(&list)).unwrap();
        prop_assert_eq!(again, list);
        let _ = super::super::decode_extents(&noise);
    }
}

fn plain(name: &[u8]) -> Entry {
    Entry {
        name: name.to_vec(),
        node: Node::Fifo,
        mode: 0,
        owner: Arc::default(),
        modified: Time::default(),
        changed: Time::default(),
        inode: 0,
        device: 0,
        links: 1,
        xattrs: vec![],
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in [&b".."[..], b".", b"a/b", b"nul\0", b"/"] {
        let mut writer = PageWriter::new();
        writer.push(&plain(name), &cutter());
        assert!(decode_page(&writer.finish()).is_err(), "{name:?}");
    }
    let mut writer = PageWriter::new();
    writer.push(&plain(b""), &cutter());
    assert!(decode_page(&writer.finish()).is_ok(), "the root has no name");
    writer.push(&plain(b""), &cutter());
    writer.push(&plain(b"a"), &cutter());
    assert!(decode_page(&writer.finish()).is_err());
}

#[test]
fn pages_of_a_large_directory_change_only_near_an_insertion() {
    let cutter = cutter();
    let pages = |names: &[Vec<u8>]| {
        let mut writer = PageWriter::new();
        let mut pages = std::collections::HashSet::new();
        for name in names {
            if writer.push(&plain(name), &cutter) {
                pages.insert(writer.finish());
            }
        }
        pages.insert(writer.finish());
        pages
    };
    let names: Vec<Vec<u8>> = (0..50_000).map(|i| format!("file-{i:08}").into_bytes()).collect();
    let before = pages(&names);
    let mut more = names.clone();
    more.insert(20_000, b"file-00019999x".to_vec());
    let after = pages(&more);
    assert!(before.len() > 20, "{}", before.len());
    assert!(after.difference(&before).count() <= 2);
}
