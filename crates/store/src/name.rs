//! Which names objects may have: one rule for every store, so that a vault can be copied from any kind of store to
//! any other.
//!
//! A name is relative and made of `/`-separated components of `[A-Za-z0-9._-]`. No component is empty or begins with
//! a dot (so there is no `.`, no `..` and no hidden file), the first one is not `tmp` (where a folder store keeps
//! what is not finished), and the limits are those of the narrowest store.

/// The longest name in bytes; Swift and S3 allow 1,024, and a prefix chosen by the user comes before it.
pub const NAME_BYTES_MAX: usize = 512;

/// The longest component in bytes, as on the usual file systems.
pub const COMPONENT_BYTES_MAX: usize = 255;

/// The first component that no object may have.
pub const RESERVED: &str = "tmp";

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// It has no character.
    #[error("it is empty")]
    Empty,
    /// The name or a component of it is too long.
    #[error("it is too long")]
    TooLong,
    /// Two slashes in a row, or one at the beginning or end.
    #[error("it has an empty component")]
    EmptyComponent,
    /// A component begins with a dot.
    #[error("a component begins with a dot")]
    LeadingDot,
    /// A character outside of the allowed set.
    #[error("it has a character other than letters, digits, '.', '_', '-' and '/'")]
    Character,
    /// Its first component is [`RESERVED`].
    #[error("names below tmp/ belong to the store")]
    Reserved,
    /// A folder that does not end with a slash.
    #[error("a folder ends with a slash")]
    NotAFolder,
}

/// Checks the name of an object.
pub fn check(name: &str) -> Result<(), InvalidName> {
    if name.is_empty() {
        return Err(InvalidName::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(InvalidName::TooLong);
    }
    for (position, component) in name.split('/').enumerate() {
        check_component(component)?;
        if position == 0 && component == RESERVED {
            return Err(InvalidName::Reserved);
        }
    }
    Ok(())
}

/// Checks the name of a folder to list: empty for the whole store, otherwise a valid name and a slash.
pub fn check_folder(prefix: &str) -> Result<(), InvalidName> {
    if prefix.is_empty() {
        return Ok(());
    }
    check(prefix.strip_suffix('/').ok_or(InvalidName::NotAFolder)?)
}

/// Checks one component by itself.
pub(crate) fn check_component(component: &str) -> Result<(), InvalidName> {
    if component.is_empty() {
        return Err(InvalidName::EmptyComponent);
    }
    if component.len() > COMPONENT_BYTES_MAX {
        return Err(InvalidName::TooLong);
    }
    if component.starts_with('.') {
        return Err(InvalidName::LeadingDot);
    }
    if !component.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Err(InvalidName::Character);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed() {
        for name in ["a", "strongroom.vault", "packs/0f/0f1e", "keys/A-b_c.d", "x/tmp", "tmpx/a", "a..b"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for folder in ["", "packs/", "packs/0f/"] {
            assert_eq!(check_folder(folder), Ok(()), "{folder}");
        }
    }

    #[test]
    fn refused() {
        for (name, reason) in [
            ("", InvalidName::Empty),
            ("/etc/passwd", InvalidName::EmptyComponent),
            ("a//b", InvalidName::EmptyComponent),
            ("a/", InvalidName::EmptyComponent),
            ("..", InvalidName::LeadingDot),
            ("a/../b", InvalidName::LeadingDot),
            ("a/.hidden", InvalidName::LeadingDot),
            ("a b", InvalidName::Character),
            ("a\0b", InvalidName::Character),
            ("a\\b", InvalidName::Character),
            ("ä", InvalidName::Character),
            ("tmp", InvalidName::Reserved),
            ("tmp/a", InvalidName::Reserved),
        ] {
            assert_eq!(check(name), Err(reason), "{name:?}");
        }
        assert_eq!(check(&"a".repeat(256)), Err(InvalidName::TooLong));
        assert_eq!(check(&"a/".repeat(300)), Err(InvalidName::TooLong));
        assert_eq!(check_folder("packs"), Err(InvalidName::NotAFolder));
        assert_eq!(check_folder("/"), Err(InvalidName::Empty));
        assert_eq!(check_folder("tmp/"), Err(InvalidName::Reserved));
    }
}
