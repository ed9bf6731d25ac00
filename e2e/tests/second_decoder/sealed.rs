//! Sealed parts and the frame inside them: section 7.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use ruzstd::decoding::FrameDecoder;

use super::bytes::Bytes;

const MOST_RAW: usize = 8 << 20;

/// Where a part belongs: the vault, the pack or system, and what it is.
#[derive(Clone, Copy)]
pub struct Place {
    pub vault: [u8; 16],
    pub id: [u8; 16],
    pub purpose: u8,
}

impl Place {
    /// The additional data of part `number`; for an envelope, `number` is the epoch.
    pub fn additional_data(&self, number: u32) -> Vec<u8> {
        [&self.vault[..], &self.id, &[self.purpose], &number.to_le_bytes()].concat()
    }
}

/// Opens AES-256-GCM; nothing if the tag is wrong.
pub fn open_aes(key: &[u8; 32], nonce: [u8; 12], additional_data: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let payload = Payload { msg: sealed, aad: additional_data };
    Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key)).decrypt(&Nonce::from(nonce), payload).ok()
}

/// A part out of its frame.
pub struct Opened {
    /// As long as the frame says, with zeros where there are holes.
    pub raw: Vec<u8>,
    /// Start and end of each hole; none unless the part was thinned.
    pub holes: Vec<(usize, usize)>,
}

/// Opens a part that is never thinned, and takes it out of its frame.
pub fn open_part(key: &[u8; 32], place: &Place, number: u32, sealed: &[u8]) -> Vec<u8> {
    let Opened { raw, holes } = open_segment(key, place, number, sealed);
    assert!(holes.is_empty(), "only segments are thinned");
    raw
}

/// Opens a segment, and takes it out of its frame.
pub fn open_segment(key: &[u8; 32], place: &Place, number: u32, sealed: &[u8]) -> Opened {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&number.to_le_bytes());
    let framed = open_aes(key, nonce, &place.additional_data(number), sealed).expect("a part opens");
    let mut bytes = Bytes::new(&framed);
    let (method, length) = (bytes.u8(), bytes.u32() as usize);
    assert!(length <= MOST_RAW);
    let inner = bytes.take(bytes.left());
    let raw = match method {
        0 => inner.to_vec(),
        1 => {
            assert!(inner.len() < length, "else it would be stored");
            unpack(inner, length)
        }
        2 => return fill(inner, length),
        other => panic!("method {other}"),
    };
    assert_eq!(raw.len(), length);
    Opened { raw, holes: Vec::new() }
}

/// What is left of a thinned segment, at its old places.
fn fill(inner: &[u8], length: usize) -> Opened {
    let mut bytes = Bytes::new(inner);
    let mut holes: Vec<(usize, usize)> = Vec::new();
    bytes.list(2, |bytes| {
        let (distance, hole): (usize, usize) = (bytes.number(), bytes.number());
        assert!(hole > 0 && (distance > 0 || holes.is_empty()), "holes are not empty and do not touch");
        let start = holes.last().map_or(0, |hole| hole.1) + distance;
        holes.push((start, start + hole));
    });
    assert!(holes.last().is_some_and(|hole| hole.1 <= length), "there is a hole, and it is within");
    let missing: usize = holes.iter().map(|hole| hole.1 - hole.0).sum();
    let kept = unpack(bytes.sized(), length - missing);
    bytes.end();
    let mut raw = vec![0; length];
    let (mut from, mut at) = (0, 0);
    for (start, end) in holes.iter().copied().chain([(length, length)]) {
        raw[at..start].copy_from_slice(&kept[from..from + start - at]);
        from += start - at;
        at = end;
    }
    Opened { raw, holes }
}

/// The bytes of one Zstandard frame.
fn unpack(frame: &[u8], length: usize) -> Vec<u8> {
    assert_eq!(frame[..4], [0x28, 0xb5, 0x2f, 0xfd], "the magic number of a Zstandard frame");
    assert_eq!(frame[4], 0, "neither content size nor single segment, checksum or dictionary");
    let mut raw = vec![0; length];
    let mut decoder = FrameDecoder::new();
    assert_eq!(decoder.decode_all(frame, &mut raw).unwrap(), length);
    assert_eq!(decoder.bytes_read_from_source(), frame.len() as u64, "it is one frame");
    raw
}
