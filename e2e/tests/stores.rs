//! The whole program with its vault on real servers, as a user runs it: the settings are in the environment.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use e2e::oracle::{assert_same, look};
use e2e::{Outcome, World, plant};
use services::Service;

/// A world whose vault is somewhere else.
struct Remote {
    world: World,
    location: String,
    settings: Vec<(String, String)>,
}

impl Remote {
    fn new(service: &Service, location: &str, names: &[&str]) -> Self {
        let settings =
            names.iter().map(|name| ((*name).to_owned(), service.setting(name).to_owned())).collect();
        Self { world: World::new(), location: location.to_owned(), settings }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command(arguments);
        command.env("STRONGROOM_VAULT", &self.location).envs(self.settings.iter().cloned());
        command
    }

    #[track_caller]
    fn run(&self, arguments: &[&str], code: i32) -> Outcome {
        Outcome::from(self.command(arguments).output().unwrap()).expect(code)
    }

    /// From no vault to a restore that equals the source, and what is said on the way.
    fn whole_round(&self) {
        assert!(self.run(&["snapshots"], 10).stderr.contains(&self.location));
        let made = self.run(&["init"], 0).stderr;
        assert!(made.contains("which was missing"), "{made}");
        self.run(&["init"], 1);
        let tried = self.run(&["store", "test"], 0).stdout;
        assert!(!tried.contains("FAILED") && tried.contains("list objects"), "{tried}");
        let stats = self.run(&["stats"], 0).stdout;
        for line in [
            "tested just now; creates conditionally; lists at once; no object lock; versioning off; gives grants",
            "whoever holds this store's credential can delete the vault",
        ] {
            assert!(
                tried.contains(line.trim_start_matches("tested just now; ")) && stats.contains(line),
                "{stats}"
            );
        }
        plant::everything(&self.world.path("source"));
        let before = look(&self.world.path("source"));
        let source = self.world.text("source");
        self.run(&["backup", &source], 0);
        self.run(&["backup", &source], 0);
        assert_eq!(self.run(&["snapshots", "--json"], 0).json().len(), 3, "two snapshots and a summary");
        let part = format!("latest:{source}");
        let target = self.world.text("back");
        self.run(&["restore", &part, "--target", &target, "--verify", "--limit-download", "1G"], 0);
        assert_same(&before, &look(&self.world.path("back")));
        // Without the cache of this machine it is the same.
        std::fs::remove_dir_all(self.world.path("home")).unwrap();
        self.run(&["check", "--read-data"], 0);
        let target = self.world.text("back again");
        self.run(&["restore", &part, "--target", &target], 0);
        assert_same(&before, &look(&self.world.path("back again")));
    }

    /// What `name` set to `value`, or not set at all, makes of a command.
    fn run_with(&self, name: &str, value: Option<&str>) -> Outcome {
        let mut command = self.command(&["snapshots"]);
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
        Outcome::from(command.output().unwrap()).expect(1)
    }
}

#[test]
fn a_vault_in_swift() {
    let service = Service::start("swift");
    let remote = Remote::new(&service, "swift://vaults/web1", &["ST_AUTH", "ST_USER", "ST_KEY"]);
    remote.whole_round();
    assert!(remote.run_with("ST_KEY", Some("wrong")).stderr.contains("check ST_AUTH, ST_USER and ST_KEY"));
    assert!(remote.run_with("ST_KEY", None).stderr.contains("ST_KEY is not set"));
    // Who may only read hears what is missing, and can still restore.
    let script = "token=$(curl -fsSi -H \"X-Auth-User: $ST_USER\" -H \"X-Auth-Key: $ST_KEY\" \"$ST_AUTH\" | \
         tr -d '\\r' | sed -n 's/^X-Auth-Token: //Ip') && curl -fsS -X POST -H \"X-Auth-Token: $token\" \
         -H 'X-Container-Read: test:reader,.rlistings' \"$STORAGE_URL/vaults\"";
    let mut grant = Command::new("bash");
    grant.args(["-c", script]).env("STORAGE_URL", service.setting("STORAGE_URL"));
    assert!(grant.envs(remote.settings.iter().cloned()).status().unwrap().success());
    let reader = |arguments: &[&str]| -> Outcome {
        let mut command = remote.command(arguments);
        command.env("ST_USER", service.setting("READER_USER")).env("ST_KEY", service.setting("READER_KEY"));
        command.output().unwrap().into()
    };
    let tried = reader(&["store", "test"]).expect(1).stdout;
    assert!(tried.contains("FAILED  write a new object: permission denied"), "{tried}");
    assert!(tried.contains("write ACL"), "{tried}");
    let part = format!("latest:{}", remote.world.text("source"));
    reader(&["restore", &part, "--target", &remote.world.text("read only")]).expect(0);
    let refused = reader(&["backup", &remote.world.text("source")]).expect(1).stderr;
    assert!(refused.contains("permission denied"), "{refused}");
}

#[test]
fn a_vault_in_s3() {
    let service = Service::start("ceph");
    let names = ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"];
    let remote = Remote::new(&service, "s3://made-by-init/web1", &names);
    remote.whole_round();
    let wrong = remote.run_with("AWS_SECRET_ACCESS_KEY", Some("mistyped-secret")).stderr;
    assert!(wrong.contains("permission denied") && !wrong.contains("mistyped"), "{wrong}");
}
