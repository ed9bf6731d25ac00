//! A fixed budget of fresh seeds; or one seed with its trace; or as many as somebody asks for.
//!
//! `STRONGROOM_SIM_SEED=N` plays one scenario and prints its trace. `STRONGROOM_SIM_SCENARIOS=N` and
//! `STRONGROOM_SIM_HOURS=N` play more than the usual budget; `scripts/sim` sets them.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and tells its seeds")]

use std::time::{Duration, SystemTime};

use sim::{campaign, scenario};

/// Enough for most mistakes to show, and short enough for every change.
const SCENARIOS: u64 = 600;
const TIME: Duration = Duration::from_secs(50);

fn asked(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect("a whole number"))
}

fn replay(seed: u64) -> Option<String> {
    let verdict = scenario::run(seed, true);
    verdict.trace.iter().for_each(|line| println!("{line}"));
    println!("seed {seed}: {} steps, {:?}", verdict.steps, verdict.violation);
    verdict.violation
}

#[test]
fn fresh_seeds_break_nothing() {
    if let Some(seed) = asked("STRONGROOM_SIM_SEED") {
        assert_eq!(replay(seed), None);
        return;
    }
    let (scenarios, time) = match (asked("STRONGROOM_SIM_SCENARIOS"), asked("STRONGROOM_SIM_HOURS")) {
        (None, None) => (SCENARIOS, TIME),
        (scenarios, hours) => {
            (scenarios.unwrap_or(u64::MAX), hours.map_or(Duration::MAX, |h| Duration::from_secs(h * 3600)))
        }
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let first = asked("STRONGROOM_SIM_FIRST").unwrap_or(now.as_secs() << 20 | u64::from(now.subsec_micros()));
    let failures_max = asked("STRONGROOM_SIM_FAILURES").unwrap_or(1) as usize;
    println!("seeds from {first} on");
    let campaign = campaign::play(first, scenarios, time, failures_max);
    println!("{} scenarios: {:?}", campaign.scenarios, campaign.counts);
    for (seed, violation) in &campaign.failures {
        println!("seed {seed}: {violation}");
    }
    for (seed, violation) in &campaign.untidy {
        println!("untidy after seed {seed}: {violation}");
    }
    // Nothing is lost by garbage that stays, and chance may find some: docs/gc.md.
    assert!(campaign.untidy.len() as u64 <= 1 + campaign.scenarios / 5000, "too many seeds leave garbage");
    if let Some((seed, _)) = campaign.failures.first() {
        replay(*seed);
        panic!("replay it with: STRONGROOM_SIM_SEED={seed} cargo test -p sim --test budget -- --nocapture");
    }
}
