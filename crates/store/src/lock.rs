//! Locks: until when nobody may delete or change an object, not even who holds the store's credential.

use std::fmt;
use std::time::SystemTime;

/// Who may take a lock away before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockMode {
    /// Whom the store's owner gave the right to (on Amazon S3 `s3:BypassGovernanceRetention`).
    Governance,
    /// Nobody.
    Compliance,
}

impl LockMode {
    /// Its name, in small letters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Governance => "governance",
            Self::Compliance => "compliance",
        }
    }

    /// A mode by its name, in letters of any size.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Governance, Self::Compliance].into_iter().find(|mode| mode.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A lock on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// When it ends, by the store's clock. Stores keep whole seconds: a fraction of one is left out.
    pub until: SystemTime,
    /// Who may take it away before.
    pub mode: LockMode,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_known_by_their_names() {
        for mode in [LockMode::Governance, LockMode::Compliance] {
            assert_eq!(LockMode::from_name(&mode.name().to_uppercase()), Some(mode));
        }
        assert_eq!(LockMode::from_name("legal hold"), None);
    }
}
