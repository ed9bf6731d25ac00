//! `settings`: what may be changed about a vault.

use std::time::{Duration, SystemTime};

use ::backup::LockSetting;
use clap::Args;
use serde_json::json;
use store::{LockMode, StorageClass};

use super::abilities;
use super::units::{
    ClassOrNone, PeriodOrNone, parse_class_or_none, parse_duration, parse_lock_mode, parse_period_or_none,
    shown_duration,
};
use crate::access;
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};

/// Show or change the settings of the vault
///
/// The delay is how long a forgotten snapshot can be brought back before it may be deleted. A longer delay counts at
/// once, for what is in the trash too. A shorter one counts only when the longer one has passed, so that nobody can
/// shorten it and delete everything in one go.
///
/// The data class is the storage class in which an S3 store keeps the content of files from now on; what is there stays
/// where it is. Everything else stays in the store's usual class, so that only a restore needs what is cold.
///
/// A lock keeps objects from being deleted or changed until it ends, by anybody: an S3 bucket that was made with object
/// lock can do that. What is written is locked for the period, and each cleanup makes the locks of what is needed as long
/// again before half of it is over. Locks that are there are never shortened, whatever is set later.
#[derive(Args, Debug)]
pub struct Settings {
    /// Change the delay before deleting, such as 12h, 30d or 0
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    delete_delay: Option<Duration>,
    /// Keep new data in this storage class of an S3 store, such as GLACIER, or in its usual one: none
    #[arg(long, value_name = "CLASS|none", value_parser = parse_class_or_none)]
    data_class: Option<ClassOrNone>,
    /// Lock objects for so long from now on, such as 30d, or not: none
    #[arg(long, value_name = "DURATION|none", value_parser = parse_period_or_none)]
    lock: Option<PeriodOrNone>,
    /// Who may take a lock away before its time: governance, whom the store's owner allows it; compliance, nobody
    #[arg(long, value_name = "MODE", value_parser = parse_lock_mode)]
    lock_mode: Option<LockMode>,
}

impl Settings {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let vault = access::open_vault(global)?;
        let mut changed = match self.delete_delay {
            Some(delay) => vault.set_delete_delay(delay)?,
            None => false,
        };
        if let Some(ClassOrNone(class)) = &self.data_class {
            changed |= vault.set_data_class(class.as_ref())?;
        }
        if self.lock.is_some() || self.lock_mode.is_some() {
            let before = vault.lock_setting()?;
            let period = match self.lock {
                Some(PeriodOrNone(period)) => period,
                None => before.map(|lock| lock.period),
            };
            if period.is_none() && self.lock_mode.is_some() {
                return Err(Failure::usage(
                    "there is no lock to have a mode",
                    "say for how long with --lock",
                ));
            }
            let mode = self.lock_mode.or(before.map(|lock| lock.mode)).unwrap_or(LockMode::Governance);
            let lock = period.map(|period| LockSetting { period, mode });
            changed |= vault.set_lock(lock.as_ref())?;
        }
        let settings = vault.settings(SystemTime::now())?;
        output.line(&format!("Delay before deleting   {}", shown_duration(settings.delete_delay)));
        if settings.in_force > settings.delete_delay {
            let longer = shown_duration(settings.in_force);
            output.line(&format!("In force for now        {longer}, until that has passed since the change"));
        }
        let class = settings.data_class.as_ref().map(StorageClass::as_str);
        output.line(&format!("Storage class of data   {}", class.unwrap_or("the store's usual one")));
        let lock = settings.lock.as_ref();
        let words = lock.map_or_else(|| "none".to_owned(), abilities::lock_words);
        output.line(&format!("Lock on objects         {words}"));
        for (name, damage) in &settings.unreadable {
            output::note(&format!("warning: {name} counts for nothing: {damage}"));
        }
        output.event(&json!({
            "type": "settings", "delete_delay": settings.delete_delay.as_secs(),
            "delete_delay_in_force": settings.in_force.as_secs(), "data_class": class, "changed": changed,
            "lock": lock.map(|lock| lock.period.as_secs()), "lock_mode": lock.map(|lock| lock.mode.name()),
        }));
        output.summary("settings", exit::DONE, json!({}));
        Ok(exit::DONE)
    }
}
