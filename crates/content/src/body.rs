//! A snapshot's sealed body: what the envelope does not say in public.
//!
//! ```text
//! layout (u8 = 1)  then fields until the end, each: tag (varint)  value (sized); unknown tags are ignored
//!  1 host (UTF-8)             2 user (UTF-8)              3 program and version (UTF-8)
//!  4 started (time)           5 finished (time)           6 one of the paths given (bytes; repeated)
//!  7 one tag (UTF-8; repeated) 8 one option: name (sized)  value (sized) (repeated)
//!  9 root: pack id (16)  segment, offset, length (varints): the page that holds the root's own entry
//! 10 statistics: count, then varints in the order of `Statistics`
//! 11 one problem: kind (u8)  path (sized)  message (sized, UTF-8) (repeated)
//! a time: seconds (signed varint)  nanoseconds (varint)
//! ```
//! The parts of a body are consecutive pieces of these bytes, each compressed and sealed like a segment.

use vault::PackId;
use vault::wire::{Malformed, Reader, Write};

use crate::chunk::Address;
use crate::tree::Time;

/// A body's raw bytes are never more than this.
pub const BODY_MAX: usize = 1 << 30;

const FIELD_MAX: usize = 16 << 20;

/// How a run went, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Things that are not directories and were not in the snapshot before.
    pub files_new: u64,
    /// Those whose content or metadata changed.
    pub files_changed: u64,
    /// Those taken over as they were.
    pub files_unchanged: u64,
    /// Directories.
    pub directories: u64,
    /// Sum of the sizes of all files in bytes.
    pub bytes_total: u64,
    /// Bytes read from files.
    pub bytes_read: u64,
    /// Bytes of chunks that the vault did not have, before compression.
    pub bytes_new: u64,
    /// Bytes written to the store.
    pub bytes_stored: u64,
    /// Chunks that the vault did not have.
    pub chunks_new: u64,
    /// Chunks read that the vault had.
    pub chunks_known: u64,
    /// Packs written.
    pub packs_new: u64,
}

impl Statistics {
    fn values(&self) -> [u64; 11] {
        [
            self.files_new,
            self.files_changed,
            self.files_unchanged,
            self.directories,
            self.bytes_total,
            self.bytes_read,
            self.bytes_new,
            self.bytes_stored,
            self.chunks_new,
            self.chunks_known,
            self.packs_new,
        ]
    }

    fn from_values(mut values: impl Iterator<Item = u64>) -> Self {
        let mut next = || values.next().unwrap_or(0);
        Self {
            files_new: next(),
            files_changed: next(),
            files_unchanged: next(),
            directories: next(),
            bytes_total: next(),
            bytes_read: next(),
            bytes_new: next(),
            bytes_stored: next(),
            chunks_new: next(),
            chunks_known: next(),
            packs_new: next(),
        }
    }
}

/// What went wrong with one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// It could not be read and is not in the snapshot, or not whole.
    Unreadable,
    /// It never held still while it was read; it is in the snapshot, marked.
    Changing,
    /// It was gone when it was to be read. A note, not an error.
    Vanished,
    /// Some of its metadata could not be read.
    Metadata,
}

impl ProblemKind {
    fn byte(self) -> u8 {
        match self {
            Self::Unreadable => 1,
            Self::Changing => 2,
            Self::Vanished => 3,
            Self::Metadata => 4,
        }
    }

    /// Whether it makes the run one that finished with problems.
    pub fn is_error(self) -> bool {
        matches!(self, Self::Unreadable | Self::Metadata)
    }
}

/// One path's problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind.
    pub kind: ProblemKind,
    /// The path, as raw bytes.
    pub path: Vec<u8>,
    /// What happened, in words.
    pub message: String,
}

/// The sealed part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The machine's name.
    pub host: String,
    /// Who ran the backup.
    pub user: String,
    /// The program and its version.
    pub program: String,
    /// When the run began.
    pub started: Time,
    /// When its tree was complete.
    pub finished: Time,
    /// The paths that were backed up.
    pub paths: Vec<Vec<u8>>,
    /// Labels.
    pub tags: Vec<String>,
    /// Options that shaped the result, such as excludes.
    pub options: Vec<(String, String)>,
    /// The page with the root's own entry.
    pub root: Address,
    /// Numbers.
    pub statistics: Statistics,
    /// Everything that did not go well.
    pub problems: Vec<Problem>,
}

