//! What is said of snapshots and packs: damage records, trash marks, pins and settings. Sections 13 and 14.

use super::bytes::Bytes;
use super::keys::verify;
use super::snapshots::Descriptor;

/// The most seconds that a delay or a lock lasts.
const LONGEST: u64 = 3_153_600_000;

/// Packs that are damaged: pack id, and hash of the object.
pub fn open_damage(object: &[u8], vault: [u8; 16]) -> Vec<([u8; 16], [u8; 32])> {
    let mut bytes = Bytes::new(object);
    bytes.header(b'D');
    assert_eq!(bytes.array(), vault);
    let packs = bytes.list(48, |bytes| (bytes.array(), bytes.array()));
    bytes.end();
    packs
}

/// That a snapshot was forgotten.
#[derive(Debug, PartialEq, Eq)]
pub struct Mark {
    pub snapshot: [u8; 32],
    pub system: [u8; 16],
    pub sequence: u64,
    pub previous: [u8; 32],
    pub written: i64,
    pub reason: String,
}

pub fn open_marks(object: &[u8], vault: [u8; 16]) -> Vec<Mark> {
    let mut bytes = Bytes::new(object);
    bytes.header(b'T');
    assert_eq!(bytes.array(), vault);
    let marks = bytes.list(99, |bytes| {
        let _nonce: [u8; 16] = bytes.array();
        let (snapshot, system) = (bytes.array(), bytes.array());
        let (sequence, previous) = (bytes.varint(), bytes.array());
        let (written, reason) = (bytes.signed(), bytes.text());
        assert!(reason.len() <= 1024);
        Mark { snapshot, system, sequence, previous, written, reason }
    });
    bytes.end();
    marks
}

/// That a snapshot is to stay: for ever when there is no moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Pin {
    pub snapshot: [u8; 32],
    pub until: Option<i64>,
    pub written: i64,
}

pub fn open_pin(object: &[u8], vault: [u8; 16]) -> Pin {
    assert!(object.len() <= 4096);
    let mut bytes = Bytes::new(object);
    bytes.header(b'H');
    assert_eq!(bytes.array(), vault);
    let _nonce: [u8; 16] = bytes.array();
    let snapshot = bytes.array();
    let until = match bytes.u8() {
        0 => None,
        1 => Some(bytes.signed()),
        other => panic!("form {other}"),
    };
    let written = bytes.signed();
    bytes.end();
    Pin { snapshot, until, written }
}

/// A version of the settings.
pub struct Settings {
    pub hash: [u8; 32],
    pub sequence: u64,
    pub previous: [u8; 32],
    pub delay: u64,
    pub extensions: Vec<(u64, Vec<u8>)>,
}

/// Tags with their values, as the descriptor and settings have them.
pub fn tagged(bytes: &mut Bytes<'_>) -> Vec<(u64, Vec<u8>)> {
    bytes.list(2, |bytes| (bytes.varint(), bytes.sized().to_vec()))
}

pub fn open_settings(object: &[u8], descriptor: &Descriptor) -> Settings {
    assert!(object.len() <= 1 << 20);
    let mut bytes = Bytes::new(object);
    bytes.header(b'O');
    bytes.features();
    assert_eq!(bytes.array(), descriptor.vault);
    let (sequence, previous, delay) = (bytes.varint(), bytes.array(), bytes.varint());
    assert!(delay <= LONGEST);
    let extensions = tagged(&mut bytes);
    assert_eq!(bytes.array(), descriptor.owner);
    let signed = bytes.before();
    verify(&descriptor.owner, "strongroom 1 settings", signed, &bytes.array());
    bytes.end();
    Settings { hash: *blake3::hash(object).as_bytes(), sequence, previous, delay, extensions }
}

/// The first delay.
pub fn first_delay(descriptor: &Descriptor) -> u64 {
    let value = descriptor.settings.iter().find(|(tag, _)| *tag == 1);
    let delay = value.map_or(604_800, |(_, value)| {
        let mut bytes = Bytes::new(value);
        let delay = bytes.varint();
        bytes.end();
        delay
    });
    delay.min(LONGEST)
}

/// The delay in force at `now`, from the versions in their order with the moments at which the store received them.
pub fn delay_in_force(descriptor: &Descriptor, versions: &[(Settings, u64)], now: u64) -> u64 {
    let delays =
        [first_delay(descriptor)].into_iter().chain(versions.iter().map(|(version, _)| version.delay));
    let mut received = versions.iter().map(|(_, received)| *received);
    let mut latest = 0;
    let counts = |delay: &u64| match received.next() {
        None => true,
        Some(next) => {
            latest = next.max(latest);
            now < latest + delay
        }
    };
    delays.filter(counts).max().unwrap()
}

/// The storage class for packs of data. Nothing when it is the store's usual one.
pub fn class(value: &[u8]) -> Option<String> {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let is_name = (1..=64).contains(&value.len()) && value.iter().all(is_allowed);
    is_name.then(|| String::from_utf8(value.to_vec()).unwrap())
}

/// What counts of something that the descriptor says first, and settings change: the value with this tag in the newest
/// version that has one. The versions are in their order.
pub fn newest<'a>(descriptor: &'a Descriptor, versions: &'a [(Settings, u64)], tag: u64) -> Option<&'a [u8]> {
    let said = versions.iter().rev().map(|(version, _)| &version.extensions);
    let mut said = said.chain([&descriptor.settings]);
    said.find_map(|values| values.iter().find(|(of, _)| *of == tag)).map(|(_, value)| &value[..])
}

/// For how long objects are locked, and how: 1 governance, 2 compliance. Nothing when they are not.
pub fn lock(value: &[u8]) -> Option<(u64, u8)> {
    let mut bytes = Bytes::new(value);
    let (seconds, mode) = (bytes.varint(), bytes.u8());
    bytes.end();
    (seconds > 0 && (1..=2).contains(&mode)).then_some((seconds.min(LONGEST), mode))
}
