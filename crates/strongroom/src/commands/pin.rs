//! `pin` and `unpin`: snapshots that stay, whatever the rules say.

use std::time::SystemTime;

use ::backup::{Filter, SnapshotList, Until};
use clap::Args;
use content::tree::Time;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::json;

use crate::access;
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};

/// Keep snapshots whatever the rules say
///
/// A pinned snapshot can not be forgotten until `unpin` takes the pin away, or until the date that is given has passed.
#[derive(Args, Debug)]
pub struct Pin {
    /// The beginning of a snapshot's id, or `latest`
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<String>,
    /// Only until the end of this day (2027-12-31), or until this moment (2027-12-31T18:00:00Z)
    #[arg(long, value_name = "DATE", value_parser = parse_end)]
    until: Option<i64>,
}

/// Let rules forget snapshots that were pinned
///
/// Pins and holds alike are taken away.
#[derive(Args, Debug)]
pub struct Unpin {
    /// The beginning of a snapshot's id
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<String>,
}

impl Pin {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        if self.until.is_some_and(|end| !Until::Moment(end).holds(SystemTime::now())) {
            return Err(Failure::usage("the date is over", "give one that is yet to come with --until"));
        }
        let vault = access::open_vault(global)?;
        let list = SnapshotList::load(&vault)?;
        let ids = self.snapshots.iter().map(|text| list.find_id_of(text, &Filter::default()));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        let until = self.until.map_or(Until::Unpinned, Until::Moment);
        for id in &ids {
            ::backup::pin(&vault, &list, *id, until)?;
            let how = match self.until {
                None => "pinned".to_owned(),
                Some(end) => format!("held until {}", output::local_time(end)),
            };
            output.say(&format!("Snapshot {} is {how}.", id.short()));
            let end = self.until.map(|end| output::json_time(Time { seconds: end, nanoseconds: 0 }));
            output.event(&json!({
                "type": "pin", "snapshot": id.to_string(), "change": "pinned", "held_until": end,
            }));
        }
        output.summary("pin", exit::DONE, json!({}));
        Ok(exit::DONE)
    }
}

impl Unpin {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let vault = access::open_vault(global)?;
        let list = SnapshotList::load(&vault)?;
        let ids = self.snapshots.iter().map(|text| list.find_id_of(text, &Filter::default()));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        let pins = vault.pins()?;
        for id in &ids {
            if ::backup::unpin(&vault, &pins, *id)? == 0 {
                output.say(&format!("Snapshot {} was not pinned.", id.short()));
                continue;
            }
            output.say(&format!("Snapshot {} is not pinned any more.", id.short()));
            output.event(&json!({
                "type": "pin", "snapshot": id.to_string(), "change": "unpinned", "held_until": null,
            }));
        }
        output.summary("unpin", exit::DONE, json!({}));
        Ok(exit::DONE)
    }
}

/// The end of a day in the local zone, or a moment; in seconds since 1970.
fn parse_end(text: &str) -> Result<i64, String> {
    end_in(text, &TimeZone::system())
}

fn end_in(text: &str, zone: &TimeZone) -> Result<i64, String> {
    let wrong =
        || format!("{text:?} is neither a date such as 2027-12-31 nor a moment such as 2027-12-31T18:00:00Z");
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment.as_second());
    }
    // More than a date would be a moment without its zone.
    let date = text.parse::<Date>().ok().filter(|_| text.len() == "2027-12-31".len()).ok_or_else(wrong)?;
    let next = date.checked_add(1.day()).ok().and_then(|day| day.to_zoned(zone.clone()).ok());
    next.map(|next| next.timestamp().as_second()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_where_the_next_begins() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(end_in("2026-12-31", &zone), Ok(1_798_758_000));
        assert_eq!(end_in("2026-12-31", &TimeZone::UTC), Ok(1_798_761_600));
        assert_eq!(end_in("2026-12-31T23:00:00Z", &zone), Ok(1_798_758_000));
        assert_eq!(end_in("2027-01-01T00:00:00+01:00", &zone), Ok(1_798_758_000));
        for wrong in ["", "tomorrow", "2026-13-01", "2026-12-31T12:00", "2026", "9999-12-31"] {
            assert!(end_in(wrong, &TimeZone::UTC).is_err(), "{wrong}");
        }
    }
}
