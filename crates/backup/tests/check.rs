//! Checks of whole vaults and of vaults damaged in every way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use backup::{
    Category, CheckReport, Error, NewSlot, Progress, ReadData, Reader, Severity, Snapshot, Vault, check,
};
use bytes::Bytes;
use content::Address;
use content::directory;
use content::envelope::{DIRECTORY_NUMBER, DataKey, Place, Purpose};
use content::segment::{Compression, Grain, Sealer};
use content::tree::{Entry, Node};
use store::{Fault, Faulty, Kind, MemoryStore, Operation, ReadOnly, Recorded, Rule, Store, When};
use support::{create, credential, latest, noise, open, plant, run, slot};
use tempfile::TempDir;
use vault::fragment::PackRecord;
use vault::pack::{PackAssembler, PackKind};
use vault::snapshot::{Envelope, PackNeed};
use vault::{ObjectHash, PackId};

/// A vault with two snapshots of a changing folder. Made once; each test works on a copy of the store.
struct Sample {
    source: TempDir,
    cache: TempDir,
    store: MemoryStore,
}

impl Sample {
    fn new() -> Self {
        // Folders above it are in the snapshot too; this one changes less often than the one for temporary files.
        let (source, cache) = (tempfile::tempdir_in("/var/tmp").unwrap(), tempfile::tempdir().unwrap());
        plant(source.path());
        let store = Arc::new(MemoryStore::new());
        let vault = create(store.clone(), cache.path());
        run(&vault, source.path());
        std::fs::write(source.path().join("a/b/new"), noise(9, 300_000)).unwrap();
        std::fs::write(source.path().join("a/b/file-001"), "changed").unwrap();
        run(&vault, source.path());
        Self { source, cache, store: (*store).clone() }
    }

    fn store(&self) -> Arc<MemoryStore> {
        Arc::new(self.store.clone())
    }

