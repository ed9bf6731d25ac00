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

/// Opens a part and takes it out of its frame.
pub fn open_part(key: &[u8; 32], place: &Place, number: u32, sealed: &[u8]) -> Vec<u8> {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&number.to_le_bytes());
    let framed = open_aes(key, nonce, &place.additional_data(number), sealed).expect("a part opens");
    let mut bytes = Bytes::new(&framed);
    let (method, length) = (bytes.u8(), bytes.u32() as usize);
    assert!(length <= MOST_RAW);
    let inner = bytes.take(bytes.left());
    match method {
        0 => assert_eq!(inner.len(), length),
        1 => return unpack(inner, length),
        other => panic!("method {other}"),
    }
    inner.to_vec()
}

/// The bytes of one Zstandard frame.
fn unpack(frame: &[u8], length: usize) -> Vec<u8> {
    assert_eq!(frame[..4], [0x28, 0xb5, 0x2f, 0xfd], "the magic number of a Zstandard frame");
    assert_eq!(frame[4], 0, "neither content size nor single segment, checksum or dictionary");
    assert!(frame.len() < length, "else it would be stored");
    let mut raw = vec![0; length];
    let mut decoder = FrameDecoder::new();
    assert_eq!(decoder.decode_all(frame, &mut raw).unwrap(), length);
    assert_eq!(decoder.bytes_read_from_source(), frame.len() as u64, "it is one frame");
    raw
}
