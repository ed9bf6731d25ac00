//! Secrets: bytes that cannot be printed and are wiped when dropped.

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A 256-bit secret.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Wraps bytes; the caller's copy is the caller's to wipe.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A fresh random secret.
    pub fn random() -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        crate::random::fill(bytes.as_mut());
        Self(*bytes)
    }

    /// The bytes, for the function that needs them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Another secret that follows from this one in `context` and says nothing about it (BLAKE3 `derive_key`).
    pub fn derive(&self, context: &str) -> Self {
        Self(blake3::derive_key(context, &self.0))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Secret text, such as a passphrase.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretText(String);

impl SecretText {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the function that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new([7; 32])), "Secret(..)");
        assert_eq!(format!("{:?}", SecretText::new("hunter2".into())), "SecretText(..)");
    }

    #[test]
    fn contexts_give_different_secrets() {
        let secret = Secret::new([1; 32]);
        assert_ne!(secret.derive("a").expose(), secret.derive("b").expose());
    }
}
