//! `completions` and `man`: generated from the same definitions as the command line itself.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};

use crate::cli::Cli;
use crate::exit::{self, Code};
use crate::output::{Failure, Output};

/// Writes a completion script for a shell to standard output.
#[derive(Args, Debug)]
pub struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Completions {
    pub fn run(&self, _output: &Output) -> Result<Code, Failure> {
        clap_complete::generate(self.shell, &mut Cli::command(), "strongroom", &mut std::io::stdout());
        Ok(exit::DONE)
    }
}

/// Writes the manual pages, one for each verb, into a folder.
#[derive(Args, Debug)]
pub struct Man {
    /// The folder, made when missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Man {
    pub fn run(&self, output: &Output) -> Result<Code, Failure> {
        let fail = |error| Failure::file(&self.folder, "written", error);
        std::fs::create_dir_all(&self.folder).map_err(fail)?;
        let command = Cli::command();
        let mut pages = 1;
        write(&self.folder, "strongroom".into(), command.clone())?;
        for verb in command.get_subcommands() {
            let name = format!("strongroom-{}", verb.get_name());
            write(&self.folder, name.clone(), verb.clone().name(name.clone()))?;
            pages += 1;
        }
        output.say(&format!("Wrote {pages} manual pages into {}.", self.folder.display()));
        Ok(exit::DONE)
    }
}

fn write(folder: &Path, name: String, command: clap::Command) -> Result<(), Failure> {
    let path = folder.join(format!("{name}.1"));
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command.display_name(name)).render(&mut page);
    rendered
        .and_then(|()| std::fs::write(&path, page))
        .map_err(|error| Failure::file(&path, "written", error))
}
