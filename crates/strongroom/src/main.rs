//! The command line of Strongroom: parses, composes, hands down.
//!
//! [`cli`] says what can be typed and whom it goes to; each verb has its file in [`commands`]; [`output`] is the only place that talks,
//! [`exit`] the only map of exit codes.

mod access;
mod cli;
mod commands;
mod exit;
mod failure;
mod global;
mod interrupt;
mod output;
mod passphrase;
mod progress_bar;
mod settings;
mod snapshot_argument;

use std::process::ExitCode;

/// A restore keeps many folders open at once. Many systems allow a process 1024 files unless it asks for what it may have.
fn allow_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// More than anything here opens.
    const ENOUGH: u64 = 64 << 10;
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    if limit.current.is_some_and(|current| current < wanted) {
        // Who may not goes on with less.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit });
    }
}

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { exit::USAGE.into() } else { exit::DONE.into() };
        }
    };
    interrupt::listen();
    allow_open_files();
    let output = output::Output::new(cli.global.json, cli.global.quiet, cli.verb.when_closed());
    let code = match cli.run(&output) {
        Ok(code) => code,
        Err(failure) => output.failure(&failure),
    };
    match output.finish() {
        Err(failure) if code == exit::DONE => output.failure(&failure).into(),
        _ => code.into(),
    }
}
