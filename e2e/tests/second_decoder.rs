//! A second decoder of the vault format, written from `docs/format.md` alone. It shares no code with the program, reads
//! whole vaults that the program made, recomputes every hash, id and cut point in them, and compares the files.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking; its modules are its own")]

/// One module for each part of the document.
mod second_decoder {
    pub mod bytes;
    pub mod custody;
    pub mod cutting;
    pub mod envelope;
    mod examples;
    mod history;
    pub mod keys;
    mod locks;
    pub mod marks;
    pub mod packs;
    pub mod records;
    pub mod sealed;
    pub mod snapshots;
    pub mod tree;
    pub mod vault;
}

#[path = "lock/world.rs"]
#[allow(dead_code, reason = "its thief has nothing to do here")]
mod world;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use e2e::oracle::{assert_same, look};
use e2e::{World, noise, plant};
use ed25519_dalek::Signer;

use second_decoder::bytes::Bytes;
use second_decoder::cutting::{chunk_lengths, page_ends, prf};
use second_decoder::keys::{Keyring, message, recognise};
use second_decoder::snapshots::open_descriptor;
use second_decoder::tree::{What, read_extents, read_page};
use second_decoder::vault::{Tree, Vault};

/// The vault's newest snapshot, compared with the living folder in everything a restore brings back and more.
fn assert_newest_is(source: &Path, vault: &Vault) -> Tree {
    vault.check_order();
    let snapshot = vault.snapshots.last().unwrap();
    assert_eq!(snapshot.body.problems, 0);
    let tree = vault.tree(snapshot);
    assert_same(&look(source), &tree.look(source));
    for (path, (entry, _)) in tree.found.iter().filter(|(path, _)| path.starts_with(source)) {
        let stat = path.symlink_metadata().unwrap();
        assert_eq!(entry.inode, stat.ino(), "{path:?}");
        assert_eq!(entry.changed, (stat.ctime(), stat.ctime_nsec() as u32), "{path:?}");
        let links = if entry.kind == 1 { 1 } else { stat.nlink() };
        assert_eq!((entry.links, entry.hard_linked), (links, links > 1), "{path:?}");
    }
    tree
}

/// The recovery code that a command printed.
fn recovery_code(world: &World, command: &[&str]) -> String {
    let lines = world.run(command).expect(0).json();
    let found = lines.iter().find_map(|line| line["recovery_code"].as_str());
    found.unwrap().to_owned()
}

#[test]
fn every_byte_of_a_real_vault_is_as_the_document_says() {
    let world = World::new();
    let code = recovery_code(&world, &["init", "--json"]);
    world.run(["key", "add", "--key-file", &world.text("key")]).expect(0);
    let key_file = std::fs::read_to_string(world.path("key")).unwrap();
    let newer_code = recovery_code(&world, &["key", "recovery", "--json"]).to_lowercase().replace('-', " ");

    let source = world.path("source");
    plant::everything(&source);
    std::fs::create_dir(source.join("long")).unwrap();
    for n in 0..3000 {
        std::fs::write(source.join(format!("long/a file with number {n}")), n.to_string()).unwrap();
    }
    // Here the rule for pages ends one exactly where the directory ends.
    let key = Vault::open(&world.vault(), "right").keys.cutting_key();
    let is_last = |name: &String| page_ends(&key, 16 << 10, name.as_bytes());
    let last = (0..).map(|n| format!("the last {n}")).find(is_last).unwrap();
    std::fs::create_dir(source.join("exact")).unwrap();
    for name in (0..800).map(|n| format!("a file with number {n}")).chain([last]) {
        std::fs::write(source.join("exact").join(name), "").unwrap();
    }
    world.run(["backup", &world.text("source"), "--tag", "first", "--tag", "daily"]).expect(0);
    let vault = Vault::open(&world.vault(), "right");
    let tree = assert_newest_is(&source, &vault);
    let body = &vault.snapshots[0].body;
    assert_eq!(body.labels, ["first", "daily"]);
    assert_eq!(body.paths, [world.text("source").into_bytes()]);
    assert!(!body.host.is_empty() && !body.program.is_empty());
    assert_eq!(body.user, "root");
    assert!(tree.long_directories > 0 && tree.cut_files >= 2);
    assert_eq!(tree.user_name(0), "root");
    assert_eq!(tree.user_name(12345), "", "unknown here");
    let first_look = tree.look(&source);
    let mut compressed = vault.compressed();

    // Each effort seals files of its own, and each time another secret opens the vault.
    let secrets = [code.as_str(), &key_file, &newer_code, "right"];
    for (effort, secret) in ["off", "fast", "default", "max"].into_iter().zip(secrets) {
        for (seed, length) in [(1, 10_000), (2, 3 << 20)] {
            let words =
                noise(seed, length / 8).iter().map(|n| format!("{effort}{n:03} ")).collect::<String>();
            std::fs::write(source.join(format!("{effort} {length}")), words).unwrap();
        }
        std::fs::write(source.join("text"), effort).unwrap();
        std::fs::write(source.join(format!("{effort} noise")), noise(effort.len() as u64, 2 << 20)).unwrap();
        world.run(["backup", &world.text("source"), "--compression", effort]).expect(0);
        let vault = Vault::open(&world.vault(), secret);
        assert_newest_is(&source, &vault);
        assert_eq!(vault.compressed() > compressed, effort != "off", "{effort}");
        compressed = vault.compressed();
    }
    let vault = Vault::open(&world.vault(), "right");
    assert_eq!(vault.snapshots.len(), 5);
    assert_same(&first_look, &vault.tree(&vault.snapshots[0]).look(&source));
}

