use super::*;

fn id(number: u64) -> ChunkId {
    let mut out = [0; 16];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut out);
    ChunkId::new(out)
}

fn pack(number: u8, ids: std::ops::Range<u64>) -> PackChunks {
    let segments =
        ids.clone().step_by(10).map(|at| (at..(at + 10).min(ids.end)).map(|n| (id(n), 100)).collect());
    PackChunks {
        pack: PackId::new([number; 16]),
        object: ObjectHash::of(&[number]),
        segments: segments.collect(),
    }
}

#[test]
fn chunks_are_found_after_merges_and_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = Index::open(folder.path(), &HashSet::new()).unwrap();
    let mut listed = HashSet::new();
    for number in 0..20u8 {
        let start = u64::from(number) * 1000;
        let fragment = ObjectHash::of(&[number, 1]);
        index
            .add_fragment(
                fragment,
                &[pack(number, start..start + 500), pack(number + 100, start + 500..start + 1000)],
            )
            .unwrap();
        listed.insert(fragment);
    }
    for index in [index, Index::open(folder.path(), &listed).unwrap()] {
        assert!(index.missing(&listed).is_empty());
        assert!(index.tables.len() <= TABLES_MAX);
        assert_eq!(index.len(), 20_000);
        for n in (0..20_000).step_by(7) {
            let found = index.find(&id(n), |_| true).unwrap().unwrap();
            let within = n % 500;
            let number = (n / 1000) as u8 + if n % 1000 >= 500 { 100 } else { 0 };
            let expected = Address {
                pack: PackId::new([number; 16]),
                segment: (within / 10) as u32,
                offset: (within % 10) as u32 * 100,
                length: 100,
            };
            assert_eq!(found, expected);
            assert_eq!(index.object(found.pack), Some(ObjectHash::of(&[number])));
        }
        assert!((20_000..40_000).all(|n| index.find(&id(n), |_| true).unwrap().is_none()));
    }
}

#[test]
fn a_table_of_a_fragment_that_is_gone_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = Index::open(folder.path(), &HashSet::new()).unwrap();
    let (a, b) = (ObjectHash::of(b"a"), ObjectHash::of(b"b"));
    index.add_fragment(a, &[pack(1, 0..50)]).unwrap();
    index.add_fragment(b, &[pack(2, 50..100)]).unwrap();
    let listed = HashSet::from([b]);
    let index = Index::open(folder.path(), &listed).unwrap();
    assert!(index.find(&id(1), |_| true).unwrap().is_none());
    assert!(index.find(&id(60), |_| true).unwrap().is_some());
    let listed = HashSet::from([a, b]);
    assert_eq!(index.missing(&listed), [a]);
}

#[test]
fn what_this_run_adds_leaves_memory_with_its_fragment() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = Index::open(folder.path(), &HashSet::new()).unwrap();
    let address = Address { pack: PackId::new([1; 16]), segment: 0, offset: 0, length: 100 };
    index.insert(id(0), address);
    assert_eq!(index.find(&id(0), |_| true).unwrap(), Some(address));
    index.add_fragment(ObjectHash::of(b"a"), &[pack(1, 0..10)]).unwrap();
    assert_eq!(index.in_memory(), 0);
    assert_eq!(index.find(&id(0), |_| true).unwrap(), Some(address));
}

#[test]
fn a_damaged_table_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = Index::open(folder.path(), &HashSet::new()).unwrap();
    let name = ObjectHash::of(b"a");
    index.add_fragment(name, &[pack(1, 0..50)]).unwrap();
    let path = index.tables[0].path().to_owned();
    drop(index);
    let whole = std::fs::read(&path).unwrap();
    let listed = HashSet::from([name]);
    for at in (0..whole.len()).step_by(7) {
        let mut broken = whole.clone();
        broken[at] ^= 4;
        std::fs::write(&path, &broken).unwrap();
        let index = Index::open(folder.path(), &listed).unwrap();
        for n in 0..50 {
            // A chunk that is not found is stored again: it costs bytes and loses nothing.
            if let Ok(Some(address)) = index.find(&id(n), |_| true) {
                assert_eq!(address.pack, PackId::new([1; 16]));
                assert_eq!((address.segment, address.offset), (n as u32 / 10, n as u32 % 10 * 100));
            }
        }
        std::fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn a_chunk_stored_twice_is_found_where_it_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = Index::open(folder.path(), &HashSet::new()).unwrap();
    for number in 1..=9 {
        index.add_fragment(ObjectHash::of(&[number]), &[pack(number, 0..100)]).unwrap();
    }
    for number in 1..=9 {
        let wanted = PackId::new([number; 16]);
        let found = index.find(&id(50), |address| address.pack == wanted).unwrap().unwrap();
        assert_eq!(found.pack, wanted);
    }
    assert_eq!(index.find(&id(50), |_| false).unwrap(), None);
}