    fn open(&self, store: Arc<dyn Store>) -> Arc<Vault> {
        open(store, self.cache.path())
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

fn names(store: &dyn Store, prefix: &str) -> Vec<String> {
    wait(store.list(prefix)).unwrap().into_iter().map(|object| object.name).collect()
}

fn read(store: &dyn Store, name: &str) -> Vec<u8> {
    wait(store.get(name, u64::MAX)).unwrap().to_vec()
}

fn write(store: &dyn Store, name: &str, bytes: Vec<u8>) {
    wait(store.replace(name, vec![bytes.into()])).unwrap();
}

fn look(vault: &Arc<Vault>, read_data: ReadData) -> CheckReport {
    check(vault, read_data, &Arc::new(Progress::new())).unwrap()
}

fn entry(vault: &Arc<Vault>, snapshot: &Snapshot, path: &Path) -> Entry {
    use std::os::unix::ffi::OsStrExt;
    let reader = Reader::new(vault, 32 << 20);
    let root = reader.open(snapshot).unwrap();
    reader.lookup(&root, path.as_os_str().as_bytes()).unwrap().unwrap()
}

/// The object and the place in it of the sealed segment of an address.
fn place(store: &dyn Store, snapshot: &Snapshot, address: &Address) -> (String, std::ops::Range<usize>) {
    let need = snapshot.envelope.needs.iter().find(|need| need.pack == address.pack).unwrap();
    let name = need.object.pack_name();
    let bytes = Bytes::from(read(store, &name));
    let trailer = vault::pack::verify_whole(&bytes, need.object, snapshot.envelope.vault).unwrap();
    let row = trailer.row(address.pack, address.segment).unwrap();
    (name, row.offset as usize..row.offset as usize + row.length as usize)
}

/// The largest chunk: of a large file, it has a segment of its own, while smaller ones share theirs with other files.
fn largest_chunk(entry: &Entry, vault: &Arc<Vault>) -> Address {
    let chunks = Reader::new(vault, 1 << 20).chunks(entry).unwrap();
    chunks.into_iter().max_by_key(|chunk| chunk.length).unwrap()
}

fn flip(store: &dyn Store, name: &str, at: usize) {
    let mut bytes = read(store, name);
    bytes[at] ^= 0x10;
    write(store, name, bytes);
}

#[test]
fn a_whole_vault_is_silent_and_every_byte_of_packs_is_read() {
    let sample = Sample::new();
    let store = sample.store();
    let recorded = Arc::new(Recorded::new(store.clone()));
    let vault = sample.open(recorded.clone());
    let quick = look(&vault, ReadData::No);
    assert_eq!(quick.findings, []);
    assert_eq!((quick.snapshots, quick.bytes_read), (2, 0));
    let full = look(&vault, ReadData::All);
    assert_eq!(full.findings, []);
    assert!(!full.is_damaged());
    let packs = wait(store.list("packs/")).unwrap();
    assert_eq!(full.bytes_read, packs.iter().map(|object| object.size).sum::<u64>());
    assert_eq!((full.packs, full.segments), (quick.packs, quick.segments));
    let written = recorded.count(Operation::Put, "");
    let custody = recorded.count(Operation::Put, "leases/") + recorded.count(Operation::Put, "verified/");
    assert_eq!(written, custody, "all that it writes is that it was here, and what it found whole");
    assert_eq!(recorded.count(Operation::Put, "verified/"), 1);
}

#[test]
fn an_incremental_check_reads_a_share_and_then_what_is_oldest() {
    let sample = Sample::new();
    let vault = sample.open(sample.store());
    let day = std::time::Duration::from_secs(24 * 3600);
    let all = look(&vault, ReadData::All).bytes_read;
    let share = look(&vault, ReadData::Due(30 * day)).bytes_read;
    assert!(share < all, "just now everything was verified: {share} of {all}");
    assert_eq!(
        look(&vault, ReadData::Due(std::time::Duration::ZERO)).bytes_read,
        all,
        "everything is too old"
    );
}

#[test]
fn a_newest_snapshot_that_was_seen_and_is_gone_is_named() {
    let sample = Sample::new();
    let store = sample.store();
    let vault = sample.open(store.clone());
    let newest = latest(&vault);
    look(&vault, ReadData::All);
    wait(store.delete(&newest.id.snapshot_name())).unwrap();
    let report = look(&vault, ReadData::No);
    let [finding] = &report.findings[..] else { panic!("{:#?}", report.findings) };
    assert_eq!((finding.severity, &finding.object), (Severity::Damage, &newest.id.snapshot_name()));
}

#[test]
fn a_sample_reads_some_packs_and_in_time_all() {
    let sample = Sample::new();
    let store = Arc::new(Recorded::new(sample.store()));
    let vault = sample.open(store.clone());
    let packs = look(&vault, ReadData::No).packs;
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        store.forget_calls();
        let report = look(&vault, ReadData::Percent(30.0));
        assert_eq!(report.findings, []);
        assert!(report.bytes_read > 0);
        let calls = store.calls();
        let read = calls.iter().filter(|call| call.name.starts_with("packs/"));
        seen.extend(read.filter(|call| call.operation == Operation::GetRange).map(|call| call.name.clone()));
        if seen.len() as u64 == packs {
            return;
        }
    }
    panic!("only {} of {packs} packs had their turn", seen.len());
}

#[test]
fn every_damage_of_every_object_is_a_finding_about_it() {
    let sample = Sample::new();
    let all = names(&sample.store, "");
    for (number, name) in all.iter().enumerate() {
        let folder = name.split_inclusive('/').next().unwrap();
        if folder == "leases/" {
            // They come and go: whatever they say, nothing is lost by it.
            continue;
        }
        let whole = read(&sample.store, name);
        let other = all.iter().find(|other| *other != name && other.starts_with(folder));
        let mut damages: Vec<(&str, Option<Vec<u8>>)> = vec![
            ("deleted", None),
            ("emptied", Some(Vec::new())),
            ("truncated", Some(whole[..whole.len() / 2].to_vec())),
            ("lengthened", Some([&whole[..], b"x"].concat())),
        ];
        damages.extend(other.map(|other| ("swapped", Some(read(&sample.store, other)))));
        for at in [0, 6, 9, 30, whole.len() / 3, whole.len() - 1] {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            damages.push(("flipped", Some(flipped)));
        }
        for (what, bytes) in damages {
            let store = sample.store();
            let vault = sample.open(store.clone());
            match bytes {
                None => wait(store.delete(name)).unwrap(),
                Some(bytes) => write(store.as_ref(), name, bytes),
            }
            let told = check(&vault, ReadData::All, &Arc::new(Progress::new()));
            let case = format!("{number} {name} {what}");
            let report = match told {
                Err(error) => {
                    assert_eq!((name.as_str(), what), ("strongroom.vault", "deleted"), "{case}: {error}");
                    assert_eq!(error.category(), Category::NoVault);
                    continue;
                }
                Ok(report) => report,
            };
            let serious: Vec<_> =
                report.findings.iter().filter(|finding| finding.severity != Severity::Note).collect();
            let is_told = match what {
                // The oldest or newest snapshot of a chain, and a key slot, may be removed on purpose.
                "deleted" if folder == "snapshots/" => true,
                "deleted" if folder == "keys/" => {
                    serious.iter().any(|finding| finding.object == "keys/") || serious.is_empty()
                }
                "deleted" if folder == "index/" => serious.iter().any(|finding| finding.object == "index/"),
                _ => serious.iter().any(|finding| finding.object == *name),
            };
            assert!(is_told, "{case}: {:#?}", report.findings);
            assert!(report.findings.iter().all(|finding| !finding.advice.is_empty()), "{case}");
        }
    }
}

#[test]
fn a_changed_byte_of_a_file_names_every_path_and_snapshot_that_has_it() {
    let sample = Sample::new();
    let store = sample.store();
    let vault = sample.open(store.clone());
    let newest = latest(&vault);
    // Two files share this chunk, in both snapshots.
    let chunk = largest_chunk(&entry(&vault, &newest, &sample.source.path().join("a/large")), &vault);
    let (object, bytes) = place(store.as_ref(), &newest, &chunk);
    flip(store.as_ref(), &object, bytes.start + 100);
    assert_eq!(look(&vault, ReadData::No).findings, [], "sizes and tables are as they should be");
    let report = look(&vault, ReadData::All);
    let [finding] = &report.findings[..] else { panic!("{:#?}", report.findings) };
    assert_eq!((finding.severity, &finding.object), (Severity::Damage, &object));
    assert!(finding.message.contains(&format!("segment {} ", chunk.segment)), "{}", finding.message);
    let top = sample.source.path().display();
    let mut expected = Vec::new();
    for snapshot in &backup::SnapshotList::load(&vault).unwrap().snapshots {
        for path in ["a/large", "z/same"] {
            expected.push(format!("{}:{top}/{path}", snapshot.id.short()));
        }
    }
    let mut affects = finding.affects.clone();
    affects.sort();
    expected.sort();
    assert_eq!(affects, expected);
}

#[test]
fn found_damage_is_recorded_so_that_the_next_backup_stores_it_again() {
    let sample = Sample::new();
    let store = sample.store();
    let vault = sample.open(store.clone());
    let newest = latest(&vault);
    let chunk = largest_chunk(&entry(&vault, &newest, &sample.source.path().join("a/large")), &vault);
    let (object, bytes) = place(store.as_ref(), &newest, &chunk);
    flip(store.as_ref(), &object, bytes.start + 100);
    assert!(look(&vault, ReadData::All).is_damaged());
    let recorded = wait(vault::damage::read_all(store.as_ref(), vault.id())).unwrap();
    assert_eq!(recorded.iter().map(|pack| pack.pack).collect::<Vec<_>>(), [chunk.pack]);
    let report = run(&vault, sample.source.path());
    assert!(report.statistics.bytes_new >= 9 << 20, "{:?}", report.statistics);
    let report = look(&vault, ReadData::All);
    let newest = latest(&vault).id.short();
    assert!(report.is_damaged(), "the older snapshots still need it");
    for finding in &report.findings {
        assert!(!finding.affects.iter().any(|place| place.starts_with(&newest)), "{finding:#?}");
    }
}

#[test]
fn a_read_only_vault_is_checked_too() {
    let sample = Sample::new();
    let store = sample.store();
    let name = &names(store.as_ref(), "packs/")[0];
    flip(store.as_ref(), name, 1000);
    let vault = sample.open(Arc::new(ReadOnly::new(store)));
    let report = look(&vault, ReadData::All);
    assert!(report.is_damaged());
    assert!(report.findings.iter().any(|finding| finding.object == "damage/"), "{:#?}", report.findings);
}

#[test]
fn a_changed_byte_of_a_directory_names_the_directory_without_reading_all_data() {
    let sample = Sample::new();
    let store = sample.store();
    let vault = sample.open(store.clone());
    let newest = latest(&vault);
    let folder = sample.source.path().join("z");
    let Node::Directory { pages, .. } = entry(&vault, &newest, &folder).node else { panic!("a folder") };
    let (object, bytes) = place(store.as_ref(), &newest, &pages[0]);
    flip(store.as_ref(), &object, bytes.start + 50);
    // A vault that has not read the page yet.
    let vault = sample.open(store.clone());
    for read_data in [ReadData::No, ReadData::All] {
        let report = look(&vault, read_data);
        let found: Vec<_> =
            report.findings.iter().filter(|finding| finding.object.contains(&object)).collect();
        assert!(!found.is_empty(), "{:#?}", report.findings);
        let place = format!("{}:{}", newest.id.short(), folder.display());
        assert!(
            found.iter().any(|finding| finding.affects.contains(&place)),
            "{place} in {read_data:?}: {found:#?}"
        );
    }
}

#[test]
fn a_missing_pack_names_paths_without_reading_data() {
    let sample = Sample::new();
    let store = sample.store();
    let vault = sample.open(store.clone());
    let newest = latest(&vault);
    let path = sample.source.path().join("a/b/new");
    let chunk = largest_chunk(&entry(&vault, &newest, &path), &vault);
    let (object, _) = place(store.as_ref(), &newest, &chunk);
    wait(store.delete(&object)).unwrap();
    let report = look(&vault, ReadData::No);
    let [finding] = &report.findings[..] else { panic!("{:#?}", report.findings) };
    assert_eq!((finding.object.as_str(), finding.message.as_str()), (object.as_str(), "it is missing"));
    let place = format!("{}:{}", newest.id.short(), path.display());
    assert!(finding.affects.contains(&place), "{finding:#?}");
}

/// Writes a snapshot by hand, with the body of another.
fn commit(vault: &Arc<Vault>, like: &Snapshot, envelope: &Envelope) -> ObjectHash {
    let keyring = vault.keyring();
    let place = Place { vault: vault.id(), id: *envelope.system.bytes(), purpose: Purpose::Body };
    let (key, key_envelope) = DataKey::generate(keyring.current(), place).unwrap();
    let mut sealer = Sealer::new(Compression::Default);
    let part = sealer.seal(&like.body.encode(), Grain::Fine, &key, 0).unwrap();
    let signer = keyring.verifying_key();
    let mut bytes = vault::snapshot::encode_unsigned(envelope, 0, &key_envelope, &[part], &signer);
    let signature = keyring.sign(vault::snapshot::SIGNING_CONTEXT, &bytes);
    bytes.extend_from_slice(&signature);
    let id = ObjectHash::of(&bytes);
    wait(vault.store().put(&id.snapshot_name(), vec![bytes.into()])).unwrap();
    id
}

#[test]
fn a_snapshot_whose_envelope_lacks_a_segment_that_it_uses_is_found() {
    let sample = Sample::new();
    let vault = sample.open(sample.store());
    let newest = latest(&vault);
    let path = sample.source.path().join("a/large");
    let chunk = largest_chunk(&entry(&vault, &newest, &path), &vault);
    let mut envelope =
        Envelope { sequence: newest.envelope.sequence + 1, previous: newest.id, ..newest.envelope.clone() };
    envelope.needs = newest
        .envelope
        .needs
        .iter()
        .map(|need| {
            let keep = |number: &u32| need.pack != chunk.pack || *number != chunk.segment;
            PackNeed { segments: need.segments.iter().filter(keep).collect(), ..need.clone() }
        })
        .collect();
    let id = commit(&vault, &newest, &envelope);
    let report = look(&vault, ReadData::No);
    let [finding] = &report.findings[..] else { panic!("{:#?}", report.findings) };
    assert_eq!(finding.object, id.snapshot_name());
    assert!(finding.message.contains("lacks 1 segments"), "{}", finding.message);
    // Small files share the segment; only so many are named.
    let is_named = finding.affects.contains(&format!("{}:{}", id.short(), path.display()));
    assert!(is_named || finding.affects.len() == vault::check::AFFECTS_MAX, "{finding:#?}");
    assert!(finding.affects.iter().all(|place| place.starts_with(&id.short())), "{finding:#?}");
}

/// Stores a pack of one segment whose directory says that these chunks are in it.
fn store_pack(vault: &Arc<Vault>, raw: &[u8], said: &[&[u8]]) -> String {
    let id = PackId::new([0x77; 16]);
    let keyring = vault.keyring();
    let place = Place { vault: vault.id(), id: *id.bytes(), purpose: Purpose::Data };
    let (key, envelope) = DataKey::generate(keyring.current(), place).unwrap();
    let mut sealer = Sealer::new(Compression::Off);
    let mut pack = PackAssembler::new(PackKind::Data, vault.id(), id);
    pack.push(sealer.seal(raw, Grain::Fine, &key, 0).unwrap());
    let identifier = keyring.identifier();
    let chunks = said.iter().map(|chunk| (identifier.identify(chunk), chunk.len() as u32)).collect();
    let listed = directory::encode(&[chunks]);
    let listed = sealer.seal(&listed, Grain::Fine, &key, DIRECTORY_NUMBER).unwrap();
    let pack = pack.finish(0, envelope, listed);
    let name = pack.hash.pack_name();
    wait(vault.store().put(&name, pack.parts.clone())).unwrap();
    let fragment = vault::fragment::encode(vault.id(), &[PackRecord::from(&pack)]);
    let fragment_name = ObjectHash::of(&fragment).index_name();
    wait(vault.store().put(&fragment_name, vec![fragment])).unwrap();
    name
}

#[test]
fn chunks_that_are_not_what_their_names_say_are_found_although_everything_opens() {
    let sample = Sample::new();
    let cases: [(&[&[u8]], bool); 5] = [
        (&[b"abc", b"defg"], true),
        (&[b"abc", b"defx"], false),
        (&[b"abc"], false),
        (&[b"abc", b"defg", b"h"], false),
        (&[], false),
    ];
    for (said, is_whole) in cases {
        let vault = sample.open(sample.store());
        let name = store_pack(&vault, b"abcdefg", said);
        assert_eq!(look(&vault, ReadData::No).findings, []);
        let findings = look(&vault, ReadData::All).findings;
        if is_whole {
            assert_eq!(findings, []);
        } else {
            let [finding] = &findings[..] else { panic!("{findings:#?}") };
            assert_eq!(finding.object, name);
            assert_eq!(finding.message, "segment 0 does not hold the chunks it should");
        }
    }
}

#[test]
fn a_key_that_can_only_add_checks_what_is_public() {
    let sample = Sample::new();
    let store = sample.store();
    let vault = sample.open(store.clone());
    let key = backup::Credential::new_key_file();
    let new = NewSlot { credential: key.clone(), write_only: true, ..slot() };
    vault.add_slot(&new).unwrap();
    let writer = Vault::open(store.clone(), &key, sample.cache.path()).unwrap();
    let report = look(&writer, ReadData::All);
    let [finding] = &report.findings[..] else { panic!("{:#?}", report.findings) };
    assert_eq!(finding.severity, Severity::Note);
    assert!(report.bytes_read > 9 << 20);
    let name = &names(store.as_ref(), "packs/")[0];
    flip(store.as_ref(), name, 1000);
    assert!(look(&writer, ReadData::All).is_damaged());
}

#[test]
fn a_cancelled_check_is_interrupted() {
    let sample = Sample::new();
    let vault = sample.open(sample.store());
    let progress = Arc::new(Progress::new());
    progress.cancel();
    assert!(matches!(check(&vault, ReadData::All, &progress), Err(Error::Interrupted)));
}

#[test]
fn a_pack_that_the_disk_cannot_read_is_a_finding_and_a_store_that_is_gone_an_error() {
    let sample = Sample::new();
    let store = sample.store();
    let name = names(store.as_ref(), "packs/")[0].clone();
    for kind in [Kind::Other, Kind::Gone] {
        let rule = Rule::new(When::Always, Fault::Error(kind)).on(Operation::GetRange).under(&name);
        let faulty: Arc<dyn Store> = Arc::new(Faulty::new(store.clone(), 1, vec![rule]));
        let vault = Vault::open(faulty, &credential(), sample.cache.path()).unwrap();
        let outcome = check(&vault, ReadData::All, &Arc::new(Progress::new()));
        match kind {
            Kind::Gone => assert!(outcome.is_err()),
            _ => assert!(outcome.unwrap().findings.iter().any(|finding| finding.object == name)),
        }
    }
}
