//! Warming what a restore needs from cold storage.

use std::sync::Arc;

use ::backup::{ColdPacks, PackCount, RestoreRequest, Vault};
use clap::{Args, ValueEnum};
use serde_json::json;
use store::WarmTier;

use super::units::parse_days;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::progress_bar::Shown;

/// How soon cold packs are to be readable.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tier {
    /// In minutes; the dearest, and not for every class
    Expedited,
    /// In hours
    Standard,
    /// In half a day or more; the cheapest
    Bulk,
}

impl From<Tier> for WarmTier {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Expedited => Self::Expedited,
            Tier::Standard => Self::Standard,
            Tier::Bulk => Self::Bulk,
        }
    }
}

/// How to warm.
#[derive(Args, Debug)]
pub struct Warming {
    /// Look for cold packs though the vault's settings do not put data in cold storage
    #[arg(long)]
    warm: bool,
    /// Ask for the cold packs that are needed, and end; run the same command again when they are warm
    #[arg(long, conflicts_with = "dry_run")]
    warm_only: bool,
    /// For how many days warmed packs stay readable
    #[arg(long, value_name = "N", default_value = "7", value_parser = parse_days)]
    warm_days: u32,
    /// How soon they are to be readable
    #[arg(long, value_enum, value_name = "TIER", default_value = "standard")]
    warm_tier: Tier,
}

/// What comes after warming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Everything can be read.
    Restore,
    /// That is all that was wanted.
    End,
}

impl Warming {
    /// Sees that what the restore needs can be read: looks, says what it costs, asks, waits.
    pub fn run(
        &self,
        output: &Output,
        vault: &Arc<Vault>,
        request: &RestoreRequest,
    ) -> Result<Next, Failure> {
        let shown = Shown::hidden();
        let found = ColdPacks::find(vault, request, self.warm || self.warm_only, shown.progress())?;
        let Some(mut packs) = found else {
            return Ok(if self.warm_only { Next::End } else { Next::Restore });
        };
        let (cold, warming) = (packs.cold(), packs.warming());
        let tell = |state: &str, left: u64| {
            output.event(&json!({
                "type": "warming", "state": state, "packs_left": left,
                "packs_cold": cold.packs, "bytes_cold": cold.bytes,
                "packs_warming": warming.packs, "bytes_warming": warming.bytes,
            }));
        };
        let left = cold.packs + warming.packs;
        tell("found", left);
        if cold.packs > 0 {
            output
                .say(&format!("{} in cold storage, and the restore needs them.", amount(cold, "is", "are")));
        }
        if warming.packs > 0 {
            output.say(&format!("{} being warmed already.", amount(warming, "is", "are")));
        }
        let days = output::count(u64::from(self.warm_days), "day");
        let tier = WarmTier::from(self.warm_tier).name();
        if request.dry_run {
            output.say(&format!(
                "A restore would ask for them to be readable for {days} (tier {tier}), which costs money, and wait for \
                 hours. What it would do then can be seen when they are warm."
            ));
            return Ok(Next::End);
        }
        if cold.packs > 0 {
            output.say(&format!(
                "Asking for them to be readable for {days} (tier {tier}): this costs what the store's owner charges for it, \
                 and takes minutes to days."
            ));
            let how = store::Warming { days: self.warm_days, tier: self.warm_tier.into() };
            packs.ask(how, shown.progress())?;
            tell("asked", left);
        }
        if self.warm_only {
            output.say("Asked. Run the same restore again when they are warm.");
            return Ok(Next::End);
        }
        output.say("Waiting. An interrupt does no harm: what was asked for is warmed all the same.");
        shown.end();
        let shown = Shown::start(output);
        packs.wait(shown.progress(), &|left| tell("waiting", left))?;
        shown.end();
        output.say("All of it can be read now.");
        Ok(Next::Restore)
    }
}

/// How much, with the verb that fits.
fn amount(count: PackCount, one: &str, many: &str) -> String {
    let verb = if count.packs == 1 { one } else { many };
    format!("{} with {} {verb}", output::count(count.packs, "pack"), output::size(count.bytes))
}
