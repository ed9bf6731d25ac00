//! Text that must not be shown.

use serde::Deserialize;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A password or a token: it cannot be printed and is wiped when it is dropped.
#[derive(Clone, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that sends it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}
