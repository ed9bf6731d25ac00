//! The simulator can fail: with any one safety rule taken away it finds a scenario that breaks.

use sim::campaign;
use vault::sabotage::{Rule, break_rule};

/// Where the search begins: fixed, so that the tests do the same every time.
const FIRST: u64 = 1_000_000;

fn is_caught(rule: Rule, scenarios: u64) {
    break_rule(Some(rule));
    let campaign = campaign::play_until_loss(FIRST, scenarios);
    break_rule(None);
    println!("{rule:?}: {:?} after {} scenarios", campaign.failures, campaign.scenarios);
    assert_eq!(campaign.failures.len(), 1, "{rule:?} can be broken and {scenarios} scenarios do not show it");
}

macro_rules! caught {
    ($($name:ident: $rule:ident, $scenarios:literal;)*) => {
        $(#[test]
        fn $name() {
            is_caught(Rule::$rule, $scenarios);
        })*
    };
}

caught! {
    leases_are_waited_for: LeasesAreWaitedFor, 20_000;
    condemnations_settle: CondemnationsSettle, 20_000;
    ended_leases_settle: EndedLeasesSettle, 20_000;
    needs_are_read_again: NeedsAreReadAgain, 20_000;
    writers_read_condemnations: WritersReadCondemnations, 20_000;
    commits_are_timed: CommitsAreTimed, 20_000;
    keepers_are_not_condemned: KeepersAreNotCondemned, 20_000;
    segments_are_copied: SegmentsAreCopied, 20_000;
    moves_are_told_of: MovesAreToldOf, 20_000;
    blindness_deletes_nothing: BlindnessDeletesNothing, 20_000;
    names_are_remembered: NamesAreRemembered, 20_000;
    records_overlap: RecordsOverlap, 20_000;
    keepers_are_trusted: KeepersAreTrusted, 20_000;
    fragments_are_doubted: FragmentsAreDoubted, 20_000;
    the_trash_keeps: TrashKeeps, 20_000;
    unfinished_packs_stay: UnfinishedPacksStay, 20_000;
    moves_are_known: MovesAreKnown, 20_000;
}
