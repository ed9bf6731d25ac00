//! Randomness from the operating system.

/// Fills `bytes`.
///
/// A system without randomness is one on which no key may be made, so there is nothing to return to: this panics.
#[expect(clippy::expect_used, reason = "without randomness no key may be made; there is no safe way on")]
pub fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system has no randomness to give");
}

/// A fresh random identity.
pub fn identity() -> [u8; 16] {
    let mut bytes = [0; 16];
    fill(&mut bytes);
    bytes
}
