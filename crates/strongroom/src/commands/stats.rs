//! `stats`: how much is stored, and how well it packs.

use ::backup::{Protection, VaultStats, stats};
use clap::Args;
use serde_json::json;

use super::abilities;
use crate::access;
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};
use crate::progress_bar::Shown;

/// Show how much is stored, and how well it packs
///
/// Deduplication and compression are shown apart, over all snapshots together.
#[derive(Args, Debug)]
pub struct Stats {}

/// What keeps the vault's objects from whoever holds the store's credential, in words.
fn protection(found: &VaultStats, is_remote: bool) -> String {
    let danger = found.abilities.as_ref().and_then(|found| abilities::danger(found, is_remote));
    match (found.protection(), &found.lock) {
        (Some(Protection::Locked), Some(lock)) => {
            let words = abilities::lock_words(lock);
            match found.locked_until {
                Some(until) => {
                    format!(
                        "locked for {words}; what is needed, until {} at least",
                        output::local_moment(until)
                    )
                }
                None => {
                    format!("locked for {words} as it is written; `strongroom cleanup` keeps the locks up")
                }
            }
        }
        (Some(Protection::Locked), None) => "the store locks every object by itself".to_owned(),
        (_, Some(lock)) => format!(
            "the settings ask for a lock of {}, and this store has none; {}",
            abilities::lock_words(lock),
            danger.unwrap_or_else(|| "run `strongroom store test`".to_owned())
        ),
        (Some(Protection::Versioned), None) => {
            format!("older versions are kept: {}", danger.unwrap_or_else(|| "nothing is locked".to_owned()))
        }
        (Some(Protection::Nothing) | None, None) => {
            danger.unwrap_or_else(|| "not known; run `strongroom store test`".to_owned())
        }
    }
}

impl Stats {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let vault = access::open_vault(global)?;
        let shown = Shown::start(output);
        let found = stats(&vault, shown.progress())?;
        shown.end();
        let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let time = |time: Option<content::tree::Time>| {
            time.map_or_else(|| "-".to_owned(), |time| output::local_time(time.seconds))
        };
        output.line(&format!(
            "Vault       {} at {}",
            vault.id(),
            output::path(vault.store().location().as_bytes())
        ));
        let trash = match found.snapshots_in_trash {
            0 => String::new(),
            count => format!("; {count} in the trash"),
        };
        if found.can_read {
            output.line(&format!(
                "Snapshots   {}, from {} to {}{trash}",
                found.snapshots,
                time(found.oldest),
                time(found.newest)
            ));
            output.line(&format!(
                "Holding     {} in {}",
                output::size(found.bytes),
                output::count(found.files, "file")
            ));
            output.line(&format!(
                "Distinct    {} of data in {}, {} of trees",
                output::size(found.data.bytes_raw),
                output::count(found.data.chunks, "chunk"),
                output::size(found.trees.bytes_raw)
            ));
        } else {
            output.line(&format!(
                "Snapshots   {}; what is in them, only a key that can read tells",
                found.snapshots
            ));
        }
        output.line(&format!(
            "Stored      {} in {} ({}); index {}, snapshots {}, other {}",
            output::size(found.stored.total()),
            output::count(found.packs, "pack"),
            output::count(found.data.segments + found.trees.segments, "segment"),
            output::size(found.stored.index),
            output::size(found.stored.snapshots),
            output::size(found.stored.keys + found.stored.other)
        ));
        if found.can_read {
            output.line(&format!(
                "Ratios      {} by deduplication, {} by compression",
                ratio(found.dedup_ratio()),
                ratio(found.compression_ratio())
            ));
        }
        output.line(&format!("Key slots   {}", found.key_slots));
        match &found.abilities {
            None => output.line("Store       never tested; run `strongroom store test`"),
            Some(abilities) => {
                let (age, words) = (abilities::age(abilities), abilities::words(abilities));
                output.line(&format!("Store       tested {age}; {words}"));
            }
        }
        output.line(&format!("Protection  {}", protection(&found, vault.store().is_remote())));
        let broken = found.snapshots_damaged + found.fragments_damaged;
        if broken > 0 {
            output::note(&format!(
                "warning: {} cannot be read; run `strongroom check`",
                output::count(broken, "object")
            ));
        }
        let read = |figure: u64| found.can_read.then_some(figure);
        output.event(&json!({
            "type": "stats", "vault": vault.id().to_string(), "snapshots": found.snapshots,
            "snapshots_damaged": read(found.snapshots_damaged),
            "snapshots_in_trash": read(found.snapshots_in_trash), "files": read(found.files), "bytes": read(found.bytes),
            "bytes_distinct": read(found.data.bytes_raw), "tree_bytes_distinct": read(found.trees.bytes_raw),
            "chunks": read(found.data.chunks), "segments": found.data.segments + found.trees.segments,
            "packs": found.packs, "fragments": found.fragments, "bytes_stored": found.stored.total(),
            "bytes_index": found.stored.index, "bytes_snapshots": found.stored.snapshots,
            "dedup_ratio": found.dedup_ratio(), "compression_ratio": found.compression_ratio(),
            "key_slots": found.key_slots,
            "protection": found.protection().map(Protection::name),
            "lock": found.lock.map(|lock| lock.period.as_secs()), "lock_mode": found.lock.map(|lock| lock.mode.name()),
            "locked_until": found.locked_until.map(output::json_moment),
            "store": found.abilities.map(|found| {
                let tested = content::tree::Time { seconds: found.tested, nanoseconds: 0 };
                output::with(json!({ "tested": output::json_time(tested) }), abilities::json(&found))
            }),
        }));
        output.summary("stats", exit::DONE, json!({}));
        Ok(exit::DONE)
    }
}
