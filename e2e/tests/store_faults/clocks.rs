//! A clock of this machine that is wrong.

use std::process::Command;

use e2e::Outcome;

use crate::servers::{CEPH, SWIFT, fresh, in_s3, in_swift};

/// The command with its clock moved by so much, as `faketime` writes it. The clock that only measures time is left
/// alone: it has no hour to be wrong about.
fn with_clock(command: &Command, moved: &str) -> Outcome {
    let mut skewed = Command::new("faketime");
    skewed.args(["-f", moved]).arg(command.get_program()).args(command.get_args()).env_clear();
    skewed.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    skewed.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").stdin(std::process::Stdio::null());
    skewed.output().expect("faketime, which scripts/setup installs").into()
}

#[test]
fn swift_does_not_mind_a_clock_that_is_off_and_a_test_of_the_store_says_so() {
    let service = SWIFT.get();
    let trial = in_swift(&service, &fresh("clock"));
    for moved in ["-1d", "+1d"] {
        with_clock(&trial.back_up_command(e2e::trial::AMPLE), moved).expect(0);
        let tried = with_clock(&trial.command(&["store", "test"]), moved).expect(1);
        assert!(tried.stdout.contains("its clock differs from this machine's by 86"), "{tried:?}");
    }
    trial.proxy.take();
    trial.needs_nothing_more();
}

#[test]
fn a_signature_of_another_hour_is_refused_with_the_difference() {
    let service = CEPH.get();
    let trial = in_s3(&service, &fresh("clock"));
    for (moved, says) in [("-2h", "2 h 0 min behind the server's"), ("+2h", "ahead of the server's")] {
        let told = with_clock(&trial.back_up_command(e2e::trial::AMPLE), moved);
        told.is_one_clear_error(1, &["s3://clock", "this machine's clock is", says, "set the clock"]);
    }
    trial.recovers(&[]);
}
