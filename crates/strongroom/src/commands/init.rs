//! `init`: a new vault.

use clap::Args;

use crate::access::{self, Ask};
use crate::cli::Global;
use crate::exit::{self, Code};
use crate::output::{Failure, Output};

/// Makes a new, empty vault that opens with a passphrase (asked for, or given as usual) and with a recovery code, which
/// is printed once.
#[derive(Args, Debug)]
pub struct Init {
    /// A name for the passphrase, shown by `key list`
    #[arg(long, value_name = "TEXT", default_value = "passphrase")]
    label: String,
}

impl Init {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let location = access::location(global)?;
        // Whether there is a vault already is said before a passphrase is asked for.
        if let Ok(store) = access::open_store(&location, access::Limits::default())
            && ::backup::Vault::exists(&store)?
        {
            return Err(::backup::Error::VaultExists { location }.into());
        }
        let credential = access::credential(global, Ask::Twice)?;
        access::create_vault(global, output, &location, credential, &self.label)?;
        Ok(exit::DONE)
    }
}
