//! The keys of a vault.
//!
//! Each *epoch* has two random secrets. The *write secret* gives the chunk-id key, the cutting key, the signing key
//! and the pre-shared key without which nothing can be sealed to the vault. The *read secret* gives the private key
//! that opens what was sealed. A keyring without read secrets can add to a vault and cannot read it; a new epoch adds
//! new secrets and leaves what is stored readable under the old ones.

use ed25519_dalek::Signer;
use hpke::{Deserializable, Kem, Serializable};
use vault::VaultId;
use vault::signing::{self, SIGNATURE_LENGTH, VerifyingKey};
use vault::wire::{Reader, Write};
use zeroize::Zeroizing;

use crate::chunk::Identifier;
use crate::error::ContentError;
use crate::secret::Secret;

/// The key encapsulation of envelopes: X-Wing, that is X25519 together with ML-KEM-768.
pub(crate) type EnvelopeKem = hpke::kem::XWing;
type PublicKey = <EnvelopeKem as Kem>::PublicKey;
type PrivateKey = <EnvelopeKem as Kem>::PrivateKey;

const PUBLIC_KEY_LENGTH: usize = 1216;
const EPOCHS_MAX: u64 = 1 << 16;

/// The keys of one epoch.
pub struct EpochKeys {
    number: u32,
    write: Secret,
    read: Option<Secret>,
    pub(crate) public: PublicKey,
    pub(crate) private: Option<PrivateKey>,
    pub(crate) shared: Secret,
}

impl EpochKeys {
    fn new(number: u32, write: Secret, read: Secret) -> Self {
        let (private, public) = EnvelopeKem::derive_keypair(read.expose());
        let shared = write.derive("strongroom 1 pre-shared key");
        Self { number, write, read: Some(read), public, private: Some(private), shared }
    }

    /// Which epoch.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether what was sealed in this epoch can be read.
    pub fn can_read(&self) -> bool {
        self.read.is_some()
    }

    /// The secret of one file of a machine's notes, see [`DataKey::of_notes`](crate::envelope::DataKey::of_notes).
    pub(crate) fn notes_secret(&self, salt: &[u8; 32]) -> Secret {
        let secret = self.write.derive("strongroom 1 notes");
        Secret::new(*blake3::keyed_hash(secret.expose(), salt).as_bytes())
    }
}

impl std::fmt::Debug for EpochKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EpochKeys {{ number: {}, readable: {} }}", self.number, self.read.is_some())
    }
}

/// All keys that a key slot gives.
#[derive(Debug)]
pub struct Keyring {
    vault: VaultId,
    epochs: Vec<EpochKeys>,
}

impl Keyring {
    /// Fresh keys for a new vault.
    pub fn generate(vault: VaultId) -> Self {
        Self { vault, epochs: vec![EpochKeys::new(0, Secret::random(), Secret::random())] }
    }

    /// The vault these keys belong to.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// The keys that new data is sealed with.
    #[expect(clippy::expect_used, reason = "both constructors refuse a keyring without epochs")]
    pub fn current(&self) -> &EpochKeys {
        self.epochs.last().expect("a keyring has at least one epoch")
    }

    /// The first epoch's keys: the cutting key, chunk ids and signatures stay the same for a vault's life, or every
    /// epoch would store everything again.
    #[expect(clippy::expect_used, reason = "both constructors refuse a keyring without epochs")]
    fn first(&self) -> &EpochKeys {
        self.epochs.first().expect("a keyring has at least one epoch")
    }

    /// The keys of epoch `number`.
    pub fn epoch(&self, number: u32) -> Result<&EpochKeys, ContentError> {
        self.epochs.iter().find(|epoch| epoch.number == number).ok_or(ContentError::UnknownEpoch(number))
    }

    /// Whether what is stored can be read with it.
    pub fn can_read(&self) -> bool {
        self.epochs.iter().all(EpochKeys::can_read)
    }

    /// Whether whoever has these keys needs none of the others.
    pub fn includes(&self, other: &Self) -> bool {
        let has = |epoch: &EpochKeys| {
            let own = self.epoch(epoch.number).ok().filter(|own| own.can_read() || !epoch.can_read());
            own.is_some_and(|own| {
                own.write.expose() == epoch.write.expose() && own.public.to_bytes() == epoch.public.to_bytes()
            })
        };
        self.vault == other.vault && other.epochs.iter().all(has)
    }

    /// The same keys and those of a new epoch, which are sealed with from now on. Only for a keyring that can read:
    /// [`ContentError::WriteOnly`].
    pub fn with_new_epoch(&self) -> Result<Self, ContentError> {
        if !self.can_read() {
            return Err(ContentError::WriteOnly);
        }
        let mut next = Self::decode(&self.encode(false))?;
        let number = self.current().number.checked_add(1).filter(|_| next.epochs.len() < EPOCHS_MAX as usize);
        let number = number.ok_or(ContentError::Library("there is no room for more epochs"))?;
        next.epochs.push(EpochKeys::new(number, Secret::random(), Secret::random()));
        Ok(next)
    }

    /// What names chunks.
    pub fn identifier(&self) -> Identifier {
        Identifier::new(self.first().write.derive("strongroom 1 chunk id"))
    }

    /// What gives machines their identities in this vault.
    pub fn system_identifier(&self) -> Identifier {
        Identifier::new(self.first().write.derive("strongroom 1 system id"))
    }

    /// What names the jobs of which a machine keeps notes.
    pub fn job_identifier(&self) -> Identifier {
        Identifier::new(self.first().write.derive("strongroom 1 notes of a job"))
    }

