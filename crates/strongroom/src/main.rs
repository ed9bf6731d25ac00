//! The command line of Strongroom: parses, composes, hands down.

mod access;
mod cli;
mod commands;
mod exit;
mod output;
mod progress_bar;
mod settings;
mod snapshot_argument;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // The local time zone can be read only while there is one thread.
    output::learn_time_zone();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { exit::USAGE.into() } else { exit::DONE.into() };
        }
    };
    let output = output::Output::new(&cli.global);
    match commands::run(cli, &output) {
        Ok(code) => code.into(),
        Err(failure) => output.failure(&failure).into(),
    }
}
