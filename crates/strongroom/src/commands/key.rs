//! `key`: what opens the vault.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::backup::{Credential, NewSlot, SlotInfo, SlotKind, SnapshotList, Vault};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::access;
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};
use crate::{passphrase, settings};

/// How many digits of a slot's id are shown.
const SHORT: usize = 8;

/// List, add, remove and change what opens the vault
///
/// Each key slot wraps the vault's own key, so changing one rewrites no data.
#[derive(Args, Debug)]
#[command(disable_help_subcommand = true)]
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
    /// Remove a key slot; never the last one, nor the one that opened the vault
    ///
    /// It takes a key that opens everything: what another slot gives shows only when it is opened.
    Remove(Remove),
    /// Change the passphrase that the vault was opened with
    Passphrase(Passphrase),
    /// Make a new recovery code and print it once
    Recovery(Recovery),
    /// Seal what is stored from now on with new keys, and make a new recovery code
    ///
    /// Whatever opened the vault just now opens everything, and so does the new code. Every other key slot opens only what
    /// was stored before: add those anew that are still trusted, and remove the others. This is for when somebody may
    /// have had the keys themselves; to shut out a passphrase or a key file, `key remove` is enough.
    Renew(Renew),
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
    /// It can add snapshots and cannot read any: for machines that only back up
    #[arg(long)]
    write_only: bool,
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

#[derive(Args, Debug)]
struct Renew {
    /// A name for the recovery code, shown by `key list`
    #[arg(long, value_name = "TEXT", default_value = "recovery code")]
    label: String,
}

impl Key {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        if let KeyVerb::Renew(renew) = &self.verb {
            let (vault, credential) = access::open_with_credential(global)?;
            renew.run(&vault, credential, output)?;
            output.summary("key renew", exit::DONE, json!({}));
            return Ok(exit::DONE);
        }
        let vault = access::open_vault(global)?;
        let verb = match &self.verb {
            KeyVerb::List => {
                vault.slots()?.iter().for_each(|slot| show(output, slot));
                "key list"
            }
            KeyVerb::Add(add) => {
                add.run(&vault, output)?;
                warn_of_newer_keys(&vault)?;
                "key add"
            }
            KeyVerb::Remove(remove) => {
                told(output, "removed", &vault.remove_slot(&remove.id)?);
                "key remove"
            }
            KeyVerb::Passphrase(change) => {
                change.run(&vault, output)?;
                "key passphrase"
            }
            KeyVerb::Recovery(recovery) => {
                recovery.run(&vault, output)?;
                warn_of_newer_keys(&vault)?;
                "key recovery"
            }
            KeyVerb::Renew(_) => "key renew",
        };
        output.summary(verb, exit::DONE, json!({}));
        Ok(exit::DONE)
    }
}

/// What was added gives no more than the key that opened the vault.
fn warn_of_newer_keys(vault: &Arc<Vault>) -> Result<(), Failure> {
    let sealed = SnapshotList::load(vault)?.sealed;
    if sealed.iter().any(|sealed| !sealed.is_write_only) {
        output::note(
            "warning: there are newer keys than those that opened the vault, and what was added just now does not have \
             them; add it again with a passphrase or code that was made when the keys were renewed or later",
        );
    }
    Ok(())
}

/// A new passphrase from a file, or asked for twice. What opens the vault now is never taken for the new one.
fn new_passphrase(file: Option<&PathBuf>) -> Result<Credential, Failure> {
    match file {
        Some(file) => Ok(Credential::recognise(passphrase::from_file(file)?)),
        None if passphrase::can_ask() => passphrase::ask_for_new(),
        None => Err(Failure::usage(
            "a new passphrase is needed and there is no terminal to ask at",
            "give it with --new-passphrase-file",
        )),
    }
}

impl Add {
    fn run(&self, vault: &Vault, output: &Output) -> Result<(), Failure> {
        let Some(path) = &self.key_file else {
            let credential = new_passphrase(self.new_passphrase_file.as_ref())?;
            let slot = NewSlot { write_only: self.write_only, ..access::slot(credential, &self.label) };
            told(output, "added", &vault.add_slot(&slot)?);
            return Ok(());
        };
        add_key_file(vault, output, path, &self.label, self.write_only)
    }
}

