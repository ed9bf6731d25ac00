//! Many scenarios, one after the other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::quiet::AT_REST;
use crate::scenario::{self, WITH_OWNER};

/// What many scenarios did together.
#[derive(Debug, Default)]
pub struct Campaign {
    /// How many were played.
    pub scenarios: u64,
    /// Seeds that found something, and what.
    pub failures: Vec<(u64, String)>,
    /// Seeds after which garbage was left, or an index not in order, though all was quiet: nothing is lost by that.
    pub untidy: Vec<(u64, String)>,
    /// How often what happened.
    pub counts: BTreeMap<&'static str, u64>,
}

/// Plays seeds from `first` on, until so many were played, the time is over, or so many lost what was promised.
pub fn play(first: u64, scenarios: u64, time: Duration, failures_max: usize) -> Campaign {
    let (begun, mut campaign) = (Instant::now(), Campaign::default());
    while campaign.scenarios < scenarios && begun.elapsed() < time && campaign.failures.len() < failures_max {
        let with_owner = if campaign.scenarios % 3 == 2 { WITH_OWNER } else { 0 };
        let seed = first.wrapping_add(campaign.scenarios) | with_owner;
        let verdict = scenario::run(seed, false);
        campaign.scenarios += 1;
        for (what, times) in verdict.counts {
            *campaign.counts.entry(what).or_default() += times;
        }
        if let Some(violation) = verdict.violation {
            let list = match violation.starts_with(AT_REST) {
                true => &mut campaign.untidy,
                false => &mut campaign.failures,
            };
            list.push((seed, format!("{violation} ({})", verdict.character)));
        }
    }
    campaign
}