/// Seven bits a byte.
fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 127 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A new descriptor, signed by the owner, asks for small chunks; so a file of a few dozen MiB has extent pages.
#[test]
fn a_file_of_many_chunks_has_extent_pages() {
    let world = World::with_vault();
    let vault = Vault::open(&world.vault(), "right");
    let path = world.vault().join("strongroom.vault");
    let object = std::fs::read(&path).unwrap();
    let sizes = &vault.descriptor.sizes_at;
    let smaller = [4096, 5000, 6000].map(varint).concat();
    let mut changed = [&object[..sizes.start], &smaller, &object[sizes.end..object.len() - 64]].concat();
    let signature = vault.keys.signing_key().sign(&message("strongroom 1 descriptor", &changed));
    changed.extend(signature.to_bytes());
    assert_eq!(open_descriptor(&changed).chunk_sizes, [4096, 5000, 6000]);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, changed).unwrap();

    let source = world.path("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("huge"), noise(5, 100 << 20)).unwrap();
    std::fs::write(source.join("small"), noise(6, 200_000)).unwrap();
    world.run(["backup", &world.text("source"), "--compression", "off"]).expect(0);
    let vault = Vault::open(&world.vault(), "right");
    let tree = assert_newest_is(&source, &vault);
    assert!(tree.extent_pages > 1);
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The keyring of the document's examples.
fn example_keys() -> Keyring {
    let secrets: Vec<u8> = (0x20..0x60).collect();
    let (write, read) = secrets.split_at(32);
    Keyring::decode(&[&[1][..], &[0x11; 16], &[1, 0, 0, 0, 0], write, &[1], read].concat())
}

/// What the document says follows from its example keys. `document` is the text that must hold each value.
#[test]
fn the_values_to_test_with_hold() {
    let document = include_str!("../../docs/format.md");
    let keys = example_keys();
    let signing = keys.signing_key();
    let pair = keys.pair(0);
    for value in [
        hex_of(&keys.chunk_id_key()),
        hex_of(&keys.cutting_key()),
        hex_of(&signing.to_bytes()),
        hex_of(&signing.verifying_key().to_bytes()),
        hex_of(&keys.pre_shared_key(0)),
        hex_of(&pair.seed),
        hex_of(&pair.public()[..16]),
        hex_of(blake3::hash(&pair.public()).as_bytes()),
        hex_of(&keys.chunk_id(b"hello")),
        format!("{:#x}", prf(&keys.cutting_key(), b"a")),
        hex_of(&signing.sign(&message("strongroom 1 snapshot", b"hello")).to_bytes()),
    ] {
        assert!(document.contains(&format!("| `{value}` |")) || document.contains(&format!("| {value} |")));
    }
}

#[test]
fn the_example_of_cutting_holds() {
    let key = example_keys().cutting_key();
    let mut data = vec![0; 12 << 20];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut data);
    for (i, byte) in data[4 << 20..7 << 20].iter_mut().enumerate() {
        *byte = (i % 7) as u8;
    }
    let lengths = chunk_lengths(&data, &key, [256 << 10, 1 << 20, 4 << 20]);
    assert_eq!((lengths.len(), &lengths[..5]), (9, &[1224489, 1161898, 330104, 407690, 4194304][..]));
    let lengths = chunk_lengths(&data, &key, [4096, 16384, 65536]);
    assert_eq!((lengths.len(), &lengths[..5]), (581, &[18724, 23427, 15369, 18174, 7500][..]));
}

