//! Key slots: the keyring wrapped under something a person or a machine keeps.
//!
//! Changing a passphrase rewrites a slot and no data.
//!
//! ```text
//! header (8)  features (u64)  vault id (16)  kind (u8: 1 passphrase, 2 recovery code, 3 key file)
//! created: seconds (signed varint)  label (sized, UTF-8)
//! derivation (u8): 1 Argon2id (RFC 9106): memory in KiB (u32)  passes (u32)  lanes (u32)  salt (16)
//!                  2 BLAKE3 derive_key over secret and salt, for secrets that are random: salt (16)
//! sealed keyring (sized): AES-256-GCM, nonce 0 (the salt is fresh, so a key seals once),
//!                         additional data: everything before
//! ```

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::Bytes;
use vault::error::Damage;
use vault::header::ObjectKind;
use vault::wire::{Reader, Write};
use vault::{VaultId, name};
use zeroize::Zeroizing;

use crate::error::ContentError;
use crate::keyring::Keyring;
use crate::secret::{Secret, SecretText};

const LABEL_MAX: usize = 1024;
const RANDOM_SECRET_CONTEXT: &str = "strongroom 1 slot key";
/// What the text of a key file starts with.
const KEY_FILE_MARK: &str = "strongroom-key-1-";
const RECOVERY_BYTES: usize = 20;
/// Crockford's base 32: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// What opens a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotKind {
    /// Words that a person remembers.
    Passphrase,
    /// A random code printed once.
    RecoveryCode,
    /// A random key kept in a file of the machine.
    KeyFile,
}

impl SlotKind {
    fn byte(self) -> u8 {
        match self {
            Self::Passphrase => 1,
            Self::RecoveryCode => 2,
            Self::KeyFile => 3,
        }
    }
}

/// Something that may open a slot.
#[derive(Clone, Debug)]
pub struct Credential {
    kind: SlotKind,
    secret: SecretText,
}

impl Credential {
    /// Recognises what a person typed or a file held: a key file's text, a recovery code (its checksum must hold), or
    /// else a passphrase, taken as it is.
    pub fn recognise(text: SecretText) -> Self {
        let trimmed = text.expose().trim();
        if trimmed.starts_with(KEY_FILE_MARK) {
            return Self { kind: SlotKind::KeyFile, secret: SecretText::new(trimmed.to_owned()) };
        }
        match normal_recovery_code(trimmed) {
            Some(code) => Self { kind: SlotKind::RecoveryCode, secret: code },
            None => Self { kind: SlotKind::Passphrase, secret: text },
        }
    }

    /// A fresh random key for a file.
    pub fn new_key_file() -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        crate::random::fill(bytes.as_mut());
        let secret = SecretText::new(format!("{KEY_FILE_MARK}{}", base32(bytes.as_ref())));
        Self { kind: SlotKind::KeyFile, secret }
    }

    /// A fresh recovery code.
    pub fn new_recovery_code() -> Self {
        let mut bytes = Zeroizing::new([0; RECOVERY_BYTES]);
        crate::random::fill(bytes.as_mut());
        let code = base32(bytes.as_ref());
        let secret = SecretText::new(format!("{code}{}", checksum(&code)));
        Self { kind: SlotKind::RecoveryCode, secret }
    }

    /// What kind of slot it opens.
    pub fn kind(&self) -> SlotKind {
        self.kind
    }

    /// The text to print once or to write into a file; a recovery code in groups of four.
    pub fn text(&self) -> SecretText {
        if self.kind != SlotKind::RecoveryCode {
            return self.secret.clone();
        }
        let mut out = String::with_capacity(64);
        for (index, letter) in self.secret.expose().chars().enumerate() {
            if index > 0 && index % 4 == 0 {
                out.push('-');
            }
            out.push(letter);
        }
        SecretText::new(out)
    }
}

fn base32(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut buffer, mut bits) = (0u32, 0);
    for byte in bytes {
        buffer = (buffer << 8 | u32::from(*byte)) & 0xffff;
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(letter(buffer >> bits));
        }
    }
    if bits > 0 {
        out.push(letter(buffer << (5 - bits)));
    }
    out
}

fn letter(value: u32) -> char {
    ALPHABET.get((value & 31) as usize).map_or('0', |byte| char::from(*byte))
}

/// Four letters that catch a mistyped code before it is tried.
fn checksum(code: &str) -> String {
    let hash = blake3::hash(code.as_bytes());
    hash.as_bytes().iter().take(4).map(|byte| letter(u32::from(*byte))).collect()
}

/// The code without separators and in its proper letters, if it is one.
fn normal_recovery_code(text: &str) -> Option<SecretText> {
    let letters = RECOVERY_BYTES * 8 / 5;
    let code: Zeroizing<String> = Zeroizing::new(
        text.chars()
            .filter(|letter| !matches!(letter, '-' | ' '))
            .map(|letter| match letter.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            })
            .collect(),
    );
    let (body, check) = code.split_at_checked(letters)?;
    (checksum(body) == check).then(|| SecretText::new(code.to_string()))
}

