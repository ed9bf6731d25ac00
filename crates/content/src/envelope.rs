//! Data keys and the envelopes they travel in.
//!
//! Every pack and every snapshot body has a fresh random 256-bit key for AES-256-GCM, so a nonce is just a number.
//! That key is stored beside the sealed bytes in an *envelope*: HPKE (RFC 9180) in PSK mode with X-Wing
//! (draft-connolly-cfrg-xwing-kem: X25519 and ML-KEM-768), HKDF-SHA256 and AES-256-GCM. The receiver's key is the
//! vault's, so whoever holds only the write secret cannot open what it sealed before; the pre-shared key comes from
//! the write secret, so whoever does not hold that (the custodian, for one) cannot forge an envelope.
//!
//! ```text
//! suite (u8 = 1)  encapsulated key (1120)  sealed data key (48)
//! ```

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::Bytes;
use hpke::{Deserializable, OpModeR, OpModeS, PskBundle, Serializable};
use vault::VaultId;
use vault::pack::PackKind;
use zeroize::Zeroizing;

use crate::error::ContentError;
use crate::keyring::{EnvelopeKem, EpochKeys, Keyring};
use crate::secret::Secret;

type Cipher = hpke::aead::AesGcm256;
type Derivation = hpke::kdf::HkdfSha256;
type Encapsulated = <EnvelopeKem as hpke::Kem>::EncappedKey;

const SUITE: u8 = 1;
const INFO: &[u8] = b"strongroom 1 data key";
const PSK_ID: &[u8] = b"strongroom 1 write";
const ENCAPSULATED_LENGTH: usize = 1120;

/// The length of an authentication tag in bytes.
pub const TAG_LENGTH: usize = 16;

/// The number under which a pack's directory is sealed; segments count from 0 and never reach it.
pub const DIRECTORY_NUMBER: u32 = u32::MAX;

/// What a data key seals; part of what binds sealed bytes to their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Segments of a data pack.
    Data,
    /// Segments of a tree pack.
    Tree,
    /// A snapshot's body.
    Body,
    /// What a machine notes for itself in its cache; never in a vault.
    Notes,
}

impl From<PackKind> for Purpose {
    fn from(kind: PackKind) -> Self {
        match kind {
            PackKind::Data => Self::Data,
            PackKind::Tree => Self::Tree,
        }
    }
}

impl Purpose {
    fn byte(self) -> u8 {
        match self {
            Self::Data => PackKind::Data.byte(),
            Self::Tree => PackKind::Tree.byte(),
            Self::Body => 3,
            Self::Notes => 4,
        }
    }
}

/// What sealed bytes are bound to: vault, the pack's (for a body the system's, for notes the job's) id, and purpose.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The vault.
    pub vault: VaultId,
    /// The pack id; for a snapshot's body the system id; for notes what they are about.
    pub id: [u8; 16],
    /// What is sealed.
    pub purpose: Purpose,
}

impl Place {
    /// Additional data of one sealed part: vault (16), id (16), purpose (1), number (u32).
    fn additional_data(&self, number: u32) -> [u8; 37] {
        let mut out = [0; 37];
        let parts = self
            .vault
            .bytes()
            .iter()
            .chain(&self.id)
            .copied()
            .chain([self.purpose.byte()])
            .chain(number.to_le_bytes());
        out.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        out
    }
}

/// The key of one pack or body.
pub struct DataKey {
    key: LessSafeKey,
    place: Place,
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataKey(.. for {:?})", self.place)
    }
}

impl DataKey {
    fn new(secret: &Secret, place: Place) -> Result<Self, ContentError> {
        let unbound = UnboundKey::new(&AES_256_GCM, secret.expose())
            .map_err(|_| ContentError::Library("AES-256-GCM did not take a key"))?;
        Ok(Self { key: LessSafeKey::new(unbound), place })
    }

    /// Makes a fresh key for `place` and its envelope.
    pub fn generate(keys: &EpochKeys, place: Place) -> Result<(Self, Bytes), ContentError> {
        let secret = Secret::random();
        let psk = pre_shared(keys)?;
        let (encapsulated, sealed) = hpke::single_shot_seal::<Cipher, Derivation, EnvelopeKem>(
            &OpModeS::Psk(psk),
            &keys.public,
            INFO,
            secret.expose(),
            &place.additional_data(keys.number()),
        )
        .map_err(|_| ContentError::Library("the data key could not be sealed"))?;
        let mut envelope = vec![SUITE];
        envelope.extend_from_slice(&encapsulated.to_bytes());
        envelope.extend_from_slice(&sealed);
        Ok((Self::new(&secret, place)?, envelope.into()))
    }

    /// The key of one file of notes, in place of an envelope that a key which can only add could not open again. `salt`
    /// is random and for one file alone, so numbers may count from 0 in each.
    pub fn of_notes(keys: &EpochKeys, salt: &[u8; 32], place: Place) -> Result<Self, ContentError> {
        Self::new(&keys.notes_secret(salt), place)
    }

