//! What every verb takes: where the vault is, what opens it, how to talk.

use std::path::PathBuf;

use clap::Args;

/// What every verb takes.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Where the vault is: a folder, or a URL such as s3://BUCKET/PREFIX
    #[arg(
        long,
        global = true,
        value_name = "URL|PATH",
        env = "STRONGROOM_VAULT",
        hide_env = true,
        help_heading = "Vault and key"
    )]
    pub vault: Option<String>,
    /// Read the passphrase, recovery code or key from the first line of this file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with = "passphrase_command",
        help_heading = "Vault and key"
    )]
    pub passphrase_file: Option<PathBuf>,
    /// Run this command with `sh -c` and take the first line it writes
    #[arg(long, global = true, value_name = "COMMAND", help_heading = "Vault and key")]
    pub passphrase_command: Option<String>,
    /// Keep the local index and journals under this folder
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "STRONGROOM_CACHE",
        hide_env = true,
        help_heading = "Vault and key"
    )]
    pub cache: Option<PathBuf>,
    /// Write one JSON object per line, progress included
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// Say only what was asked for and what went wrong
    #[arg(long, short, global = true, help_heading = "Output")]
    pub quiet: bool,
}
