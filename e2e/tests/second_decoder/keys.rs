//! Secret texts, key slots, the keyring and what follows from it: sections 4 and 5.

use argon2::{Algorithm, Argon2, Params, Version};
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};

use super::bytes::Bytes;
use super::envelope::KeyPair;
use super::sealed::{Place, open_aes};

const BASE_32: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// What somebody typed: the kind of slot that it opens, and the secret text.
pub fn recognise(given: &str) -> (u8, Vec<u8>) {
    let trimmed = given.trim();
    if trimmed.starts_with("strongroom-key-1-") {
        return (3, trimmed.into());
    }
    let letter = |c: char| match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let code: String = trimmed.chars().filter(|c| !"- ".contains(*c)).map(letter).collect();
    if code.len() == 36 && code.is_ascii() && checksum(&code[..32]) == code[32..] {
        return (2, code.into());
    }
    (1, given.into())
}

fn checksum(letters: &str) -> String {
    let hash = blake3::hash(letters.as_bytes());
    hash.as_bytes()[..4].iter().map(|byte| char::from(BASE_32[usize::from(byte & 31)])).collect()
}

/// Opens a slot with a secret; nothing if it is of another kind or secret. Of several the one that is larger by the first
/// value counts.
pub fn open_slot(object: &[u8], vault: [u8; 16], given: &str) -> Option<((i64, usize), Keyring)> {
    let (secret_kind, secret) = recognise(given);
    let mut bytes = Bytes::new(object);
    bytes.header(b'K');
    bytes.features();
    assert_eq!(bytes.array(), vault);
    let kind = bytes.u8();
    let created = bytes.signed();
    assert!(bytes.text().len() <= 1024);
    let derivation = bytes.u8();
    assert_eq!(derivation, if kind == 1 { 1 } else { 2 });
    let cost = (derivation == 1).then(|| [bytes.u32(), bytes.u32(), bytes.u32()]);
    let salt: [u8; 16] = bytes.array();
    let additional_data = bytes.before();
    let sealed = bytes.sized();
    bytes.end();
    if kind != secret_kind {
        return None;
    }
    let key = match cost {
        Some([memory, passes, lanes]) => stretch(&secret, &salt, memory, passes, lanes),
        None => blake3::derive_key("strongroom 1 slot key", &[&salt[..], &secret].concat()),
    };
    let keyring = Keyring::decode(&open_aes(&key, [0; 12], additional_data, sealed)?);
    assert_eq!(keyring.vault, vault);
    Some(((created, sealed.len()), keyring))
}

fn stretch(secret: &[u8], salt: &[u8], memory: u32, passes: u32, lanes: u32) -> [u8; 32] {
    assert!((8192..=2_097_152).contains(&memory) && (1..=64).contains(&passes) && (1..=64).contains(&lanes));
    let parameters = Params::new(memory, passes, lanes, Some(32)).unwrap();
    let mut key = [0; 32];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    argon2.hash_password_into(secret, salt, &mut key).unwrap();
    key
}

struct Epoch {
    number: u32,
    write_secret: [u8; 32],
    public: Vec<u8>,
    /// Nothing in a keyring that can only add.
    pair: Option<KeyPair>,
}

/// All keys of a vault.
pub struct Keyring {
    vault: [u8; 16],
    epochs: Vec<Epoch>,
}

impl Keyring {
    pub fn decode(bytes: &[u8]) -> Self {
        let mut bytes = Bytes::new(bytes);
        bytes.layout();
        let vault = bytes.array();
        let epochs = bytes.list(69, |bytes| {
            let (number, write_secret) = (bytes.u32(), bytes.array());
            let pair = match bytes.u8() {
                0 => None,
                1 => Some(KeyPair::from_read_secret(&bytes.array())),
                other => panic!("readable {other}"),
            };
            let public = pair.as_ref().map_or_else(|| bytes.take(1216).to_vec(), KeyPair::public);
            Epoch { number, write_secret, public, pair }
        });
        bytes.end();
        assert!((1..=65_536).contains(&epochs.len()));
        Self { vault, epochs }
    }

    pub fn vault(&self) -> [u8; 16] {
        self.vault
    }

    fn first(&self, context: &str) -> [u8; 32] {
        blake3::derive_key(context, &self.epochs[0].write_secret)
    }

    pub fn chunk_id_key(&self) -> [u8; 32] {
        self.first("strongroom 1 chunk id")
    }

    pub fn cutting_key(&self) -> [u8; 32] {
        self.first("strongroom 1 cutting")
    }

    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.first("strongroom 1 signing"))
    }

    pub fn chunk_id(&self, raw: &[u8]) -> [u8; 16] {
        blake3::keyed_hash(&self.chunk_id_key(), raw).as_bytes()[..16].try_into().unwrap()
    }

    fn epoch(&self, number: u32) -> &Epoch {
        self.epochs.iter().find(|epoch| epoch.number == number).expect("the keyring has the epoch")
    }

    pub fn pair(&self, epoch: u32) -> &KeyPair {
        self.epoch(epoch).pair.as_ref().expect("a keyring that reads")
    }

    /// Of each epoch: its number, its write secret, its public key, and whether what it seals can be read.
    pub fn epochs(&self) -> Vec<(u32, [u8; 32], &[u8], bool)> {
        self.epochs
            .iter()
            .map(|epoch| (epoch.number, epoch.write_secret, &epoch.public[..], epoch.pair.is_some()))
            .collect()
    }

    pub fn pre_shared_key(&self, epoch: u32) -> [u8; 32] {
        blake3::derive_key("strongroom 1 pre-shared key", &self.epoch(epoch).write_secret)
    }

    /// The data key in an envelope.
    pub fn open_envelope(&self, epoch: u32, envelope: &[u8], place: &Place) -> [u8; 32] {
        self.pair(epoch).open(envelope, &self.pre_shared_key(epoch), place, epoch)
    }
}

/// What is signed for `bytes`.
pub fn message(context: &str, bytes: &[u8]) -> Vec<u8> {
    [context.as_bytes(), blake3::hash(bytes).as_bytes()].concat()
}

pub fn verify(owner: &[u8; 32], context: &str, bytes: &[u8], signature: &[u8; 64]) {
    let owner = VerifyingKey::from_bytes(owner).unwrap();
    let signature = Signature::from_bytes(signature);
    owner.verify_strict(&message(context, bytes), &signature).expect("a signature holds");
}