/// Makes a random key, writes it into a new file, and adds it.
pub fn add_key_file(
    vault: &Vault,
    output: &Output,
    path: &Path,
    label: &str,
    write_only: bool,
) -> Result<(), Failure> {
    let key = Credential::new_key_file();
    settings::write_key(path, &key)?;
    let slot = NewSlot { write_only, ..access::slot(key, label) };
    let added = vault.add_slot(&slot).inspect_err(|_| {
        // A key that opens nothing would only mislead.
        let _ = std::fs::remove_file(path);
    });
    told(output, "added", &added?);
    Ok(())
}

impl Renew {
    fn run(&self, vault: &Arc<Vault>, credential: Credential, output: &Output) -> Result<(), Failure> {
        let slots = vault.slots()?;
        let label = slots.iter().find(|slot| slot.opened_with).map_or("", |slot| &slot.label);
        let code = Credential::new_recovery_code();
        let new = [access::slot(credential, label), access::slot(code.clone(), &self.label)];
        let added = vault.renew_keys(&new)?;
        added.iter().for_each(|slot| told(output, "renewed", slot));
        if let Some(slot) = added.last() {
            tell_code(output, slot, &code);
        }
        let others: Vec<_> = slots.iter().filter(|slot| !slot.opened_with).collect();
        if !others.is_empty() {
            output.say(
                "These open only what was stored until now; add anew what is trusted, and remove the rest:",
            );
            others.iter().for_each(|slot| show(output, slot));
        }
        Ok(())
    }
}

fn tell_code(output: &Output, slot: &SlotInfo, code: &Credential) {
    let code = code.text();
    output.event(&json!({ "type": "recovery_code", "slot": slot.id, "recovery_code": code.expose() }));
    output.line(&format!("Recovery code:  {}", code.expose()));
    output.line("Write it down and keep it away from this machine. It is shown only this once.");
}

impl Passphrase {
    fn run(&self, vault: &Vault, output: &Output) -> Result<(), Failure> {
        let opened = vault.slots()?.into_iter().find(|slot| slot.opened_with);
        // Whoever came with a recovery code or a key file still wants to have it afterwards.
        let replaces = opened.as_ref().and_then(|slot| slot.kind) == Some(SlotKind::Passphrase);
        let credential = new_passphrase(self.new_passphrase_file.as_ref())?;
        if replaces {
            let label = opened.map_or_else(String::new, |slot| slot.label);
            told(output, "changed", &vault.change_passphrase(&access::slot(credential, &label))?);
        } else {
            told(output, "added", &vault.add_slot(&access::slot(credential, "passphrase"))?);
            output.say(
                "It was opened with something else, so other passphrases stay; see `strongroom key list`.",
            );
        }
        Ok(())
    }
}

impl Recovery {
    fn run(&self, vault: &Vault, output: &Output) -> Result<(), Failure> {
        let credential = Credential::new_recovery_code();
        let slot = vault.add_slot(&access::slot(credential.clone(), &self.label))?;
        tell_code(output, &slot, &credential);
        output.say("Codes made before still work; `strongroom key remove` takes them away.");
        Ok(())
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

fn short(slot: &SlotInfo) -> &str {
    slot.id.get(..SHORT).unwrap_or(&slot.id)
}

fn event(slot: &SlotInfo) -> serde_json::Value {
    let created = content::tree::Time { seconds: slot.created, nanoseconds: 0 };
    json!({
        "type": "key_slot", "id": slot.id, "kind": kind(slot), "label": slot.label,
        "created": output::json_time(created), "opened_with": slot.opened_with,
        "damage": slot.damage.as_ref().map(ToString::to_string),
    })
}

fn show(output: &Output, slot: &SlotInfo) {
    output.event(&event(slot));
    match &slot.damage {
        Some(damage) => output.line(&format!("{}  damaged: {damage}", short(slot))),
        None => {
            let mark = if slot.opened_with { "  (opened with)" } else { "" };
            let (time, label) = (output::local_time(slot.created), output::path(slot.label.as_bytes()));
            output.line(&format!("{}  {:13}  {time}  {label}{mark}", short(slot), kind(slot)));
        }
    }
}

fn told(output: &Output, what: &str, slot: &SlotInfo) {
    output.event(&output::with(event(slot), json!({ "change": what })));
    output.say(&format!("Key slot {} ({}) {what}.", short(slot), kind(slot)));
}
