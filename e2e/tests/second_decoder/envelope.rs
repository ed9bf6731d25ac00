//! Envelopes: HPKE in mode PSK with X-Wing, from the primitives. Section 6.

use hkdf::Hkdf;
use ml_kem::{Decapsulate, DecapsulationKey, KeyExport, MlKem768};
use sha2::Sha256;
use sha3::{Digest, Sha3_256};
use shake::Shake256;
use shake::digest::{ExtendableOutput, Update, XofReader};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

use super::bytes::Bytes;
use super::sealed::{Place, open_aes};

/// `HPKE`, the KEM, the KDF and the AEAD.
const SUITE: &[u8] = b"HPKE\x64\x7a\x00\x01\x00\x02";

/// An X-Wing key pair.
pub struct KeyPair {
    pub seed: [u8; 32],
    ml_kem: DecapsulationKey<MlKem768>,
    x25519: [u8; 32],
    x25519_public: [u8; 32],
}

fn shake<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut hasher = Shake256::default();
    parts.iter().for_each(|part| Update::update(&mut hasher, part));
    let mut out = [0; N];
    hasher.finalize_xof().read(&mut out);
    out
}

impl KeyPair {
    pub fn from_read_secret(secret: &[u8; 32]) -> Self {
        let (kem, key_length, seed_length) = (b"\x64\x7a", b"\x00\x0d", b"\x00\x20");
        let seed: [u8; 32] =
            shake(&[secret, b"HPKE-v1", b"KEM", kem, key_length, b"DeriveKeyPair", seed_length]);
        let stream: [u8; 96] = shake(&[&seed]);
        let d_and_z: [u8; 64] = stream[..64].try_into().unwrap();
        let x25519_private = stream[64..].try_into().unwrap();
        Self {
            seed,
            ml_kem: DecapsulationKey::from_seed(d_and_z.into()),
            x25519: x25519_private,
            x25519_public: x25519(x25519_private, X25519_BASEPOINT_BYTES),
        }
    }

    pub fn public(&self) -> Vec<u8> {
        [&self.ml_kem.encapsulation_key().to_bytes()[..], &self.x25519_public].concat()
    }

    fn decapsulate(&self, encapsulated: &[u8; 1120]) -> [u8; 32] {
        let (ct_m, ct_x) = encapsulated.split_at(1088);
        let ss_m = self.ml_kem.decapsulate_slice(ct_m).unwrap();
        let ss_x = x25519(self.x25519, ct_x.try_into().unwrap());
        let label = b"\x5c\x2e\x2f\x2f\x5e\x5c";
        Sha3_256::digest([&ss_m[..], &ss_x, ct_x, &self.x25519_public, label].concat()).into()
    }

    /// The data key in an envelope.
    pub fn open(&self, envelope: &[u8], pre_shared: &[u8; 32], place: &Place, epoch: u32) -> [u8; 32] {
        let mut bytes = Bytes::new(envelope);
        assert_eq!(bytes.u8(), 1, "the suite");
        let (encapsulated, sealed) = (bytes.array(), bytes.array::<48>());
        bytes.end();
        let shared = self.decapsulate(&encapsulated);
        let (key, nonce) = schedule(&shared, pre_shared);
        let opened = open_aes(&key, nonce, &place.additional_data(epoch), &sealed);
        opened.expect("an envelope opens").try_into().unwrap()
    }
}

fn extract(salt: &[u8], label: &[u8], input: &[u8]) -> [u8; 32] {
    Hkdf::<Sha256>::extract(Some(salt), &[b"HPKE-v1", SUITE, label, input].concat()).0.into()
}

fn expand<const N: usize>(secret: &[u8], label: &[u8], context: &[u8]) -> [u8; N] {
    let info = [&(N as u16).to_be_bytes()[..], b"HPKE-v1", SUITE, label, context].concat();
    let mut out = [0; N];
    Hkdf::<Sha256>::from_prk(secret).unwrap().expand(&info, &mut out).unwrap();
    out
}

/// The key and the nonce of RFC 9180's key schedule.
fn schedule(shared: &[u8; 32], pre_shared: &[u8; 32]) -> ([u8; 32], [u8; 12]) {
    let psk_id_hash = extract(b"", b"psk_id_hash", b"strongroom 1 write");
    let info_hash = extract(b"", b"info_hash", b"strongroom 1 data key");
    let context = [&[1][..], &psk_id_hash, &info_hash].concat();
    let secret = extract(shared, b"secret", pre_shared);
    (expand(&secret, b"key", &context), expand(&secret, b"base_nonce", &context))
}