impl Body {
    /// The stored form, before it is sealed.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![1];
        let mut field = |tag: u64, value: &[u8]| {
            out.varint(tag);
            out.sized(value);
        };
        field(1, self.host.as_bytes());
        field(2, self.user.as_bytes());
        field(3, self.program.as_bytes());
        field(4, &encode_time(self.started));
        field(5, &encode_time(self.finished));
        self.paths.iter().for_each(|path| field(6, path));
        self.tags.iter().for_each(|tag| field(7, tag.as_bytes()));
        for (name, value) in &self.options {
            let mut option = Vec::new();
            option.sized(name.as_bytes());
            option.sized(value.as_bytes());
            field(8, &option);
        }
        let mut root = self.root.pack.bytes().to_vec();
        for value in [self.root.segment, self.root.offset, self.root.length] {
            root.varint(u64::from(value));
        }
        field(9, &root);
        let values = self.statistics.values();
        let mut statistics = Vec::new();
        statistics.varint(values.len() as u64);
        values.iter().for_each(|value| statistics.varint(*value));
        field(10, &statistics);
        for problem in &self.problems {
            let mut value = vec![problem.kind.byte()];
            value.sized(&problem.path);
            value.sized(problem.message.as_bytes());
            field(11, &value);
        }
        out
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.u8("body layout")? != 1 {
            return Err(reader.malformed("body layout", "it is not known"));
        }
        let mut root = None;
        let mut body = Self {
            host: String::new(),
            user: String::new(),
            program: String::new(),
            started: Time::default(),
            finished: Time::default(),
            paths: Vec::new(),
            tags: Vec::new(),
            options: Vec::new(),
            root: Address { pack: PackId::default(), segment: 0, offset: 0, length: 0 },
            statistics: Statistics::default(),
            problems: Vec::new(),
        };
        while !reader.is_empty() {
            let tag = reader.varint("tag")?;
            let value = reader.sized("field", FIELD_MAX)?;
            let mut inner = Reader::new(value);
            match tag {
                1 => body.host = text(value),
                2 => body.user = text(value),
                3 => body.program = text(value),
                4 => body.started = decode_time(&mut inner)?,
                5 => body.finished = decode_time(&mut inner)?,
                6 => body.paths.push(value.to_vec()),
                7 => body.tags.push(text(value)),
                8 => {
                    let name = text(inner.sized("option", FIELD_MAX)?);
                    body.options.push((name, text(inner.sized("option", FIELD_MAX)?)));
                }
                9 => {
                    root = Some(Address {
                        pack: PackId::read(&mut inner, "root pack")?,
                        segment: inner.varint_u32("root segment")?,
                        offset: inner.varint_u32("root offset")?,
                        length: inner.varint_u32("root length")?,
                    });
                }
                10 => {
                    let count = inner.count("statistics", 1)?;
                    let values: Vec<u64> =
                        (0..count).map(|_| inner.varint("statistic")).collect::<Result<_, _>>()?;
                    body.statistics = Statistics::from_values(values.into_iter());
                }
                11 => body.problems.push(decode_problem(&mut inner)?),
                _ => {}
            }
        }
        body.root = root.ok_or_else(|| reader.malformed("root", "it is missing"))?;
        Ok(body)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn encode_time(time: Time) -> Vec<u8> {
    let mut out = Vec::new();
    out.signed(time.seconds);
    out.varint(u64::from(time.nanoseconds));
    out
}

fn decode_time(reader: &mut Reader<'_>) -> Result<Time, Malformed> {
    let seconds = reader.signed("seconds")?;
    Ok(Time { seconds, nanoseconds: reader.varint_max("nanoseconds", 999_999_999)? as u32 })
}

fn decode_problem(reader: &mut Reader<'_>) -> Result<Problem, Malformed> {
    let kind = match reader.u8("problem")? {
        2 => ProblemKind::Changing,
        3 => ProblemKind::Vanished,
        4 => ProblemKind::Metadata,
        _ => ProblemKind::Unreadable,
    };
    let path = reader.sized("path", FIELD_MAX)?.to_vec();
    Ok(Problem { kind, path, message: text(reader.sized("message", FIELD_MAX)?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_body_comes_back(host: String, paths: Vec<Vec<u8>>, tags: Vec<String>, seconds: i64, files_new: u64, message: String) {
            let body = Body {
                host,
                user: "root".into(),
                program: "strongroom".into(),
                started: Time { seconds, nanoseconds: 3 },
                finished: Time { seconds: 5, nanoseconds: 999_999_999 },
                problems: vec![Problem { kind: ProblemKind::Vanished, path: vec![0xff], message }],
                options: tags.iter().map(|tag| (tag.clone(), tag.clone())).collect(),
                paths,
                tags,
                root: Address { pack: PackId::new([1; 16]), segment: 3, offset: 70000, length: 9 },
                statistics: Statistics { files_new, packs_new: 7, ..Statistics::default() },
            };
            prop_assert_eq!(Body::decode(&body.encode()).unwrap(), body);
        }

        #[test]
        fn any_bytes_decode_or_fail_in_words(bytes: Vec<u8>) {
            let mut near = vec![1];
            near.extend_from_slice(&bytes);
            let _ = Body::decode(&near);
        }
    }
}
