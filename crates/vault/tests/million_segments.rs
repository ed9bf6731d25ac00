//! Cleaning up a vault of a million segments, in a process of its own: how much memory it takes, and what it asks.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use store::{FolderStore, Operation, Store};
use vault::check::Unwatched;
use vault::collect::{self, Options};
use vault::fragment::{self, PackRecord};
use vault::pack::{PackAssembler, PackKind};
use vault::signing::{self, VerifyingKey};
use vault::snapshot::{self, Envelope, PackNeed};
use vault::trash::{self, Mark};
use vault::{ObjectHash, PackId, SegmentSet, SystemId, VaultId};

const VAULT: VaultId = VaultId::new([1; 16]);
const PACKS: u32 = 200;
const SEGMENTS: u32 = 5000;
/// As those that a key is in.
const ENVELOPE: [u8; 1169] = [7; 1169];
const PEAK_MAX: u64 = 300 << 20;
/// Names the folder to the process that builds the vault: building is not to be measured.
const BUILD_IN: &str = "BUILD_A_MILLION_SEGMENTS_IN";

fn id(number: u32) -> [u8; 16] {
    let mut id = [0xab; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    id
}

/// Packs of toy segments with a fragment for eight of them each, as backups leave them; two snapshots, of which the first
/// needs everything and is forgotten, and the second a part of most packs.
async fn build(store: &dyn Store) {
    let mut records = Vec::new();
    let (mut all, mut some) = (Vec::new(), Vec::new());
    for number in 0..PACKS {
        let pack = PackId::new(id(number));
        let mut assembler = PackAssembler::new(PackKind::Data, VAULT, pack);
        for segment in 0..SEGMENTS {
            assembler.push(Bytes::copy_from_slice(&[number.to_be_bytes(), segment.to_be_bytes()].concat()));
        }
        let directory = Bytes::from(vec![number as u8; 20_000]);
        let finished = assembler.finish(0, Bytes::from_static(&ENVELOPE), directory);
        let record = PackRecord::from(&finished);
        let object = record.hash;
        store.put(&object.pack_name(), finished.parts).await.unwrap();
        records.push(record);
        if records.len() == 8 || number + 1 == PACKS {
            let fragment = fragment::encode(VAULT, &records);
            store.put(&ObjectHash::of(&fragment).index_name(), vec![fragment]).await.unwrap();
            records.clear();
        }
        let need = |segments: SegmentSet| PackNeed { pack, object, segments };
        all.push(need((0..SEGMENTS).collect()));
        match number % 10 {
            0 => {}
            // Two of three runs of segments.
            1..4 => some.push(need((0..SEGMENTS).filter(|segment| segment / 20 % 3 > 0).collect())),
            _ => some.push(need((0..SEGMENTS).collect())),
        }
    }
    let key = SigningKey::from_bytes(&[5; 32]);
    let mut previous = ObjectHash::default();
    for (sequence, needs) in [all, some].into_iter().enumerate() {
        let envelope = Envelope {
            vault: VAULT,
            system: SystemId::new([2; 16]),
            job: [0; 16],
            sequence: sequence as u64,
            time: (sequence as i64, 0),
            previous,
            files: 0,
            bytes: 0,
            needs,
        };
        let signer = VerifyingKey::new(key.verifying_key().to_bytes());
        let mut bytes = snapshot::encode_unsigned(&envelope, 0, b"", &[], &signer);
        let signature = key.sign(&signing::message(snapshot::SIGNING_CONTEXT, &bytes)).to_bytes();
        bytes.extend_from_slice(&signature);
        let id = ObjectHash::of(&bytes);
        store.put(&id.snapshot_name(), vec![bytes.into()]).await.unwrap();
        if sequence == 0 {
            let (system, reason) = (envelope.system, String::new());
            let mark =
                Mark { nonce: [9; 16], snapshot: id, system, sequence: 0, previous, written: 0, reason };
            trash::forget(store, VAULT, &mark).await.unwrap();
        }
        previous = id;
    }
}

/// The most memory that this process ever had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}

fn open(folder: &Path) -> Arc<dyn Store> {
    std::fs::create_dir_all(folder).unwrap();
    Arc::new(FolderStore::open(folder).unwrap())
}

#[test]
fn a_million_segments_are_cleaned_up_in_little_memory() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(folder) = std::env::var_os(BUILD_IN) {
        runtime.block_on(build(open(Path::new(&folder)).as_ref()));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let builder = std::process::Command::new(std::env::current_exe().unwrap())
        .env(BUILD_IN, folder.path())
        .status()
        .unwrap();
    assert!(builder.success());
    let before = peak();
    let begun = SystemTime::now();
    let store = open(folder.path());
    let mut options = Options::new(Duration::ZERO, false);
    options.unfinished = Duration::ZERO;
    let mut count = PACKS;
    let mut random = || {
        count += 1;
        id(count)
    };
    let cleanup = collect::cleanup(&store, VAULT, &options, &mut random, &Unwatched);
    let report = runtime.block_on(cleanup).unwrap();
    let after = peak();
    println!(
        "{} MiB before, {} MiB at most, {:?}: {:?}",
        before >> 20,
        after >> 20,
        begun.elapsed().unwrap(),
        report.calls
    );
    assert!(report.packs_deleted >= u64::from(PACKS / 10), "{report:?}");
    assert!(report.segments_moved > 100_000, "{report:?}");
    assert!(after < PEAK_MAX, "{} MiB", after >> 20);
    let calls =
        |operation| report.calls.iter().find(|(of, _)| *of == operation).map_or(0, |(_, calls)| *calls);
    // Fragments are read in both looks and when they are replaced; segments that lie side by side by one call, once to be
    // moved and once to prove the copy.
    let fragments = u64::from(PACKS.div_ceil(8));
    assert!((2 * fragments..=6 * fragments).contains(&calls(Operation::Get)), "{:?}", report.calls);
    assert!((60..20_000).contains(&calls(Operation::GetRange)), "{:?}", report.calls);
    assert!(calls(Operation::GetTail) >= 60 && calls(Operation::Delete) >= 80, "{:?}", report.calls);
}
