//! `cleanup`: getting rid of what nobody needs.

use std::sync::Arc;

use ::backup::{CleanupReport, CleanupRequest, Progress, clean_up};
use clap::Args;
use serde_json::json;

use super::units;
use crate::access::{Limits, Place};
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::Output;

/// Free the space of what was forgotten
///
/// Deletes snapshots whose time in the trash is over and the data that no snapshot needs, and joins packs that
/// are mostly unused. It works beside running backups and needs no passphrase. It has two phases: what is not
/// needed is condemned first, and deleted once everybody who may not know has ended; with a vault on another
/// machine the second phase is the next run's.
#[derive(Args, Debug)]
pub struct Cleanup {
    /// Put up with this share of unused bytes, in percent of those in use
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0)]
    max_unused: f64,
    /// Move no more bytes than this
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    max_move: Option<u64>,
    /// Leave data that no snapshot ever needed alone this long: an interrupted backup goes on with it
    #[arg(long, value_name = "DURATION", default_value = "2d", value_parser = units::parse_duration)]
    unfinished: std::time::Duration,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}
