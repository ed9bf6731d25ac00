//! The floors hold: a crate uses only crates below it, and the custodian's crate links no key code.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Which floor a crate of the workspace is on; dependencies must be on a lower one.
const FLOORS: [(&str, u32); 6] =
    [("store", 0), ("files", 0), ("vault", 1), ("content", 2), ("backup", 3), ("strongroom", 5)];

/// Crates that can open or make sealed bytes, derive keys or sign.
const KEY_CODE: [&str; 8] =
    ["content", "aws-lc-rs", "aws-lc-sys", "argon2", "hpke", "x-wing", "aes-gcm", "zstd"];

struct Workspace {
    names: BTreeMap<String, String>,
    members: BTreeSet<String>,
    /// Normal dependencies by package id.
    uses: BTreeMap<String, BTreeSet<String>>,
}

fn workspace() -> Workspace {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = |value: &Value| value.as_array().unwrap().clone();
    let names = list(&metadata["packages"]).iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
    let members = list(&metadata["workspace_members"]).iter().map(text).collect();
    let is_normal = |dep: &Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
    let uses = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let deps = list(&node["deps"]).into_iter().filter(is_normal).map(|dep| text(&dep["pkg"]));
            (text(&node["id"]), deps.collect())
        })
        .collect();
    Workspace { names, members, uses }
}

#[test]
fn every_arrow_points_down() {
    let workspace = workspace();
    let floors: BTreeMap<_, _> = FLOORS.into_iter().collect();
    for member in &workspace.members {
        let name = workspace.names[member].as_str();
        let Some(floor) = floors.get(name) else {
            assert!(["e2e", "services", "bench", "sim"].contains(&name), "{name} has no floor: give it one");
            continue;
        };
        for used in workspace.uses[member].intersection(&workspace.members) {
            let used = workspace.names[used].as_str();
            let below = floors.get(used).unwrap_or_else(|| panic!("{name} uses {used}, which has no floor"));
            assert!(below < floor, "{name} (floor {floor}) uses {used} (floor {below})");
        }
    }
    for (name, _) in FLOORS {
        assert!(workspace.members.iter().any(|member| workspace.names[member] == name), "{name} is gone");
    }
}

#[test]
fn the_custodian_s_crate_links_no_key_code() {
    let workspace = workspace();
    let vault = workspace.members.iter().find(|member| workspace.names[*member] == "vault").unwrap();
    let linked = |stop: &str| -> BTreeSet<&str> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![vault.clone()]);
        while let Some(package) = open.pop() {
            if workspace.names[&package] != stop && seen.insert(package.clone()) {
                open.extend(workspace.uses[&package].iter().cloned());
            }
        }
        seen.iter().map(|package| workspace.names[package].as_str()).collect()
    };
    let without_stores = linked("store");
    let all = linked("");
    for name in KEY_CODE {
        assert!(!without_stores.contains(name), "vault links {name}");
        // Stores speak TLS: with keys of connections, not of vaults.
        assert!(!all.contains(name) || name.starts_with("aws-lc"), "a store brings {name} to vault");
    }
    assert!(
        without_stores.contains("ed25519-dalek"),
        "it verifies signatures, so the walk over packages works"
    );
    assert!(all.contains("store") && !without_stores.contains("store"));
}

#[test]
fn content_knows_no_path_of_the_machine_s_files_and_files_knows_no_vault() {
    let workspace = workspace();
    let uses = |name: &str| -> BTreeSet<&str> {
        let member = workspace.members.iter().find(|member| workspace.names[*member] == name).unwrap();
        workspace.uses[member].iter().map(|used| workspace.names[used].as_str()).collect()
    };
    assert!(!uses("content").contains("files"));
    assert!(uses("files").is_disjoint(&BTreeSet::from(["vault", "store", "content"])));
}
