//! A server whose name is not found, and one that nobody reaches. The program runs in a mount namespace with an
//! `/etc/hosts` of its own, and with a resolver that is not there, so that the system's own look-up fails as it does
//! when DNS is gone. The proxy closes each connection after one request, so every request looks the name up.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use e2e::Outcome;
use e2e::trial::{AMPLE, Trial};

use crate::servers::{SWIFT, fresh, in_swift};

const NAME: &str = "127.0.0.1 swift.test\n";

/// The backup of a command, in a world where only the trial's `hosts` file knows names.
fn start(trial: &Trial, patience: u32) -> Child {
    let backup = trial.back_up_command(patience);
    let script =
        "mount --bind \"$HOSTS\" /etc/hosts && mount --bind \"$RESOLVER\" /etc/resolv.conf && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "bash", "-c", script, "bash"]).arg(backup.get_program()).args(backup.get_args());
    command.env_clear().envs(backup.get_envs().filter_map(|(name, value)| Some((name, value?))));
    fs::write(trial.world.path("resolver"), "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").unwrap();
    command.env("HOSTS", trial.world.path("hosts")).env("RESOLVER", trial.world.path("resolver"));
    command.env("ST_AUTH", format!("http://swift.test:{}/auth/v1.0", trial.proxy.port()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: Child) -> Outcome {
    child.wait_with_output().unwrap().into()
}

/// Waits until so many uploads began.
fn wait_for_uploads(trial: &Trial, count: usize) -> Vec<e2e::proxy::Seen> {
    let mut seen = Vec::new();
    while seen.iter().filter(|seen: &&e2e::proxy::Seen| seen.request.is("PUT", "/packs/")).count() < count {
        thread::sleep(Duration::from_millis(5));
        seen = trial.proxy.seen();
    }
    seen
}

#[test]
fn a_name_that_is_not_found_for_a_while_is_waited_for() {
    let service = SWIFT.get();
    let trial = in_swift(&service, &fresh("name"));
    // From the beginning, and again in the middle.
    fs::write(trial.world.path("hosts"), "").unwrap();
    let child = start(&trial, 60);
    thread::sleep(Duration::from_secs(3));
    assert!(trial.proxy.seen().is_empty(), "nobody found the server");
    fs::write(trial.world.path("hosts"), NAME).unwrap();
    wait_for_uploads(&trial, 1);
    fs::write(trial.world.path("hosts"), "").unwrap();
    thread::sleep(Duration::from_secs(3));
    fs::write(trial.world.path("hosts"), NAME).unwrap();
    end(child).expect(0);
    trial.has_lost_nothing(&trial.proxy.take());
}

#[test]
fn a_name_that_is_not_found_any_more_is_one_error() {
    let service = SWIFT.get();
    let container = fresh("name");
    let trial = in_swift(&service, &container);
    fs::write(trial.world.path("hosts"), NAME).unwrap();
    let child = start(&trial, 5);
    wait_for_uploads(&trial, 2);
    fs::write(trial.world.path("hosts"), "").unwrap();
    let says =
        ["cannot write ", &container, "does not answer now", "failed to lookup address", "try again later"];
    end(child).is_one_clear_error(1, &says);
    trial.recovers(&trial.proxy.take());
}

#[test]
fn a_server_that_nobody_reaches_for_a_while_is_waited_for() {
    let service = SWIFT.get();
    let trial = in_swift(&service, &fresh("away"));
    trial.proxy.open(false);
    let mut command = trial.back_up_command(AMPLE);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_secs(2));
    trial.proxy.open(true);
    wait_for_uploads(&trial, 1);
    trial.proxy.open(false);
    thread::sleep(Duration::from_secs(2));
    trial.proxy.open(true);
    end(child).expect(0);
    trial.has_lost_nothing(&trial.proxy.take());
}
