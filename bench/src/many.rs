//! The corpus *many*: small text files, about 100 in a folder, two levels deep.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::random::Random;
use crate::text::Vocabulary;
use crate::{at, make_empty_folder};

const FILES_IN_A_FOLDER: u64 = 100;
const SIZE_MEDIAN: f64 = 900.0;
/// Makes the mean about 1.75 KB.
const SIZE_SIGMA: f64 = 1.15;
const SIZE_MAX: f64 = 4_000_000.0;
/// The files look some years old, the same on every run.
const MODIFIED_SECONDS: u64 = 1_600_000_000;

/// Makes the corpus; returns what to say about it.
pub fn make(folder: &Path, files: u64, seed: u64) -> io::Result<String> {
    make_empty_folder(folder)?;
    let vocabulary = Vocabulary::new(seed);
    let folders = files.div_ceil(FILES_IN_A_FOLDER).max(1);
    let upper = (folders as f64).sqrt().ceil() as u64;
    let mut bytes_total = 0;
    let mut current = PathBuf::new();
    for number in 0..files {
        if number % FILES_IN_A_FOLDER == 0 {
            let leaf = number / FILES_IN_A_FOLDER;
            current = folder.join(name(&vocabulary, seed, leaf % upper, "")).join(name(
                &vocabulary,
                seed,
                leaf,
                "",
            ));
            fs::create_dir_all(&current).map_err(at(&current))?;
        }
        let (ending, bytes) = content(&vocabulary, seed, number);
        let path = current.join(name(&vocabulary, seed, number, ending));
        write(&path, &bytes, number).map_err(at(&path))?;
        bytes_total += bytes.len();
    }
    Ok(format!("{files} files, {bytes_total} bytes in {}", folder.display()))
}

fn write(path: &Path, bytes: &[u8], number: u64) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(MODIFIED_SECONDS + number))
}

/// The ending and the text of one file, from its number alone.
pub fn content(vocabulary: &Vocabulary, seed: u64, number: u64) -> (&'static str, Vec<u8>) {
    let mut random = Random::new(seed, number);
    let size = random.log_normal(SIZE_MEDIAN, SIZE_SIGMA).clamp(1.0, SIZE_MAX) as usize;
    vocabulary.text(&mut random, size)
}

/// Two words and the number, so that no two are the same.
fn name(vocabulary: &Vocabulary, seed: u64, number: u64, ending: &str) -> String {
    let mut random = Random::new(seed ^ 0x6e61_6d65, number);
    let first = vocabulary.word(&mut random).to_owned();
    let second = vocabulary.word(&mut random);
    let dot = if ending.is_empty() { "" } else { "." };
    format!("{first}-{second}-{number}{dot}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_files_and_a_filled_folder_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| scratch.path().join(name));
        for folder in [&a, &b] {
            make(folder, 250, 7).unwrap();
        }
        let listing = |folder: &Path| {
            let files = crate::change::files_below(folder).unwrap();
            files.into_iter().map(|file| (fs::read(folder.join(&file)).unwrap(), file)).collect::<Vec<_>>()
        };
        assert_eq!(listing(&a).len(), 250);
        assert_eq!(listing(&a), listing(&b));
        assert!(make(&a, 1, 7).is_err());
    }
}
