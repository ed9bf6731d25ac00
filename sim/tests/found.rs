//! Seeds that found something once. They are played again: what they found must not come back.

use sim::scenario::{self, WITH_OWNER};

fn shows_nothing(seeds: &[u64]) {
    for seed in seeds {
        assert_eq!(scenario::run(*seed, false).violation, None, "seed {seed}");
    }
}

#[test]
fn what_tells_of_a_moved_pack_stays_until_it_is_told_anew() {
    shows_nothing(&[
        1_882_683_656_455_413,
        1_882_683_656_489_231,
        1_882_688_796_880_507,
        1_882_689_355_250_621,
    ]);
}

#[test]
fn a_fragment_that_a_thief_brings_back_is_not_believed() {
    shows_nothing(&[1_882_683_656_467_161]);
}

#[test]
fn a_check_takes_nothing_for_damage_that_is_about_to_go() {
    shows_nothing(&[
        1_000_150,
        1_001_708,
        1_002_174,
        1_002_993,
        1_882_688_796_881_417,
        1_882_688_796_882_001,
        1_882_689_928_659_749,
    ]);
}

#[test]
fn nothing_is_regrouped_where_copies_arrive() {
    shows_nothing(&[WITH_OWNER | 77_008_417, WITH_OWNER | 77_015_480]);
}

#[test]
fn what_the_source_regrouped_takes_the_place_of_nothing_at_the_target() {
    shows_nothing(&[WITH_OWNER | 900_017_009, WITH_OWNER | 900_032_252, WITH_OWNER | 1_800_021_230]);
}

#[test]
fn what_a_snapshot_came_to_name_goes_when_something_leads_on_from_it() {
    shows_nothing(&[WITH_OWNER | 4_500_015_254]);
}

#[test]
fn a_copy_that_commits_under_a_new_lease_looks_at_the_target_again() {
    shows_nothing(&[3_000_034_044]);
}

#[test]
fn a_snapshot_that_lies_holds_up_no_other_copy() {
    shows_nothing(&[1_882_689_165_609_763]);
}

#[test]
fn of_two_results_of_regrouping_one_stays() {
    shows_nothing(&[WITH_OWNER | 5_400_019_106]);
}

#[test]
fn what_is_whole_of_a_damaged_pack_arrives_though_it_is_about_to_go() {
    shows_nothing(&[9_600_019_800]);
}
