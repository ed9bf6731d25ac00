//! The simulator can fail: with any one safety rule taken away there is a seed at which it shows, and with the rule kept
//! the same seed shows nothing. Several of these rules are there because the simulator found the loss.
//!
//! When scenarios change, seeds mean something else: then others are looked for, which takes a while, and told.
#![allow(clippy::print_stdout, reason = "a test tells its seeds")]

use sim::quiet;
use sim::scenario::{self, WITH_OWNER};
use vault::sabotage::{Rule, break_both, break_rule};

/// Where a search for another seed begins, and how many are tried.
const FIRST: u64 = 1_000_000;
const SEARCHED: u64 = 20_000;

/// What comes of a broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    /// Something promised is lost.
    Loss,
    /// Garbage stays: other rules keep what would be lost.
    Garbage,
}

/// What a scenario shows while a rule is broken.
fn shown(rule: Rule, seed: u64) -> Option<Shows> {
    break_rule(Some(rule));
    let violation = scenario::run(seed, false).violation;
    break_rule(None);
    violation.map(|what| if what.starts_with(quiet::AT_REST) { Shows::Garbage } else { Shows::Loss })
}

/// Whether a seed shows that a rule is needed, and nothing else.
fn shows(rule: Rule, seed: u64, shows: Shows) -> bool {
    shown(rule, seed) == Some(shows) && scenario::run(seed, false).violation.is_none()
}

fn is_caught(rule: Rule, seed: u64, what: Shows) {
    if shows(rule, seed, what) {
        return;
    }
    // Something that scenarios depend on was changed, so that seeds mean something else: there must be another one.
    let with_owner = seed & WITH_OWNER;
    let found = (FIRST..FIRST + SEARCHED).map(|seed| seed | with_owner).find(|seed| shows(rule, *seed, what));
    let found = found.unwrap_or_else(|| panic!("{rule:?}: nothing shows it among {SEARCHED} scenarios"));
    println!("{rule:?}: seed {found} shows it now, and {seed} does not any more");
}

macro_rules! caught {
    ($($name:ident: $rule:ident, $seed:expr, $shows:ident;)*) => {
        $(#[test]
        fn $name() {
            is_caught(Rule::$rule, $seed, Shows::$shows);
        })*
    };
}

caught! {
    leases_are_waited_for: LeasesAreWaitedFor, 1_003_099, Loss;
    needs_are_read_again: NeedsAreReadAgain, 1_000_077, Loss;
    writers_read_condemnations: WritersReadCondemnations, 1_000_077, Loss;
    commits_are_timed: CommitsAreTimed, 1_000_356, Loss;
    segments_are_copied: SegmentsAreCopied, 1_000_002, Garbage;
    moves_are_told_of: MovesAreToldOf, 1_000_001, Garbage;
    blindness_deletes_nothing: BlindnessDeletesNothing, 1_000_208, Loss;
    names_are_remembered: NamesAreRemembered, 1_000_356, Loss;
    keepers_are_trusted: KeepersAreTrusted, 1_000_043, Loss;
    disputed_moves_stay: DisputedMovesStay, 1_004_561, Loss;
    the_trash_keeps: TrashKeeps, 1_000_007, Loss;
    moves_are_known: MovesAreKnown, 1_000_052, Loss;
    closed_packs_are_left: ClosedPacksAreLeft, WITH_OWNER | 1_000_126, Loss;
    trash_is_surveyed: TrashIsSurveyed, WITH_OWNER | 1_000_472, Loss;
    arrivals_look_again: ArrivalsLookAgain, 3_000_034_044, Loss;
    generations_are_kept_apart: GenerationsAreKeptApart, WITH_OWNER | 900_017_009, Loss;
}

/// Another rule stands before this one: a copy that compares takes another way at this seed.
#[test]
fn moves_are_passed_on() {
    let seed = WITH_OWNER | 4_500_015_254;
    break_both(Rule::MovesArePassedOn, Rule::ArrivalsAreCompared);
    let without = scenario::run(seed, false).violation;
    break_rule(Some(Rule::ArrivalsAreCompared));
    let with = scenario::run(seed, false).violation;
    break_rule(None);
    assert!(without.is_some(), "nothing shows it");
    assert_eq!(with, None);
}
