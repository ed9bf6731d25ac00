//! The exit codes, in one map.

use std::process::ExitCode;

use backup::Category;

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u8);

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.0)
    }
}

/// Done.
pub const DONE: Code = Code(0);
/// Failed.
pub const FAILED: Code = Code(1);
/// The command line is not understood.
pub const USAGE: Code = Code(2);
/// Done, but some files could not be read or restored.
pub const PARTIAL: Code = Code(3);
/// No vault there.
pub const NO_VAULT: Code = Code(10);
/// The passphrase or key does not open the vault.
pub const WRONG_KEY: Code = Code(11);
/// The vault is damaged.
pub const DAMAGED: Code = Code(12);
/// Interrupted.
pub const INTERRUPTED: Code = Code(130);

/// Every code and what it means, for the help text.
pub const MAP: [(Code, &str); 8] = [
    (DONE, "done"),
    (FAILED, "failed"),
    (USAGE, "the command line is not understood"),
    (PARTIAL, "done, but some files could not be read or restored"),
    (NO_VAULT, "there is no vault at the place"),
    (WRONG_KEY, "the passphrase or key does not open the vault"),
    (DAMAGED, "the vault is damaged"),
    (INTERRUPTED, "interrupted"),
];

impl From<Category> for Code {
    fn from(category: Category) -> Self {
        match category {
            Category::Failed => FAILED,
            Category::NoVault => NO_VAULT,
            Category::WrongKey => WRONG_KEY,
            Category::Damaged => DAMAGED,
            Category::Interrupted => INTERRUPTED,
        }
    }
}
