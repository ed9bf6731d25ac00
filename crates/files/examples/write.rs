//! Writes many small files with their metadata, as a restore does, and prints how long it took; for
//! profiling.
//!
//! `cargo run --release -p files --example write -- FOLDER [COUNT [THREADS]]`

use std::error::Error;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use files::{ApplyOptions, Details, Kind, Stat, Target, TargetError, Timestamp};

/// How many files go into one folder.
const IN_ONE_FOLDER: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("give a folder to write into")?);
    let mut number = |otherwise: usize| match arguments.next() {
        Some(text) => text.to_str().ok_or("not a number")?.parse().map_err(Box::<dyn Error>::from),
        None => Ok(otherwise),
    };
    let count: usize = number(100_000)?;
    let threads: usize = number(1)?;

    let target = Target::open(&folder, true)?;
    let begun = Instant::now();
    thread::scope(|scope| {
        let target = &target;
        let running: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || write(target, thread, count / threads))).collect();
        running.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    #[allow(clippy::print_stdout)] // an example may
    {
        println!("{count} files with {threads} threads in {:.3} s", begun.elapsed().as_secs_f64());
    }
    Ok(())
}

fn write(target: &Target, thread: usize, count: usize) -> Result<(), TargetError> {
    let options = ApplyOptions::default();
    let owner = files::machine::user_id();
    let modified = Timestamp { seconds: 1_000_000_000, nanoseconds: 1 };
    let file_stat = Stat { mode: 0o644, uid: owner, modified, ..Stat::default() };
    let folder_stat = Stat { kind: Kind::Directory, mode: 0o755, ..file_stat };
    let details = Details::default();
    let top = target.root().folder(format!("thread-{thread}").as_bytes())?;
    for first in (0..count).step_by(IN_ONE_FOLDER) {
        let folder = top.folder(format!("{first}").as_bytes())?;
        for number in first..count.min(first + IN_ONE_FOLDER) {
            let file = folder.create_file_like(format!("file-{number}").as_bytes(), &file_stat)?;
            file.write_at(0, &[b'x'; 1000])?;
            file.apply(&file_stat, &details, &options);
        }
        folder.apply_to_self(&folder_stat, &details, &options);
    }
    Ok(())
}
