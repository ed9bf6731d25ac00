//! A machine's files, and what a day does to them: made from a seed, so that any day can be made again.

use std::path::{Path, PathBuf};

/// Bytes that a day changes, adds or removes, in shares of all.
const CHURN: f64 = 0.01;
const SMALL_FILES: usize = 500;
const FOLDERS: usize = 20;
const MEDIUM_FILES: usize = 8;
const LARGE_FILES: usize = 1;
const LARGE: usize = 4 << 20;

/// Numbers that look random and follow from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Small ones often, large ones seldom: from 300 bytes to 70 KiB, on average 9 KiB.
    fn small_size(&mut self) -> usize {
        let octave = self.below(4) + self.below(5);
        (300 << octave) + self.below(300 << octave)
    }
}

/// A file's content: half of them text, which shrinks to a third or so, half of them bytes that do not shrink.
fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    if seed.is_multiple_of(2) {
        out.iter_mut().for_each(|byte| *byte = b"etaoin shrdlu\nET"[usize::from(*byte & 15)]);
        let words = out.clone();
        // Words come again.
        for (at, word) in out.chunks_mut(8).enumerate().filter(|(at, _)| at % 3 != 0) {
            let from = (at * 8 / 5) % words.len().saturating_sub(8).max(1);
            word.copy_from_slice(words.get(from..from + word.len()).unwrap_or_default());
        }
    }
    out
}

struct File {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// The files as they are after so many days.
pub struct Corpus {
    top: PathBuf,
    files: Vec<File>,
    dice: Dice,
    named: usize,
}

impl Corpus {
    /// The files of the first day, written below `top`.
    pub fn plant(top: &Path) -> Self {
        let dice = Dice(2);
        let mut corpus = Self { top: top.to_owned(), files: Vec::new(), dice, named: 0 };
        for folder in 0..FOLDERS {
            std::fs::create_dir_all(top.join(format!("folder-{folder:02}"))).unwrap();
        }
        for _ in 0..SMALL_FILES {
            let size = corpus.dice.small_size();
            corpus.add(size);
        }
        for _ in 0..MEDIUM_FILES {
            let size = (100 << 10) + corpus.dice.below(400 << 10);
            corpus.add(size);
        }
        (0..LARGE_FILES).for_each(|_| corpus.add(LARGE));
        corpus
    }

    /// All bytes of all files.
    pub fn size(&self) -> usize {
        self.files.iter().map(|file| file.bytes.len()).sum()
    }

    fn add(&mut self, size: usize) {
        let folder = self.dice.below(FOLDERS);
        let path = self.top.join(format!("folder-{folder:02}/file-{:05}", self.named));
        self.named += 1;
        self.files.push(File { path, bytes: content(self.dice.next(), size) });
        self.write(self.files.len() - 1);
    }

    fn write(&self, place: usize) {
        let File { path, bytes } = &self.files[place];
        std::fs::write(path, bytes).unwrap();
    }

    /// What happens in a day: files are written anew, added, removed and edited within, until enough bytes have changed.
    /// Most of it happens to few files: four fifths to a fifth.
    pub fn live_a_day(&mut self) {
        let most = (self.size() as f64 * CHURN) as usize;
        let mut changed = 0;
        while changed < most {
            let count = self.files.len();
            let place = match self.dice.below(5) {
                0 => self.dice.below(count),
                _ => self.dice.below(count / 5) * 5,
            };
            let size = self.files[place].bytes.len();
            changed += match (size, self.dice.below(8)) {
                (LARGE.., _) | (65_536.., 0..6) => {
                    let edit = (4 << 10) + self.dice.below(8 << 10);
                    let at = self.dice.below(size - edit);
                    let new = content(self.dice.next(), edit);
                    self.files[place].bytes[at..at + edit].copy_from_slice(&new);
                    self.write(place);
                    edit
                }
                (_, 0) => {
                    let gone = self.files.remove(place);
                    std::fs::remove_file(gone.path).unwrap();
                    let new = self.dice.small_size();
                    self.add(new);
                    size + new
                }
                // Something is added to it, as to a log.
                (..65_536, 1..3) => {
                    let more = self.dice.below(2000);
                    let new = content(self.dice.next(), more);
                    self.files[place].bytes.extend_from_slice(&new);
                    self.write(place);
                    more
                }
                _ => {
                    self.files[place].bytes = content(self.dice.next(), size);
                    self.write(place);
                    size
                }
            };
        }
    }
}