/// How much work a passphrase costs to try (Argon2id, RFC 9106).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassphraseCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes, computed in parallel.
    pub lanes: u32,
}

impl PassphraseCost {
    /// About half a second on two cores.
    pub const STANDARD: Self = Self { memory_kib: 128 << 10, passes: 4, lanes: 4 };
    /// The most a slot may ask for; a larger demand is an attack on the reader.
    const MOST: Self = Self { memory_kib: 2 << 20, passes: 64, lanes: 64 };

    fn is_bearable(&self) -> bool {
        (8 << 10..=Self::MOST.memory_kib).contains(&self.memory_kib)
            && (1..=Self::MOST.passes).contains(&self.passes)
            && (1..=Self::MOST.lanes).contains(&self.lanes)
    }
}

enum Derivation {
    Argon2id(PassphraseCost, [u8; 16]),
    Random([u8; 16]),
}

impl Derivation {
    fn fresh(kind: SlotKind, cost: PassphraseCost) -> Self {
        match kind {
            SlotKind::Passphrase => Self::Argon2id(cost, crate::random::identity()),
            SlotKind::RecoveryCode | SlotKind::KeyFile => Self::Random(crate::random::identity()),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Argon2id(cost, salt) => {
                out.push(1);
                out.extend_from_slice(&cost.memory_kib.to_le_bytes());
                out.extend_from_slice(&cost.passes.to_le_bytes());
                out.extend_from_slice(&cost.lanes.to_le_bytes());
                out.extend_from_slice(salt);
            }
            Self::Random(salt) => {
                out.push(2);
                out.extend_from_slice(salt);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damage> {
        match reader.u8("derivation")? {
            1 => {
                let cost = PassphraseCost {
                    memory_kib: reader.u32("memory")?,
                    passes: reader.u32("passes")?,
                    lanes: reader.u32("lanes")?,
                };
                if !cost.is_bearable() {
                    return Err(Damage::Nonsense("its passphrase cost is out of the allowed range"));
                }
                Ok(Self::Argon2id(cost, reader.array("salt")?))
            }
            2 => Ok(Self::Random(reader.array("salt")?)),
            _ => Err(reader.malformed("derivation", "it is not known").into()),
        }
    }

    fn key(&self, secret: &SecretText) -> Result<Secret, ContentError> {
        let text = secret.expose().as_bytes();
        match self {
            Self::Argon2id(cost, salt) => {
                let refused = |_| ContentError::Library("Argon2id refused its parameters");
                let params = argon2::Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32))
                    .map_err(refused)?;
                let hasher = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
                let mut out = Zeroizing::new([0; 32]);
                hasher.hash_password_into(text, salt, out.as_mut()).map_err(refused)?;
                Ok(Secret::new(*out))
            }
            Self::Random(salt) => {
                let mut material = Zeroizing::new(salt.to_vec());
                material.extend_from_slice(text);
                Ok(Secret::new(blake3::derive_key(RANDOM_SECRET_CONTEXT, &material)))
            }
        }
    }
}

/// A slot as stored.
pub struct Slot {
    /// What opens it.
    pub kind: SlotKind,
    /// A name a person gave it.
    pub label: String,
    /// When it was written, in seconds since 1970 (UTC).
    pub created: i64,
    /// The vault whose keys it says it holds; [`Self::open`] makes sure of it.
    pub vault: VaultId,
    derivation: Derivation,
    public: Bytes,
    sealed: Bytes,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slot({:?}, {:?})", self.kind, self.label)
    }
}

impl Slot {
    /// Of several slots that one secret opens the largest counts: the one that was written last, and among those of the same
    /// second the one with the most keys. An interrupted change leaves the old slot beside the new one.
    pub fn newness(&self) -> (i64, usize) {
        (self.created, self.sealed.len())
    }

    /// Wraps `keyring` for `credential`; the bytes to store under their hash.
    pub fn seal(
        keyring: &Keyring,
        credential: &Credential,
        label: &str,
        created: i64,
        cost: PassphraseCost,
        write_only: bool,
    ) -> Result<Bytes, ContentError> {
        let derivation = Derivation::fresh(credential.kind, cost);
        let mut out = ObjectKind::KeySlot.header().to_vec();
        out.extend_from_slice(&0u64.to_le_bytes());
        out.extend_from_slice(keyring.vault().bytes());
        out.push(credential.kind.byte());
        out.signed(created);
        let label: String = label.chars().take(LABEL_MAX / 4).collect();
        out.sized(label.as_bytes());
        derivation.encode(&mut out);
        let key = cipher(&derivation.key(&credential.secret)?)?;
        let mut bytes = keyring.encode(write_only);
        let tag = key
            .seal_in_place_separate_tag(zero_nonce(), Aad::from(&out), &mut bytes)
            .map_err(|_| ContentError::Library("AES-256-GCM did not seal"))?;
        out.varint((bytes.len() + tag.as_ref().len()) as u64);
        out.extend_from_slice(&bytes);
        out.extend_from_slice(tag.as_ref());
        Ok(out.into())
    }

