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
        let showing = |seed: &u64| {
            shown(rule, *seed) == Some(shows) && scenario::run(*seed, false).violation.is_none()
        };
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
    leases_are_waited_for: LeasesAreWaitedFor, 1_000_173, Loss;
    condemnations_settle: CondemnationsSettle, 0, Loss;
    ended_leases_settle: EndedLeasesSettle, 1_000_276, Loss;
    needs_are_read_again: NeedsAreReadAgain, 1_000_077, Loss;
    writers_read_condemnations: WritersReadCondemnations, 1_000_007, Loss;
    commits_are_timed: CommitsAreTimed, 1_000_004, Loss;
    keepers_are_not_condemned: KeepersAreNotCondemned, 0, Loss;
    segments_are_copied: SegmentsAreCopied, 1_000_003, Garbage;
    moves_are_told_of: MovesAreToldOf, 1_000_001, Garbage;
    blindness_deletes_nothing: BlindnessDeletesNothing, 1_000_203, Loss;
    names_are_remembered: NamesAreRemembered, 1_000_174, Loss;
    records_overlap: RecordsOverlap, 0, Loss;
    successors_are_read: SuccessorsAreRead, 1_001_110, Loss;
    keepers_are_trusted: KeepersAreTrusted, 1_000_000, Loss;
    disputed_moves_stay: DisputedMovesStay, 0, Loss;
    fragments_are_doubted: FragmentsAreDoubted, 0, Loss;
    the_trash_keeps: TrashKeeps, 1_000_008, Loss;
    unfinished_packs_stay: UnfinishedPacksStay, 0, Loss;
    moves_are_known: MovesAreKnown, 1_000_390, Loss;
}
