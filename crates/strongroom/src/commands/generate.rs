//! `completions` and `man`: generated from the same definitions as the command line itself.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::output::{self, Output};

/// Write a completion script for a shell
///
/// How to install it is the shell's matter; for bash: `strongroom completions bash > /etc/bash_completion.d/strongroom`.
#[derive(Args, Debug)]
pub struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Completions {
    /// `command` is what the script completes.
    pub fn run(&self, mut command: clap::Command, output: &Output) -> Result<Code, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "strongroom", &mut script);
        let script = String::from_utf8_lossy(&script).into_owned();
        if output.json {
            output
                .event(&json!({ "type": "completions", "shell": self.shell.to_string(), "script": script }));
            output.summary("completions", exit::DONE, json!({}));
        } else {
            output.raw(&script);
        }
        Ok(exit::DONE)
    }
}

/// Write the manual pages into a folder
///
/// One for each verb, generated from what `--help` shows.
#[derive(Args, Debug)]
pub struct Man {
    /// The folder, made when missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Man {
    /// `command` is what the pages describe.
    pub fn run(&self, command: &clap::Command, output: &Output) -> Result<Code, Failure> {
        let fail = |error| Failure::file(&self.folder, "made", &error);
        std::fs::create_dir_all(&self.folder).map_err(fail)?;
        let mut pages = vec![command.clone().name("strongroom")];
        for verb in command.get_subcommands() {
            let name = format!("strongroom-{}", verb.get_name());
            for inner in verb.get_subcommands() {
                pages.push(inner.clone().name(format!("{name}-{}", inner.get_name())));
            }
            pages.push(verb.clone().name(name));
        }
        for page in &pages {
            self.write(page.clone())?;
        }
        output.say(&format!(
            "Wrote {} into {}.",
            output::count(pages.len() as u64, "manual page"),
            self.folder.display()
        ));
        output.summary("man", exit::DONE, json!({ "pages": pages.len() }));
        Ok(exit::DONE)
    }

    fn write(&self, command: clap::Command) -> Result<(), Failure> {
        let name = command.get_name().to_owned();
        let path = self.folder.join(format!("{name}.1"));
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(command.display_name(name)).render(&mut page);
        rendered
            .and_then(|()| std::fs::write(&path, page))
            .map_err(|error| Failure::file(&path, "written", &error))
    }
}
