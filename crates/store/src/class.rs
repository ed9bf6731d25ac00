//! Storage classes, and what has to be done before an object of a cold one can be read.

use std::fmt;

/// Amazon's classes, and whether what is in them can be read at any time.
const AMAZON: [(&str, bool); 10] = [
    ("STANDARD", true),
    ("STANDARD_IA", true),
    ("ONEZONE_IA", true),
    ("GLACIER_IR", true),
    ("REDUCED_REDUNDANCY", true),
    ("EXPRESS_ONEZONE", true),
    ("INTELLIGENT_TIERING", false),
    ("GLACIER", false),
    ("DEEP_ARCHIVE", false),
    ("OUTPOSTS", true),
];
/// No class has a longer name.
const NAME_MAX: usize = 64;

/// The name of a storage class: what keeping an object costs, and how soon it can be read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StorageClass(String);

impl StorageClass {
    /// A class by its name. Amazon's may be written in small letters; a server of one's own may have others. The error
    /// says what is wrong with the name.
    pub fn new(name: &str) -> Result<Self, &'static str> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(is_allowed) {
            return Err("the name of a storage class has up to 64 letters, digits, '_' and '-'");
        }
        let known = AMAZON.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        Ok(Self(known.map_or(name, |(known, _)| known).to_owned()))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one of Amazon's.
    pub fn is_amazons(&self) -> bool {
        AMAZON.iter().any(|(known, _)| *known == self.0)
    }

    /// Whether its objects may have to be warmed before they can be read. Of a class nobody knows it is possible.
    pub fn may_be_cold(&self) -> bool {
        !AMAZON.iter().any(|(known, is_readable)| *known == self.0 && *is_readable)
    }
}

impl fmt::Display for StorageClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether an object can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warmth {
    /// Now.
    Warm,
    /// Somebody asked for it: in some hours.
    Warming,
    /// When somebody has asked for it.
    Cold,
}

/// How soon a cold object is to be readable: the sooner, the dearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WarmTier {
    /// In minutes.
    Expedited,
    /// In hours.
    #[default]
    Standard,
    /// In half a day or longer.
    Bulk,
}

impl WarmTier {
    /// As S3 calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expedited => "Expedited",
            Self::Standard => "Standard",
            Self::Bulk => "Bulk",
        }
    }
}

/// How cold objects are to be warmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warming {
    /// For how many days they stay readable.
    pub days: u32,
    /// How soon.
    pub tier: WarmTier,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_classes() {
        for (name, shown, may_be_cold, is_amazons) in [
            ("GLACIER", "GLACIER", true, true),
            ("deep_archive", "DEEP_ARCHIVE", true, true),
            ("Glacier_IR", "GLACIER_IR", false, true),
            ("STANDARD_IA", "STANDARD_IA", false, true),
            ("Slow-Disks", "Slow-Disks", true, false),
        ] {
            let class = StorageClass::new(name).unwrap();
            assert_eq!(class.as_str(), shown);
            assert_eq!((class.may_be_cold(), class.is_amazons()), (may_be_cold, is_amazons), "{name}");
        }
        for name in ["", "GLA CIER", "GLACIER\r\nx", "Ä", &"A".repeat(65)] {
            assert!(StorageClass::new(name).is_err(), "{name:?}");
        }
    }
}
