//! `settings`: what may be changed about a vault.

use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::json;
use store::StorageClass;

use super::units::{ClassOrNone, parse_class_or_none, parse_duration, shown_duration};
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
#[derive(Args, Debug)]
pub struct Settings {
    /// Change the delay before deleting, such as 12h, 30d or 0
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    delete_delay: Option<Duration>,
    /// Keep new data in this storage class of an S3 store, such as GLACIER, or in its usual one: none
    #[arg(long, value_name = "CLASS|none", value_parser = parse_class_or_none)]
    data_class: Option<ClassOrNone>,
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
        let settings = vault.settings(SystemTime::now())?;
        output.line(&format!("Delay before deleting   {}", shown_duration(settings.delete_delay)));
        if settings.in_force > settings.delete_delay {
            let longer = shown_duration(settings.in_force);
            output.line(&format!("In force for now        {longer}, until that has passed since the change"));
        }
        let class = settings.data_class.as_ref().map(StorageClass::as_str);
        output.line(&format!("Storage class of data    {}", class.unwrap_or("the store's usual one")));
        for (name, damage) in &settings.unreadable {
            output::note(&format!("warning: {name} counts for nothing: {damage}"));
        }
        output.event(&json!({
            "type": "settings", "delete_delay": settings.delete_delay.as_secs(),
            "delete_delay_in_force": settings.in_force.as_secs(), "data_class": class, "changed": changed,
        }));
        output.summary("settings", exit::DONE, json!({}));
        Ok(exit::DONE)
    }
}
