//! `key`: what opens the vault.

use std::path::PathBuf;

use ::backup::{Credential, SlotInfo, SlotKind};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::access;
use crate::cli::Global;
use crate::exit::{self, Code};
use crate::output::{self, Failure, Output};
use crate::settings;

/// Lists, adds, removes and changes what opens the vault. Each key slot wraps the vault's own key, so changing one
/// rewrites no data.
#[derive(Args, Debug)]
pub struct Key {
    #[command(subcommand)]
    verb: KeyVerb,
}

#[derive(Debug, Subcommand)]
enum KeyVerb {
    /// List the key slots
    List,
    /// Add another passphrase, or a key in a new file
    Add(Add),
    /// Remove a key slot; never the last one
    Remove(Remove),
    /// Change the passphrase that the vault was opened with
    Passphrase(Passphrase),
    /// Make a new recovery code and print it once
    Recovery(Recovery),
}

#[derive(Args, Debug)]
struct Add {
    /// A name for it, shown by `key list`
    #[arg(long, value_name = "TEXT", default_value = "")]
    label: String,
    /// Take the new passphrase from the first line of this file
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
    /// Make a random key and write it into this new file
    #[arg(long, value_name = "FILE", conflicts_with = "new_passphrase_file")]
    key_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct Remove {
    /// The slot's id, or the beginning of it
    #[arg(value_name = "ID")]
    id: String,
}

#[derive(Args, Debug)]
struct Passphrase {
    /// Take the new passphrase from the first line of this file
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct Recovery {
    /// A name for it, shown by `key list`
    #[arg(long, value_name = "TEXT", default_value = "recovery code")]
    label: String,
}

/// A new passphrase from a file, or asked for twice. What opens the vault now is never taken for the new one.
fn new_passphrase(file: Option<&PathBuf>) -> Result<Credential, Failure> {
    match file {
        Some(file) => Ok(Credential::recognise(access::read_secret(file)?)),
        None => access::ask_for_new(),
    }
}

impl Key {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let vault = access::open_vault(global)?;
        match &self.verb {
            KeyVerb::List => vault.slots()?.iter().for_each(|slot| show(output, slot)),
            KeyVerb::Add(add) => {
                let credential = match &add.key_file {
                    Some(path) => {
                        let key = Credential::new_key_file();
                        settings::write_key(path, &key)?;
                        key
                    }
                    None => new_passphrase(add.new_passphrase_file.as_ref())?,
                };
                let slot = vault.add_slot(&access::slot(credential, &add.label, false))?;
                told(output, "added", &slot);
            }
            KeyVerb::Remove(remove) => told(output, "removed", &vault.remove_slot(&remove.id)?),
            KeyVerb::Passphrase(change) => {
                let opened = vault.slots()?.into_iter().find(|slot| slot.opened_with);
                let label = opened.map_or_else(String::new, |slot| slot.label);
                let credential = new_passphrase(change.new_passphrase_file.as_ref())?;
                let slot = vault.change_passphrase(&access::slot(credential, &label, false))?;
                told(output, "changed", &slot);
            }
            KeyVerb::Recovery(recovery) => {
                let credential = Credential::new_recovery_code();
                let slot = vault.add_slot(&access::slot(credential.clone(), &recovery.label, false))?;
                let code = credential.text();
                output.event(
                    &json!({ "type": "recovery_code", "slot": slot.id, "recovery_code": code.expose() }),
                );
                output.line(&format!("Recovery code:  {}", code.expose()));
                output.line("Write it down and keep it away from this machine. It is shown only this once.");
                output.say("Codes made before still work; `strongroom key remove` takes them away.");
            }
        }
        Ok(exit::DONE)
    }
}

fn kind(slot: &SlotInfo) -> &'static str {
    match slot.kind {
        Some(SlotKind::Passphrase) => "passphrase",
        Some(SlotKind::RecoveryCode) => "recovery code",
        Some(SlotKind::KeyFile) => "key file",
        None => "damaged",
    }
}

fn event(slot: &SlotInfo) -> serde_json::Value {
    json!({
        "type": "key_slot", "id": slot.id, "kind": kind(slot), "label": slot.label, "created": slot.created,
        "opened_with": slot.opened_with,
    })
}

fn show(output: &Output, slot: &SlotInfo) {
    output.event(&event(slot));
    let mark = if slot.opened_with { "  (opened with)" } else { "" };
    let short: String = slot.id.chars().take(8).collect();
    match &slot.damage {
        Some(damage) => output.line(&format!("{short}  damaged: {damage}")),
        None => {
            let time = output::local_time(slot.created);
            output.line(&format!(
                "{short}  {:13}  {time}  {}{mark}",
                kind(slot),
                output::path(slot.label.as_bytes())
            ));
        }
    }
}

fn told(output: &Output, what: &str, slot: &SlotInfo) {
    output.event(&output::with(event(slot), json!({ "change": what })));
    let short: String = slot.id.chars().take(8).collect();
    output.say(&format!("Key slot {short} ({}) {what}.", kind(slot)));
}