    /// Opens an envelope.
    pub fn open(keyring: &Keyring, epoch: u32, envelope: &[u8], place: Place) -> Result<Self, ContentError> {
        let keys = keyring.epoch(epoch)?;
        let private = keys.private.as_ref().ok_or(ContentError::WriteOnly)?;
        let (suite, rest) = envelope.split_first().ok_or(ContentError::Sealed)?;
        if *suite != SUITE {
            return Err(ContentError::Sealed);
        }
        let (encapsulated, sealed) =
            rest.split_at_checked(ENCAPSULATED_LENGTH).ok_or(ContentError::Sealed)?;
        let encapsulated = Encapsulated::from_bytes(encapsulated).map_err(|_| ContentError::Sealed)?;
        let psk = pre_shared(keys)?;
        let opened = hpke::single_shot_open::<Cipher, Derivation, EnvelopeKem>(
            &OpModeR::Psk(psk),
            private,
            &encapsulated,
            INFO,
            sealed,
            &place.additional_data(epoch),
        )
        .map_err(|_| ContentError::Sealed)?;
        let opened = Zeroizing::new(opened);
        let bytes: [u8; 32] = opened.as_slice().try_into().map_err(|_| ContentError::Sealed)?;
        Self::new(&Secret::new(bytes), place)
    }

    /// Seals part `number` in place and appends the tag. A number is used once in the life of the key.
    pub fn seal(&self, number: u32, bytes: &mut Vec<u8>) -> Result<(), ContentError> {
        let aad = Aad::from(self.place.additional_data(number));
        self.key
            .seal_in_place_append_tag(nonce(number), aad, bytes)
            .map_err(|_| ContentError::Library("AES-256-GCM did not seal"))
    }

    /// Opens part `number` into `out`, which is cleared first.
    pub fn open_into(&self, number: u32, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), ContentError> {
        let split = sealed.len().checked_sub(TAG_LENGTH).ok_or(ContentError::Sealed)?;
        let (bytes, tag) = sealed.split_at_checked(split).ok_or(ContentError::Sealed)?;
        out.resize(split, 0);
        let aad = Aad::from(self.place.additional_data(number));
        self.key.open_separate_gather(nonce(number), aad, bytes, tag, out).map_err(|_| ContentError::Sealed)
    }
}

fn pre_shared(keys: &EpochKeys) -> Result<PskBundle<'_>, ContentError> {
    PskBundle::new(keys.shared.expose(), PSK_ID)
        .map_err(|_| ContentError::Library("the pre-shared key was refused"))
}

/// The nonce of part `number`: the number, little-endian, in twelve bytes.
fn nonce(number: u32) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes.iter_mut().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { vault: VaultId::new([1; 16]), id: [2; 16], purpose: Purpose::Data }
    }

    #[test]
    fn a_data_key_comes_back_only_for_its_place_and_with_the_read_secret() {
        let keyring = Keyring::generate(VaultId::new([1; 16]));
        let (key, envelope) = DataKey::generate(keyring.current(), place()).unwrap();
        let mut sealed = b"hello".to_vec();
        key.seal(7, &mut sealed).unwrap();
        let again = DataKey::open(&keyring, 0, &envelope, place()).unwrap();
        let mut out = Vec::new();
        again.open_into(7, &sealed, &mut out).unwrap();
        assert_eq!(out, b"hello");
        assert!(again.open_into(8, &sealed, &mut out).is_err(), "another number");
        let elsewhere = Place { id: [3; 16], ..place() };
        assert!(DataKey::open(&keyring, 0, &envelope, elsewhere).is_err(), "another pack");
        let write_only = Keyring::decode(&keyring.encode(true)).unwrap();
        assert!(matches!(DataKey::open(&write_only, 0, &envelope, place()), Err(ContentError::WriteOnly)));
        let other = Keyring::generate(VaultId::new([1; 16]));
        assert!(DataKey::open(&other, 0, &envelope, place()).is_err(), "another keyring");
    }

    #[test]
    fn a_key_of_notes_follows_from_the_write_secret_the_salt_and_the_place() {
        let keyring = Keyring::generate(VaultId::new([1; 16]));
        let place = Place { purpose: Purpose::Notes, ..place() };
        let key = |keyring: &Keyring, salt: u8, place| {
            DataKey::of_notes(keyring.current(), &[salt; 32], place).unwrap()
        };
        let mut sealed = b"hello".to_vec();
        key(&keyring, 1, place).seal(0, &mut sealed).unwrap();
        let opens = |key: DataKey| key.open_into(0, &sealed, &mut Vec::new()).is_ok();
        let write_only = Keyring::decode(&keyring.encode(true)).unwrap();
        assert!(opens(key(&write_only, 1, place)), "it needs no read secret");
        assert!(!opens(key(&write_only, 2, place)), "another file");
        assert!(!opens(key(&write_only, 1, Place { id: [3; 16], ..place })), "another job");
        assert!(
            !opens(key(&write_only, 1, Place { vault: VaultId::new([2; 16]), ..place })),
            "another vault"
        );
        assert!(!opens(key(&keyring.with_new_epoch().unwrap(), 1, place)), "newer keys");
    }

    #[test]
    fn every_flipped_byte_of_an_envelope_is_found() {
        let keyring = Keyring::generate(VaultId::new([1; 16]));
        let (_, envelope) = DataKey::generate(keyring.current(), place()).unwrap();
        for at in (0..envelope.len()).step_by(37).chain([envelope.len() - 1]) {
            let mut broken = envelope.to_vec();
            broken[at] ^= 1;
            assert!(DataKey::open(&keyring, 0, &broken, place()).is_err(), "byte {at}");
        }
    }
}
