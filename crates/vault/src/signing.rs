//! Verifying signatures (Ed25519, RFC 8032) over public objects. Only the public half lives here.
//!
//! What is signed is a context string followed by BLAKE3 of the signed bytes.

use crate::error::Damage;

/// The length of a signature in bytes.
pub const SIGNATURE_LENGTH: usize = 64;

/// The public key that proves who wrote a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey([u8; 32]);

impl VerifyingKey {
    /// Wraps raw bytes; whether they are a valid key shows when something is verified.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Verifies `signature` over `signed` in `context`.
    pub fn verify(
        &self,
        context: &str,
        signed: &[u8],
        signature: &[u8; SIGNATURE_LENGTH],
    ) -> Result<(), Damage> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| Damage::Signature)?;
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        key.verify_strict(&message(context, signed), &signature).map_err(|_| Damage::Signature)
    }
}

/// The message that is signed for `signed` in `context`.
pub fn message(context: &str, signed: &[u8]) -> Vec<u8> {
    let mut message = context.as_bytes().to_vec();
    message.extend_from_slice(blake3::hash(signed).as_bytes());
    message
}
