//! `settings`: what may be changed about a vault.

use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::json;

use super::units::{parse_duration, shown_duration};
use crate::access;
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};

/// Show or change the settings of the vault
///
/// Today there is one: how long a forgotten snapshot can be brought back before it may be deleted. A longer delay counts
/// at once, for what is in the trash too. A shorter one counts only when the longer one has passed, so that nobody can
/// shorten it and delete everything in one go.
#[derive(Args, Debug)]
pub struct Settings {
    /// Change the delay before deleting, such as 12h, 30d or 0
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    delete_delay: Option<Duration>,
}

impl Settings {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let vault = access::open_vault(global)?;
        let changed = match self.delete_delay {
            Some(delay) => vault.set_delete_delay(delay)?,
            None => false,
        };
        let settings = vault.settings(SystemTime::now())?;
        output.line(&format!("Delay before deleting   {}", shown_duration(settings.delete_delay)));
        if settings.in_force > settings.delete_delay {
            let longer = shown_duration(settings.in_force);
            output.line(&format!("In force for now        {longer}, until that has passed since the change"));
        }
        for (name, damage) in &settings.unreadable {
            output::note(&format!("warning: {name} counts for nothing: {damage}"));
        }
        output.event(&json!({
            "type": "settings", "delete_delay": settings.delete_delay.as_secs(),
            "delete_delay_in_force": settings.in_force.as_secs(), "changed": changed,
        }));
        output.summary("settings", exit::DONE, json!({}));
        Ok(exit::DONE)
    }
}
