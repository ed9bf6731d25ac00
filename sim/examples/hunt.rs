//! Looks for seeds that show that a safety rule is needed, for `sim/tests/sabotage.rs`.
//!
//!   cargo run --release -p sim --example hunt -- RULE FIRST COUNT [owner] [kept]
//!
//! RULE is a rule of `vault::sabotage`, as `LeasesAreWaitedFor`. With `owner`, scenarios have an owner who regroups. With
//! `kept`, the rule is kept: what is shown then is a fault of the program.
#![allow(clippy::print_stdout, reason = "it tells what it finds")]

use std::process::ExitCode;

use sim::scenario::{self, WITH_OWNER};
use vault::sabotage::{Rule, break_rule};

fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| asked.iter().any(|other| other == word);
    let number = |place: usize| asked.get(place).and_then(|number| number.parse::<u64>().ok());
    let rule = asked.first().and_then(|name| Rule::ALL.into_iter().find(|rule| format!("{rule:?}") == *name));
    let (Some(rule), Some(first), Some(count)) = (rule, number(1), number(2)) else {
        println!("usage: hunt RULE FIRST COUNT [owner] [kept]");
        return ExitCode::from(2);
    };
    let with_owner = if has("owner") { WITH_OWNER } else { 0 };
    for seed in (first..first.saturating_add(count)).map(|seed| seed | with_owner) {
        break_rule((!has("kept")).then_some(rule));
        let violation = scenario::run(seed, false).violation;
        break_rule(None);
        if let Some(what) = violation {
            let is_clean = scenario::run(seed, false).violation.is_none();
            println!(
                "{rule:?} {seed} (with the rule {}): {what}",
                if is_clean { "clean" } else { "not clean" }
            );
        }
    }
    ExitCode::SUCCESS
}
