//! The simulator can fail: with any one safety rule taken away there is a seed at which it shows, and with the rule kept
//! the same seed shows nothing. Several of these rules are there because the simulator found the loss.
//!
//! When scenarios change, seeds mean something else: `STRONGROOM_SIM_SEARCH=N` looks for new ones, N scenarios at most.
#![allow(clippy::print_stdout, reason = "a test tells its seeds")]

use sim::{quiet, scenario};
use vault::sabotage::{Rule, break_rule};

/// Where a search begins.
const FIRST: u64 = 1_000_000;

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

fn is_caught(rule: Rule, seed: u64, shows: Shows) {
    if let Ok(scenarios) = std::env::var("STRONGROOM_SIM_SEARCH") {
        let scenarios: u64 = scenarios.parse().expect("a whole number");
        let showing =
            |seed: &u64| shown(rule, *seed) == Some(shows) && scenario::run(*seed, false).violation.is_none();
        let found = (FIRST..FIRST + scenarios).find(showing);
        println!("{rule:?}: {found:?}");
        return;
    }
    assert_eq!(shown(rule, seed), Some(shows), "{rule:?}: seed {seed} does not show it");
    assert_eq!(scenario::run(seed, false).violation, None, "{rule:?} is kept");
}

macro_rules! caught {
    ($($name:ident: $rule:ident, $seed:literal, $shows:ident;)*) => {
        $(#[test]
        fn $name() {
            is_caught(Rule::$rule, $seed, Shows::$shows);
        })*
    };
}

caught! {
    leases_are_waited_for: LeasesAreWaitedFor, 1_000_242, Loss;
    condemnations_settle: CondemnationsSettle, 1_007_906, Loss;
    needs_are_read_again: NeedsAreReadAgain, 1_000_104, Loss;
    writers_read_condemnations: WritersReadCondemnations, 1_000_052, Loss;
    commits_are_timed: CommitsAreTimed, 1_001_100, Loss;
    segments_are_copied: SegmentsAreCopied, 1_000_002, Garbage;
    moves_are_told_of: MovesAreToldOf, 1_000_000, Garbage;
    blindness_deletes_nothing: BlindnessDeletesNothing, 1_000_169, Loss;
    names_are_remembered: NamesAreRemembered, 1_000_331, Loss;
    keepers_are_trusted: KeepersAreTrusted, 1_000_043, Loss;
    disputed_moves_stay: DisputedMovesStay, 1_001_007, Loss;
    fragments_are_doubted: FragmentsAreDoubted, 1_007_841, Loss;
    the_trash_keeps: TrashKeeps, 1_000_021, Loss;
    moves_are_known: MovesAreKnown, 1_000_297, Loss;
}