    /// The key that decides where data is cut.
    pub fn cutting_key(&self) -> Secret {
        self.first().write.derive("strongroom 1 cutting")
    }

    fn signing_key(&self) -> ed25519_dalek::SigningKey {
        let seed = self.first().write.derive("strongroom 1 signing");
        ed25519_dalek::SigningKey::from_bytes(seed.expose())
    }

    /// Signs `signed` in `context`.
    pub fn sign(&self, context: &str, signed: &[u8]) -> [u8; SIGNATURE_LENGTH] {
        self.signing_key().sign(&signing::message(context, signed)).to_bytes()
    }

    /// The public half of the signing key.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey::new(self.signing_key().verifying_key().to_bytes())
    }

    /// The bytes that a key slot wraps. Without read secrets when `write_only`.
    ///
    /// ```text
    /// layout (u8 = 1)  vault id (16)  count of epochs, each:
    ///   number (u32)  write secret (32)  readable (u8)  read secret (32), or the public key (1216) when not readable
    /// ```
    pub fn encode(&self, write_only: bool) -> Zeroizing<Vec<u8>> {
        let capacity = 32 + self.epochs.len() * (64 + PUBLIC_KEY_LENGTH);
        let mut out = Zeroizing::new(Vec::with_capacity(capacity));
        out.push(1);
        out.extend_from_slice(self.vault.bytes());
        out.varint(self.epochs.len() as u64);
        for epoch in &self.epochs {
            out.extend_from_slice(&epoch.number.to_le_bytes());
            out.extend_from_slice(epoch.write.expose());
            match &epoch.read {
                Some(read) if !write_only => {
                    out.push(1);
                    out.extend_from_slice(read.expose());
                }
                _ => {
                    out.push(0);
                    out.extend_from_slice(&epoch.public.to_bytes());
                }
            }
        }
        out
    }

    /// Reads what [`Keyring::encode`] made.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        let mut reader = Reader::new(bytes);
        if reader.u8("keyring layout")? != 1 {
            return Err(reader.malformed("keyring layout", "it is not known").into());
        }
        let vault = VaultId::read(&mut reader, "vault id")?;
        let count = reader.varint_max("epochs", EPOCHS_MAX)?;
        let mut epochs = Vec::new();
        for _ in 0..count {
            let number = reader.u32("epoch")?;
            let write = Secret::new(reader.array("write secret")?);
            epochs.push(match reader.u8("readable")? {
                1 => EpochKeys::new(number, write, Secret::new(reader.array("read secret")?)),
                0 => {
                    let bytes = reader.take("public key", PUBLIC_KEY_LENGTH)?;
                    let public = PublicKey::from_bytes(bytes)
                        .map_err(|_| reader.malformed("public key", "it is not a valid key"))?;
                    let shared = write.derive("strongroom 1 pre-shared key");
                    EpochKeys { number, write, read: None, public, private: None, shared }
                }
                _ => return Err(reader.malformed("readable", "it is neither 0 nor 1").into()),
            });
        }
        if epochs.is_empty() {
            return Err(reader.malformed("epochs", "there are none").into());
        }
        reader.finish("keyring")?;
        Ok(Self { vault, epochs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyring_comes_back_and_a_write_only_one_cannot_read() {
        let keyring = Keyring::generate(VaultId::new([1; 16]));
        let full = Keyring::decode(&keyring.encode(false)).unwrap();
        let write_only = Keyring::decode(&keyring.encode(true)).unwrap();
        assert!(full.can_read() && !write_only.can_read());
        for other in [&full, &write_only] {
            assert_eq!(other.verifying_key(), keyring.verifying_key());
            assert_eq!(other.identifier().identify(b"x"), keyring.identifier().identify(b"x"));
            assert_eq!(other.current().public.to_bytes(), keyring.current().public.to_bytes());
        }
        let signature = write_only.sign("test", b"message");
        assert!(keyring.verifying_key().verify("test", b"message", &signature).is_ok());
        assert!(keyring.verifying_key().verify("other", b"message", &signature).is_err());
    }

    #[test]
    fn a_new_epoch_seals_anew_and_names_and_signs_as_before() {
        let old = Keyring::generate(VaultId::new([1; 16]));
        let new = old.with_new_epoch().unwrap();
        let new = Keyring::decode(&new.encode(false)).unwrap();
        assert_eq!((old.current().number(), new.current().number()), (0, 1));
        assert_eq!(new.epoch(0).unwrap().public.to_bytes(), old.current().public.to_bytes());
        assert_ne!(new.current().public.to_bytes(), old.current().public.to_bytes());
        assert_ne!(new.current().shared.expose(), old.current().shared.expose());
        assert_eq!(new.verifying_key(), old.verifying_key());
        assert_eq!(new.identifier().identify(b"x"), old.identifier().identify(b"x"));
        assert_eq!(new.cutting_key().expose(), old.cutting_key().expose());
        assert!(matches!(old.epoch(1), Err(ContentError::UnknownEpoch(1))));
        assert!(new.includes(&new) && new.includes(&old) && !old.includes(&new));
        assert!(!new.includes(&old.with_new_epoch().unwrap()), "the same number is another epoch");
        let write_only = Keyring::decode(&new.encode(true)).unwrap();
        assert!(new.includes(&write_only) && !write_only.includes(&old));
        assert!(matches!(write_only.with_new_epoch(), Err(ContentError::WriteOnly)));
        assert_eq!(write_only.current().number(), 1);
    }

    #[test]
    fn cut_short_it_is_refused() {
        let bytes = Keyring::generate(VaultId::default()).encode(false);
        for length in 0..bytes.len() {
            assert!(Keyring::decode(&bytes[..length]).is_err());
        }
    }
}
