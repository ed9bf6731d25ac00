//! Data in cold storage: the whole program on a real S3 behind a proxy that makes one of its storage classes cold, as the
//! real server has none that is. See `cold/freezer.rs`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "cold/freezer.rs"]
mod freezer;
#[path = "cold/world.rs"]
mod world;

use std::time::Duration;

use world::{Cold, KEPT_COLD};

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3600);

#[test]
fn data_goes_to_the_class_and_nothing_else_does() {
    let cold = Cold::with_data_in("data", Some("glacier"));
    cold.back_up();
    let put: Vec<_> =
        cold.freezer.proxy().take().into_iter().filter(|seen| seen.request.method == "PUT").collect();
    let class = |seen: &&e2e::proxy::Seen| seen.request.header("x-amz-storage-class").map(str::to_owned);
    let (in_class, usual): (Vec<_>, Vec<_>) = put.iter().partition(|seen| class(seen).is_some());
    assert!(in_class.len() > 1, "several packs of data");
    assert!(
        in_class.iter().all(|seen| seen.request.is("PUT", "/packs/") && class(seen).unwrap() == KEPT_COLD)
    );
    let usual_packs = usual.iter().filter(|seen| seen.request.is("PUT", "/packs/")).count();
    assert_eq!(usual_packs, 1, "the pack of trees");
    for folder in ["/index/", "/snapshots/", "/leases/"] {
        assert!(usual.iter().any(|seen| seen.request.path.contains(folder)), "{folder}");
    }
    // The server itself knows them by their classes.
    for seen in &put {
        let head = cold.head(&seen.request.path);
        let is_in_class = head.to_lowercase().contains("x-amz-storage-class: glacier");
        assert_eq!(is_in_class, class(&seen).is_some(), "{}\n{head}", seen.request.path);
    }
    assert_eq!(cold.freezer.packs(), in_class.len());
}

#[test]
fn only_a_restore_needs_what_is_cold() {
    let cold = Cold::with_data_in("daily", Some("GLACIER"));
    cold.back_up();
    // On a machine that has never seen the vault.
    for arguments in [
        &["backup", &cold.source()][..],
        &["snapshots"],
        &["ls", "latest"],
        &["find", "*.noise"],
        &["diff", "latest", "latest"],
        &["stats"],
        &["check"],
        &["cleanup"],
        &["settings"],
    ] {
        cold.forget_cache();
        cold.run(arguments).expect(0);
        assert_eq!(cold.freezer.refused(), 0, "{arguments:?}");
    }
    let shown = cold.run(&["settings"]).expect(0).stdout;
    assert!(shown.contains("GLACIER"), "{shown}");
}

#[test]
fn a_restore_tells_asks_once_waits_and_is_right() {
    let cold = Cold::with_data_in("restore", Some("GLACIER"));
    cold.back_up();
    cold.forget_cache();
    cold.freezer.warms_in(Duration::from_secs(4));
    let packs = cold.freezer.packs() as u64;

    let dry = cold.restore("dry", &["--dry-run", "--json"]).expect(0);
    let found = dry.json().into_iter().find(|line| line["type"] == "warming").expect("what would be warmed");
    assert_eq!((&found["packs_cold"], &found["state"]), (&packs.into(), &"found".into()));
    assert!(found["bytes_cold"].as_u64().unwrap() > world::BYTES);
    assert!(cold.freezer.asked().is_empty(), "nothing is asked for");
    let told = cold.restore("dry", &["--dry-run"]).expect(0).stdout;
    assert!(told.contains("costs money") && told.contains(&format!("{packs} packs")), "{told}");

    let options = ["--json", "--warm-days", "3", "--warm-tier", "bulk"];
    let told = cold.restore("back", &options).expect(0);
    cold.is_source("back");
    let states: Vec<_> = told
        .json()
        .iter()
        .filter(|line| line["type"] == "warming")
        .map(|line| line["state"].clone())
        .collect();
    assert_eq!(states[..2], ["found", "asked"]);
    assert_eq!(states.len() as u64, 2 + packs, "one for each pack that is warm");
    let mut asked = cold.freezer.asked();
    assert!(
        asked.iter().all(|(_, body)| body.contains("<Days>3</Days>") && body.contains("<Tier>Bulk</Tier>"))
    );
    asked.sort();
    asked.dedup_by(|one, other| one.0 == other.0);
    assert_eq!((asked.len() as u64, cold.freezer.asked().len() as u64), (packs, packs), "each once");

    cold.restore("again", &[]).expect(0);
    cold.is_source("again");
    assert_eq!(cold.freezer.asked().len() as u64, packs, "they are warm");
}

#[test]
fn a_part_needs_only_its_own_packs() {
    let cold = Cold::with_data_in("part", Some("GLACIER"));
    cold.keep_keys_in_a_file();
    cold.back_up();
    cold.forget_cache();
    cold.freezer.warms_in(Duration::from_secs(1));
    cold.restore("one", &["--include", "1.noise"]).expect(0);
    assert!((1..cold.freezer.packs()).contains(&cold.freezer.asked().len()), "{:?}", cold.freezer.asked());
    let one = std::fs::read(cold.world.path("one/1.noise")).unwrap();
    assert!(one == std::fs::read(cold.world.path("source/1.noise")).unwrap());
}