#[test]
fn the_examples_of_values_texts_and_pages_hold() {
    for (hex, value) in [("01", -1), ("d704", -300), ("80c49fd50c", 1_700_000_000)] {
        assert_eq!(Bytes::new(&bytes_of(hex)).signed(), value);
    }
    let least = bytes_of("ff ff ff ff ff ff ff ff ff 01");
    assert_eq!((Bytes::new(&least).signed(), Bytes::new(&least).varint()), (i64::MIN, u64::MAX));
    assert_eq!(Vec::from_iter(Bytes::new(&bytes_of("02 01 03 05 01")).set()), [1, 2, 3, 9]);

    assert_eq!(recognise("000G-40R4-0M30-E209-185G-R38E-1W81-24GK-PHTM\n").0, 2);
    let sloppy = "ooog40r4om3oe2o9i85gr38eLw8124gkphtm";
    assert_eq!(recognise(sloppy), (2, b"000G40R40M30E209185GR38E1W8124GKPHTM".to_vec()));
    assert_eq!(recognise("000G-40R4-0M30-E209-185G-R38E-1W81-24GK-PHTN").0, 1, "a wrong checksum");
    assert_eq!(recognise(" strongroom-key-1-00 \n"), (3, b"strongroom-key-1-00".to_vec()));

    let page = bytes_of(
        "01 01 22222222222222222222222222222222 01 00 00 04726f6f74 04726f6f74 03
        0161 00 a403 00 80c49fd50c 05000000 02 00000000 c801 05 00 01 020000
        0162 00 a403 00 00 05000000 02 00000000 02 b102 00 02 00ac02 01
        016c 02 a403 00 00 05000000 02 00000000 03 0161",
    );
    let (owners, entries) = read_page(&page, &[0; 32], true);
    assert_eq!((owners[0].user, owners[0].group_name.as_slice()), (0, &b"root"[..]));
    let inodes: BTreeMap<_, _> = entries.iter().map(|e| (e.name.as_slice(), e.inode)).collect();
    assert_eq!(inodes, BTreeMap::from([(&b"a"[..], 100), (b"b", 101), (b"l", 99)]));
    let time = (1_700_000_000, 5);
    assert!(entries.iter().all(|e| e.mode == 0o644 && e.modified == time && e.changed == (time.0 + 1, 5)));
    let What::File { size: 305, addresses, .. } = &entries[1].what else { panic!("{:?}", entries[1].what) };
    let places: Vec<_> = addresses.iter().map(|a| (a.segment, a.offset, a.length)).collect();
    assert_eq!(places, [(0, 5, 300), (1, 0, 5)]);
    assert!(matches!(&entries[2].what, What::Link(target) if target == b"a"));

    let extents = bytes_of("01 01 22222222222222222222222222222222 03 020005ac02 0105 0006");
    let places: Vec<_> = read_extents(&extents).iter().map(|a| (a.segment, a.offset, a.length)).collect();
    assert_eq!(places, [(0, 5, 300), (1, 0, 5), (1, 5, 6)]);
}
