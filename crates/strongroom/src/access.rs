//! Getting at a vault: its store, and what opens it.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use backup::{Credential, NewSlot, PassphraseCost, SecretText, Vault};
use store::Store;
use zeroize::Zeroizing;

use crate::cli::Global;
use crate::output::{Failure, Output};
use crate::settings;

/// A file with a passphrase is not larger than this.
const PASSPHRASE_MAX: u64 = 64 << 10;

/// Limits for the store, in bytes per second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bytes written.
    pub upload: Option<u64>,
}

/// Where the vault is: named, or the default one.
pub fn location(global: &Global) -> Result<String, Failure> {
    if let Some(vault) = &global.vault {
        return Ok(vault.clone());
    }
    let folder = settings::default_vault();
    let folder = folder
        .ok_or_else(|| Failure::usage("no vault is named", "give one with --vault or STRONGROOM_VAULT"))?;
    Ok(folder.display().to_string())
}

/// Opens the vault's store.
pub fn open_store(location: &str, limits: Limits) -> Result<Arc<dyn Store>, Failure> {
    let store = store::open_url(location).map_err(|error| match error.kind {
        store::Kind::NotFound | store::Kind::Gone => {
            backup::Error::Vault(vault::VaultError::NoVault { location: location.to_owned() }).into()
        }
        _ => Failure::from(backup::Error::from(error)),
    })?;
    Ok(match limits.upload {
        Some(bytes) => {
            Arc::new(store::Limited::new(store, store::Rates { upload: Some(bytes), download: None }))
        }
        None => store,
    })
}

/// Opens the vault with whatever opens it.
pub fn open_vault(global: &Global) -> Result<Arc<Vault>, Failure> {
    open_limited(global, Limits::default())
}

/// Opens the vault through a limited store.
pub fn open_limited(global: &Global, limits: Limits) -> Result<Arc<Vault>, Failure> {
    let location = location(global)?;
    let store = open_store(&location, limits)?;
    // Nobody should be asked for a passphrase only to hear that there is no vault.
    if !Vault::exists(&store)? {
        return Err(backup::Error::Vault(vault::VaultError::NoVault { location }).into());
    }
    let credential = credential(global, Ask::Once)?;
    Ok(Vault::open(store, &credential, &settings::cache(global)?)?)
}

/// Whether a new passphrase must be typed twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// It opens something that is there.
    Once,
    /// It is new.
    Twice,
}

/// What opens the vault: given by file, command or environment; the key of the default vault; or asked for.
pub fn credential(global: &Global, ask: Ask) -> Result<Credential, Failure> {
    if let Some(credential) = given(global)? {
        return Ok(credential);
    }
    if ask == Ask::Once
        && global.vault.is_none()
        && let Some(path) = settings::default_key_file().filter(|path| path.exists())
    {
        return Ok(Credential::recognise(read_secret(&path)?));
    }
    prompt(ask)
}

/// A new passphrase, asked for twice.
pub fn ask_for_new() -> Result<Credential, Failure> {
    prompt(Ask::Twice)
}

fn given(global: &Global) -> Result<Option<Credential>, Failure> {
    if let Some(path) = &global.passphrase_file {
        return Ok(Some(Credential::recognise(read_secret(path)?)));
    }
    if let Some(command) = &global.passphrase_command {
        return Ok(Some(Credential::recognise(from_command(command)?)));
    }
    match std::env::var("STRONGROOM_PASSPHRASE") {
        Ok(text) if !text.is_empty() => Ok(Some(Credential::recognise(SecretText::new(text)))),
        _ => Ok(None),
    }
}

/// The first line of a file.
pub fn read_secret(path: &Path) -> Result<SecretText, Failure> {
    let mut text = Zeroizing::new(String::new());
    let file = std::fs::File::open(path).map_err(|error| Failure::file(path, "read", error))?;
    let read = file.take(PASSPHRASE_MAX).read_to_string(&mut text);
    read.map_err(|error| Failure::file(path, "read", error))?;
    first_line(&text, &format!("the file {}", path.display()))
}

fn from_command(command: &str) -> Result<SecretText, Failure> {
    let output =
        Command::new("sh").arg("-c").arg(command).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| Failure::file(Path::new("sh"), "run", error))?;
    let bytes = Zeroizing::new(output.stdout);
    if !output.status.success() {
        let message = format!("the passphrase command ended with {}", output.status);
        return Err(Failure::plain(message, "run it by hand to see why"));
    }
    let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
    first_line(&text, "the passphrase command's output")
}

fn first_line(text: &str, place: &str) -> Result<SecretText, Failure> {
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(SecretText::new(line.to_owned())),
        _ => Err(Failure::plain(format!("{place} has no passphrase in its first line"), "put one there")),
    }
}

fn prompt(ask: Ask) -> Result<Credential, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "a passphrase is needed and there is no terminal to ask at",
            "set STRONGROOM_PASSPHRASE, or give --passphrase-file or --passphrase-command",
        ));
    }
    let ask_for = |what: &str| {
        rpassword::prompt_password(what).map_err(|error| Failure::file(Path::new("/dev/tty"), "read", error))
    };
    let text = ask_for(if ask == Ask::Twice { "New passphrase: " } else { "Passphrase: " })?;
    if text.is_empty() {
        return Err(Failure::plain(
            "an empty passphrase protects nothing".into(),
            "type at least a few words",
        ));
    }
    if ask == Ask::Twice {
        let again = Zeroizing::new(ask_for("Once more: ")?);
        if *again != text {
            return Err(Failure::plain("the two passphrases are not the same".into(), "try again"));
        }
    }
    Ok(Credential::recognise(SecretText::new(text)))
}

/// A slot for a credential at the standard cost.
pub fn slot(credential: Credential, label: &str, write_only: bool) -> NewSlot {
    NewSlot { credential, label: label.to_owned(), cost: PassphraseCost::STANDARD, write_only }
}

/// Makes a vault at `location` that opens with `credential` and with a new recovery code, and shows the code.
pub fn create_vault(
    global: &Global,
    output: &Output,
    location: &str,
    credential: Credential,
    label: &str,
) -> Result<Arc<Vault>, Failure> {
    let store = store::create_url(location).map_err(|error| Failure::from(backup::Error::from(error)))?;
    let recovery = Credential::new_recovery_code();
    let slots = [slot(credential, label, false), slot(recovery.clone(), "recovery code", false)];
    let vault = Vault::create(store, &slots, &settings::cache(global)?)?;
    output.new_vault(&vault, location, &recovery);
    Ok(vault)
}
