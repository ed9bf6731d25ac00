//! Walks the given paths and prints what it met and how long it took; for profiling.
//!
//! `cargo run --release -p files --example walk -- [--threads N] [--details] PATH...`

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use files::{Step, Walk, WalkOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = WalkOptions::default();
    let mut details = false;
    let mut roots = Vec::new();
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--threads") => {
                let count = arguments.next().ok_or("--threads needs a number")?;
                options.threads = count.to_str().ok_or("--threads needs a number")?.parse()?;
            }
            Some("--details") => details = true,
            _ => roots.push(PathBuf::from(argument)),
        }
    }
    let begun = Instant::now();
    let mut walk = Walk::start(&roots, options)?;
    let (mut directories, mut others, mut problems, mut bytes, mut attributes) =
        (0u64, 0u64, 0u64, 0u64, 0u64);
    for step in walk.by_ref() {
        let entry = match step {
            Step::Enter(entry) => {
                directories += 1;
                entry
            }
            Step::Item(entry) => {
                others += 1;
                bytes += entry.stat.size;
                entry
            }
            Step::Leave => continue,
            Step::Problem { path, error } => {
                problems += 1;
                eprintln!("{}: {error}", path.display());
                continue;
            }
        };
        if details {
            attributes += entry.details()?.xattrs.len() as u64;
        }
    }
    #[allow(clippy::print_stdout)] // an example may
    {
        println!(
            "{directories} directories, {others} others, {bytes} bytes, {attributes} attributes, {problems} problems, {:?}, in {:.3} s",
            walk.counts(),
            begun.elapsed().as_secs_f64()
        );
    }
    Ok(())
}