#[test]
fn an_interrupt_while_waiting_ends_cleanly_and_the_next_run_does_not_ask_again() {
    let cold = Cold::with_data_in("interrupt", Some("GLACIER"));
    cold.back_up();
    cold.freezer.warms_in(FOR_EVER);
    let packs = cold.freezer.packs();
    let told = cold.interrupt_restore("back", packs).expect(130);
    assert!(told.stderr.contains("interrupted") && !told.stderr.contains("panic"), "{}", told.stderr);
    assert!(told.stdout.contains("Waiting."), "{}", told.stdout);
    assert_eq!(cold.freezer.asked().len(), packs);
    // Only to see how far it is.
    let told = cold.restore("back", &["--warm-only"]).expect(0).stdout;
    assert!(told.contains("being warmed already"), "{told}");
    cold.freezer.warms_in(Duration::ZERO);
    cold.restore("back", &[]).expect(0);
    cold.is_source("back");
    assert_eq!(cold.freezer.asked().len(), packs, "each once, over all runs");
}

#[test]
fn whoever_may_not_warm_hears_it_once() {
    let cold = Cold::with_data_in("rights", Some("GLACIER"));
    cold.back_up();
    cold.freezer.forbid_warming();
    let says =
        ["cannot ask for the warming of packs/", "permission denied", "403 AccessDenied", "s3:RestoreObject"];
    cold.restore("back", &[]).is_one_clear_error(1, &says);
    assert_eq!(cold.freezer.asked().len(), 1, "the others were not tried");
}

#[test]
fn what_does_not_warm_says_what_to_do_and_calls_nothing_damaged() {
    let cold = Cold::with_data_in("others", Some("GLACIER"));
    cold.back_up();
    cold.forget_cache();
    let file = format!("latest:{}/1.noise", cold.source());
    let says =
        ["it is in cold storage and has to be warmed", "403 InvalidObjectState", "strongroom restore --warm"];
    cold.run(&["dump", &file]).is_one_clear_error(1, &says);
    let told = cold.run(&["check", "--read-data", "--json"]).expect(0);
    let findings: Vec<_> = told.json().into_iter().filter(|line| line["type"] == "finding").collect();
    assert_eq!(findings.len(), cold.freezer.packs(), "{findings:?}");
    assert!(findings.iter().all(|finding| finding["severity"] == "note"), "{findings:?}");
    assert!(findings[0]["advice"].as_str().unwrap().contains("warm"));
    let to = format!("{}/copy", cold.location());
    cold.run(&["copy", "--to", &to]).is_one_clear_error(1, &says);
    // What is cold counts neither as damaged nor as verified.
    cold.freezer.proxy().take();
    cold.run(&["backup", &cold.source()]).expect(0);
    let stored = cold.freezer.proxy().take();
    let is_data = |seen: &e2e::proxy::Seen| seen.request.header("x-amz-storage-class").is_some();
    assert!(!stored.iter().any(is_data), "nothing is stored again");
    cold.freezer.thaw();
    let read = cold.run(&["check", "--read-data", "--json"]).expect(0).json();
    assert!(!read.iter().any(|line| line["type"] == "finding"), "{read:?}");
    assert!(read.last().unwrap()["bytes_read"].as_u64().unwrap() > world::BYTES);
}

#[test]
fn what_others_moved_to_cold_storage_is_warmed_on_request() {
    let cold = Cold::with_data_in("moved", None);
    cold.back_up();
    cold.forget_cache();
    assert_eq!(cold.freezer.packs(), 0);
    cold.restore("warm", &[]).expect(0);
    cold.is_source("warm");
    // As a rule of the bucket does with what is old.
    cold.freeze_large_packs();
    cold.forget_cache();
    cold.restore("back", &[]).is_one_clear_error(1, &["it is in cold storage", "strongroom restore --warm"]);
    assert!(cold.freezer.asked().is_empty());
    cold.freezer.warms_in(Duration::from_secs(1));
    std::fs::remove_dir_all(cold.world.path("back")).unwrap();
    cold.restore("back", &["--warm"]).expect(0);
    cold.is_source("back");
    assert_eq!(cold.freezer.asked().len(), cold.freezer.packs());
}

#[test]
fn the_class_can_be_changed_and_a_copy_has_its_own() {
    let cold = Cold::with_data_in("change", None);
    cold.run(&["settings", "--data-class", "GLACIER"]).expect(0);
    cold.back_up();
    assert!(cold.freezer.packs() > 1);
    let before = cold.freezer.packs();
    cold.run(&["settings", "--data-class", "none", "--json"]).expect(0);
    std::fs::write(cold.world.path("source/new"), e2e::noise(99, 1 << 20)).unwrap();
    cold.back_up();
    assert_eq!(cold.freezer.packs(), before, "new data is kept as everything else");
    // What was stored before is cold still, and that is known.
    cold.freezer.warms_in(Duration::ZERO);
    cold.restore("back", &[]).expect(0);
    assert_eq!(cold.freezer.asked().len(), before);
    let to = format!("{}/copy", cold.location());
    cold.run(&["copy", "--to", &to, "--data-class", "GLACIER", "--verify"])
        .is_one_clear_error(1, &["read back"]);
    cold.run(&["copy", "--to", &to, "--data-class", "GLACIER"]).expect(0);
    assert_eq!(cold.freezer.packs(), before * 2 + 1, "all data of the copy is in the class");
}

#[test]
fn a_class_that_is_not_there_is_one_clear_error() {
    let cold = Cold::with_data_in("wrong", Some("NO_SUCH_CLASS"));
    cold.run(&["backup", &cold.source()])
        .is_one_clear_error(1, &["cannot write packs/", "the server answered 400"]);
    let cold = Cold::without_vault("folder");
    let says = ["the store cannot do that", "this store has no storage classes"];
    cold.world.run(["init", "--data-class", "GLACIER"]).is_one_clear_error(1, &says);
    cold.world.run(["init"]).expect(0);
    cold.world.run(["settings", "--data-class", "GLACIER"]).is_one_clear_error(1, &says);
    let told = cold.world.run(["init", "--data-class", "GLA CIER"]).expect(2).stderr;
    assert!(told.contains("storage class"), "{told}");
}