    /// Reads a slot's public part.
    pub fn decode(bytes: &Bytes) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        ObjectKind::KeySlot.expect(&mut reader)?;
        let features = reader.u64("features")?;
        if features != 0 {
            return Err(Damage::UnknownFeatures { bits: features });
        }
        let vault = VaultId::read(&mut reader, "vault id")?;
        let kind = match reader.u8("slot kind")? {
            1 => SlotKind::Passphrase,
            2 => SlotKind::RecoveryCode,
            3 => SlotKind::KeyFile,
            _ => return Err(reader.malformed("slot kind", "it is not known").into()),
        };
        let created = reader.signed("creation time")?;
        let label = String::from_utf8_lossy(reader.sized("label", LABEL_MAX)?).into_owned();
        let derivation = Derivation::decode(&mut reader)?;
        let public = bytes.slice(..reader.position());
        let sealed = bytes.slice_ref(reader.sized("sealed keyring", name::SLOT_MAX as usize)?);
        reader.finish("key slot")?;
        Ok(Self { kind, label, created, vault, derivation, public, sealed })
    }

    /// Tries `credential` on it. [`ContentError::WrongKey`] when it does not open.
    pub fn open(&self, credential: &Credential) -> Result<Keyring, ContentError> {
        if credential.kind != self.kind {
            return Err(ContentError::WrongKey);
        }
        let key = cipher(&self.derivation.key(&credential.secret)?)?;
        let mut bytes = Zeroizing::new(self.sealed.to_vec());
        let opened = key
            .open_in_place(zero_nonce(), Aad::from(&self.public), &mut bytes)
            .map_err(|_| ContentError::WrongKey)?;
        let keyring = Keyring::decode(opened)?;
        if keyring.vault() != self.vault {
            return Err(ContentError::WrongKey);
        }
        Ok(keyring)
    }
}

fn cipher(secret: &Secret) -> Result<LessSafeKey, ContentError> {
    UnboundKey::new(&AES_256_GCM, secret.expose())
        .map(LessSafeKey::new)
        .map_err(|_| ContentError::Library("AES-256-GCM did not take a key"))
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHEAP: PassphraseCost = PassphraseCost { memory_kib: 8 << 10, passes: 1, lanes: 1 };

    fn text(text: &str) -> SecretText {
        SecretText::new(text.to_owned())
    }

    #[test]
    fn each_kind_of_credential_opens_its_slot_and_no_other() {
        let vault = VaultId::new([4; 16]);
        let keyring = Keyring::generate(vault);
        let credentials = [
            Credential::recognise(text("correct horse")),
            Credential::new_recovery_code(),
            Credential::new_key_file(),
        ];
        for (i, mine) in credentials.iter().enumerate() {
            let bytes = Slot::seal(&keyring, mine, "me", 5, CHEAP, false).unwrap();
            let slot = Slot::decode(&bytes).unwrap();
            assert_eq!((slot.label.as_str(), slot.created, slot.kind), ("me", 5, mine.kind()));
            for (j, other) in credentials.iter().enumerate() {
                let written = Credential::recognise(other.text());
                assert_eq!(slot.open(&written).is_ok(), i == j);
            }
            assert_eq!(slot.vault, vault);
        }
        let bytes = Slot::seal(&keyring, &credentials[0], "", 0, CHEAP, true).unwrap();
        let slot = Slot::decode(&bytes).unwrap();
        assert!(!slot.open(&credentials[0]).unwrap().can_read());
        assert!(matches!(slot.open(&Credential::recognise(text("wrong"))), Err(ContentError::WrongKey)));
    }

    #[test]
    fn a_recovery_code_survives_being_written_down() {
        let code = Credential::new_recovery_code().text();
        let sloppy = format!(" {} ", code.expose().to_lowercase().replace('-', " ").replace('0', "o"));
        assert_eq!(Credential::recognise(text(&sloppy)).kind(), SlotKind::RecoveryCode);
        let mut wrong: Vec<char> = code.expose().chars().collect();
        wrong[0] = if wrong[0] == 'A' { 'B' } else { 'A' };
        let wrong: String = wrong.into_iter().collect();
        assert_eq!(Credential::recognise(text(&wrong)).kind(), SlotKind::Passphrase);
    }

    #[test]
    fn a_slot_that_asks_for_too_much_is_refused() {
        let vault = VaultId::new([4; 16]);
        let keyring = Keyring::generate(vault);
        let credential = Credential::recognise(text("x"));
        let bytes = Slot::seal(&keyring, &credential, "", 0, CHEAP, false).unwrap();
        let at = bytes.windows(4).position(|window| window == CHEAP.memory_kib.to_le_bytes()).unwrap();
        let mut greedy = bytes.to_vec();
        greedy[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Slot::decode(&greedy.into()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail_in_words(bytes: Vec<u8>) {
            let mut with_header = ObjectKind::KeySlot.header().to_vec();
            with_header.extend_from_slice(&[0; 24]);
            with_header.extend_from_slice(&bytes);
            let _ = Slot::decode(&with_header.into());
        }
    }
}
