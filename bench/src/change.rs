//! What happens to a tree between two backups: 1 % of the files edited, 0.2 % deleted, 300 new.

use std::fs::{self, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::at;
use crate::random::Random;
use crate::text::Vocabulary;

const EDITED: f64 = 0.01;
const DELETED: f64 = 0.002;
const ADDED: u64 = 300;

/// Changes the tree; returns what to say about it.
pub fn change(folder: &Path, seed: u64) -> io::Result<String> {
    let vocabulary = Vocabulary::new(seed);
    let mut files = files_below(folder)?;
    // A random order that depends on the paths and the seed only, and from it the first few.
    files.sort_by_cached_key(|path| Random::for_bytes(seed, path.as_os_str().as_bytes()).next());
    let share = |share: f64| (files.len() as f64 * share).round() as usize;
    let (edited, rest) = files.split_at(share(EDITED));
    let (deleted, kept) = rest.split_at(share(DELETED).min(rest.len()));
    for file in edited {
        let mut random = Random::for_bytes(seed ^ 1, file.as_os_str().as_bytes());
        let path = folder.join(file);
        insert(&path, &mut random, &vocabulary).map_err(at(&path))?;
    }
    for file in deleted {
        let path = folder.join(file);
        fs::remove_file(&path).map_err(at(&path))?;
    }
    for number in 0..ADDED {
        let mut random = Random::new(seed ^ 2, number);
        let beside = kept.get(random.below(kept.len()));
        let parent = beside.and_then(|file| file.parent()).unwrap_or(Path::new(""));
        let size = random.log_normal(4000.0, 1.0).clamp(1.0, 1e6) as usize;
        let (ending, bytes) = vocabulary.text(&mut random, size);
        let path = folder.join(parent).join(format!("added-{seed}-{number}.{ending}"));
        fs::write(&path, bytes).map_err(at(&path))?;
    }
    Ok(format!("{} edited, {} deleted, {ADDED} added in {}", edited.len(), deleted.len(), folder.display()))
}

/// Inserts 1 to 5 KB at a random place; what lies behind it moves.
fn insert(path: &Path, random: &mut Random, vocabulary: &Vocabulary) -> io::Result<()> {
    let bytes = fs::read(path)?;
    let place = random.below(bytes.len() + 1);
    let length = 1000 + random.below(4000);
    let (_, text) = vocabulary.text(random, length);
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(place as u64))?;
    file.write_all(&text)?;
    file.write_all(bytes.get(place..).unwrap_or_default())
}

/// The regular files below a folder that have one name only, relative to it, in the order of their names.
pub fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(relative) = folders.pop() {
        let absolute = folder.join(&relative);
        for entry in fs::read_dir(&absolute).map_err(at(&absolute))? {
            let entry = entry.map_err(at(&absolute))?;
            let metadata = entry.metadata().map_err(at(&absolute))?;
            let path = relative.join(entry.file_name());
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() && metadata.nlink() == 1 {
                files.push(path);
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = files_below(folder).unwrap();
        files.into_iter().map(|file| (file.clone(), fs::read(folder.join(file)).unwrap())).collect()
    }

    #[test]
    fn the_same_seed_changes_the_same_bytes() {
        let scratch = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| scratch.path().join(name));
        for folder in [&a, &b] {
            crate::many::make(folder, 2000, 7).unwrap();
        }
        let before = contents(&a);
        for folder in [&a, &b] {
            change(folder, 3).unwrap();
        }
        let after = contents(&a);
        assert_eq!(after, contents(&b));
        let edited = before.iter().filter(|(path, bytes)| after.get(*path).is_some_and(|now| now != *bytes));
        for (path, bytes) in edited.clone() {
            let grown = after[path].len() - bytes.len();
            assert!((1000..5000).contains(&grown), "{grown} bytes were inserted");
        }
        let deleted = before.keys().filter(|path| !after.contains_key(*path)).count();
        assert_eq!((edited.count(), deleted, after.len()), (20, 4, 2000 - 4 + 300));
    }
}
