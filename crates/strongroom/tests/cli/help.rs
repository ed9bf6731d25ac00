//! The contents page, and what is generated from the same definitions.

use crate::world::{Outcome, World};

const VERBS: [&str; 21] = [
    "init",
    "backup",
    "snapshots",
    "ls",
    "find",
    "diff",
    "restore",
    "dump",
    "mount",
    "forget",
    "undelete",
    "pin",
    "unpin",
    "settings",
    "check",
    "copy",
    "repair",
    "stats",
    "key",
    "completions",
    "man",
];
const KEY_VERBS: [&str; 6] = ["list", "add", "remove", "passphrase", "recovery", "renew"];

/// The first word of each line.
fn first_words(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn help_is_a_contents_page() {
    let help = World::new().ok(&["--help"]);
    let words = first_words(&help);
    for word in VERBS.iter().chain(&["0", "1", "2", "3", "10", "11", "12", "130"]) {
        assert!(words.contains(word), "{word} is not in the help:\n{help}");
    }
    for variable in ["STRONGROOM_VAULT", "STRONGROOM_PASSPHRASE"] {
        assert!(words.contains(&variable), "{variable}");
    }
    assert_eq!(words.iter().filter(|word| **word == "strongroom").count(), 2, "two examples");
    assert_eq!(World::new().ok(&["-h"]), help);
    assert_eq!(World::new().ok(&["help"]), help);
}

#[test]
fn every_verb_explains_itself() {
    let world = World::new();
    for verb in VERBS {
        let help = world.ok(&[verb, "--help"]);
        assert!(help.contains(&format!("Usage: strongroom {verb}")), "{help}");
        let explanation = help.split("Usage:").next().unwrap().trim();
        assert!(explanation.contains("\n\n"), "more than the line of the contents page: {explanation}");
        assert_eq!(world.ok(&["help", verb]), help);
    }
    for verb in KEY_VERBS {
        assert!(world.ok(&["key", verb, "--help"]).contains("Usage: strongroom key"));
    }
    assert!(world.ok(&["--version"]).starts_with("strongroom "));
}

#[test]
fn help_shows_no_values_of_the_environment() {
    let world = World::new();
    let mut command = world.command(&["backup", "--help"]);
    let outcome =
        Outcome::of(command.env("STRONGROOM_VAULT", "/srv/hidden").env("STRONGROOM_PASSPHRASE", "hidden"));
    assert!(!outcome.out.contains("hidden"), "{}", outcome.out);
}

#[test]
fn completions_and_manual_pages_know_every_verb() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = world.ok(&["completions", shell]);
        VERBS.iter().for_each(|verb| assert!(script.contains(verb), "{shell}: {verb}"));
    }
    world.ok(&["man", "pages"]);
    let page = |name: &str| std::fs::read_to_string(world.path("pages").join(name)).unwrap();
    let top = page("strongroom.1");
    for verb in VERBS {
        assert!(top.contains(verb));
        assert!(page(&format!("strongroom-{verb}.1")).contains(".SH"), "{verb}");
    }
    assert!(top.contains("130"), "exit codes are in the manual");
    KEY_VERBS.iter().for_each(|verb| assert!(page(&format!("strongroom-key-{verb}.1")).contains(verb)));
}

#[test]
fn what_is_not_understood_is_a_usage_error() {
    let world = World::new();
    let wrong: [&[&str]; 14] = [
        &[],
        &["nonsense"],
        &["backup"],
        &["backup", "files", "--nonsense"],
        &["backup", "files", "--compression", "some"],
        &["backup", "files", "--limit-upload", "fast"],
        &["backup", "files", "--parallelism", "0"],
        &["backup", "--stdin-from-command", "name"],
        &["backup", "files", "--", "echo"],
        &["restore", "latest"],
        &["restore", "latest", "--in-place", "--target", "x"],
        &["check", "--read-data=0"],
        &["snapshots", "--passphrase-file", "a", "--passphrase-command", "b"],
        &["dump", "latest", "--json"],
    ];
    for arguments in wrong {
        let outcome = world.run(arguments);
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {outcome:?}");
        assert!(!outcome.err.is_empty());
    }
}
