//! The simulator can fail: with any one safety rule taken away there is a seed at which something is lost that was
//! promised, and with the rule kept the same seed loses nothing. Several of these rules are there because the simulator
//! found the loss.
//!
//! When scenarios change, seeds mean something else: `STRONGROOM_SIM_SEARCH=N` looks for new ones, N at most.
#![allow(clippy::print_stdout, reason = "a test tells its seeds")]

use sim::{campaign, quiet, scenario};
use vault::sabotage::{Rule, break_rule};

/// Where a search begins.
const FIRST: u64 = 1_000_000;

fn is_caught(rule: Rule, seed: u64) {
    if let Ok(scenarios) = std::env::var("STRONGROOM_SIM_SEARCH") {
        break_rule(Some(rule));
        let campaign = campaign::play_until_loss(FIRST, scenarios.parse().expect("a whole number"));
        break_rule(None);
        println!("{rule:?}: {:?} after {} scenarios", campaign.failures, campaign.scenarios);
        return;
    }
    break_rule(Some(rule));
    let broken = scenario::run(seed, false).violation;
    break_rule(None);
    println!("{rule:?}, seed {seed}: {broken:?}");
    assert!(
        broken.is_some_and(|what| !what.starts_with(quiet::AT_REST)),
        "{rule:?}: seed {seed} does not show it"
    );
    assert_eq!(scenario::run(seed, false).violation, None, "{rule:?} is kept");
}

macro_rules! caught {
    ($($name:ident: $rule:ident, $seed:literal;)*) => {
        $(#[test]
        fn $name() {
            is_caught(Rule::$rule, $seed);
        })*
    };
}

caught! {
    leases_are_waited_for: LeasesAreWaitedFor, 0;
    condemnations_settle: CondemnationsSettle, 0;
    ended_leases_settle: EndedLeasesSettle, 0;
    needs_are_read_again: NeedsAreReadAgain, 0;
    writers_read_condemnations: WritersReadCondemnations, 0;
    commits_are_timed: CommitsAreTimed, 1_000_150;
    keepers_are_not_condemned: KeepersAreNotCondemned, 0;
    segments_are_copied: SegmentsAreCopied, 0;
    moves_are_told_of: MovesAreToldOf, 0;
    blindness_deletes_nothing: BlindnessDeletesNothing, 1_000_119;
    names_are_remembered: NamesAreRemembered, 0;
    records_overlap: RecordsOverlap, 0;
    keepers_are_trusted: KeepersAreTrusted, 1_000_004;
    disputed_moves_stay: DisputedMovesStay, 0;
    fragments_are_doubted: FragmentsAreDoubted, 0;
    the_trash_keeps: TrashKeeps, 0;
    unfinished_packs_stay: UnfinishedPacksStay, 0;
    moves_are_known: MovesAreKnown, 0;
}
