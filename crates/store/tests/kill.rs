//! A writer killed with signal 9 at any moment leaves whole objects only, and every object it had confirmed.
//!
//! This file has its own `main`: started by cargo it is the test; started by itself with a folder as its argument
//! it is the writer that gets killed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use store::{FolderStore, Store};

/// Tells the test's own arguments from those of the test runner.
const WRITER: &str = "--write-until-killed";

const ROUNDS: usize = 16;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let arguments: Vec<String> = std::env::args().collect();
    match &arguments[1..] {
        [flag, folder, round] if flag == WRITER => runtime.block_on(write(Path::new(folder), round)),
        _ => {
            runtime.block_on(kill_and_look())?;
            let mut out = std::io::stdout();
            writeln!(out, "test a_killed_writer_leaves_whole_objects ... ok\n\n1 passed, 0 failed")?;
            Ok(())
        }
    }
}

/// An object that says how long it is.
fn object(length: u32) -> Vec<Bytes> {
    let body = Bytes::from(length.to_le_bytes().repeat(length as usize / 8));
    vec![body.clone(), body]
}

fn is_whole(bytes: &[u8]) -> bool {
    let length = bytes.len() as u32;
    length > 0 && bytes.chunks(4).all(|word| word == length.to_le_bytes())
}

/// Writes for ever, and says which objects are confirmed.
async fn write(folder: &Path, round: &str) -> Result<(), Failure> {
    let store = FolderStore::open(folder)?;
    for number in 0.. {
        let name = format!("packs/{:02x}/{round}-{number}", number % 5);
        store.put(&name, object(100_000 + number % 7 * 30_000)).await?;
        // Large and ready, so that the kill comes while it is written.
        let next = object(8_000_000 + number % 7 * 80_000);
        writeln!(std::io::stdout(), "{name}")?;
        store.replace("mutable", next).await?;
    }
    Ok(())
}

async fn kill_and_look() -> Result<(), Failure> {
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path().join("store");
    let store = FolderStore::create(&folder)?;
    let mut confirmed = Vec::new();
    let mut interrupted = 0;
    for round in 0..ROUNDS {
        confirmed.extend(write_until_killed(&folder, round)?);
        let listed = store.list("").await?;
        for info in &listed {
            let bytes = store.get(&info.name, u64::MAX).await?;
            assert!(is_whole(&bytes), "{} has {} bytes after a kill", info.name, bytes.len());
            assert!(!info.name.starts_with("tmp"), "{} is listed", info.name);
        }
        for name in &confirmed {
            assert!(listed.iter().any(|info| &info.name == name), "{name} was confirmed and is not there");
        }
        interrupted = unfinished(&folder)?;
    }
    assert!(interrupted > 0, "no kill met a write half done: the test has shown nothing");

    // What is left is kept while it may belong to a living writer, and removed later.
    let left = || std::fs::read_dir(folder.join("tmp"));
    FolderStore::open(&folder)?;
    assert_eq!(left()?.count(), interrupted, "fresh temporary files were removed");
    let two_days_ago = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
    for entry in left()? {
        std::fs::File::options().write(true).open(entry?.path())?.set_modified(two_days_ago)?;
    }
    FolderStore::open(&folder)?;
    assert_eq!(left()?.count(), 0, "stale temporary files were kept");
    Ok(())
}

fn unfinished(folder: &Path) -> Result<usize, Failure> {
    Ok(std::fs::read_dir(folder.join("tmp"))?.count())
}

/// Starts a writer, waits for a few confirmations and kills it. Returns what it confirmed.
fn write_until_killed(folder: &Path, round: usize) -> Result<Vec<String>, Failure> {
    let mut writer = Command::new(std::env::current_exe()?)
        .arg(WRITER)
        .arg(folder)
        .arg(round.to_string())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = writer.stdout.take().ok_or("the writer has no output")?;
    let mut lines = BufReader::new(output).lines();
    let mut confirmed = Vec::new();
    for line in lines.by_ref().take(1 + round % 4) {
        confirmed.push(line?);
    }
    // Right after a confirmation, or when the next write has begun, by turns.
    let begun_before = unfinished(folder)?;
    while round % 2 == 1 && unfinished(folder)? == begun_before && writer.try_wait()?.is_none() {
        std::hint::spin_loop();
    }
    writer.kill()?;
    let status = writer.wait()?;
    assert!(!status.success() && confirmed.len() == 1 + round % 4, "the writer ended by itself: {status}");
    // Lines that were on their way when it died are confirmations too.
    for line in lines {
        confirmed.push(line?);
    }
    Ok(confirmed)
}
