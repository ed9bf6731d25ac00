//! `ls`: what is in a snapshot.

use std::ffi::OsString;

use ::backup::{Reader, TreeStep};
use clap::Args;
use content::tree::{Entry, Node};
use serde_json::{Value, json};

use crate::access::{self, Limits};
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};
use crate::snapshot_argument::{Narrow, SnapshotArgument};

const CACHE: usize = 16 << 20;

/// List what is in a snapshot
///
/// Without a path: what is at the top.
#[derive(Args, Debug)]
pub struct Ls {
    /// The snapshot, or SNAPSHOT:PATH
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    snapshot: OsString,
    /// Show mode, owner, size and time
    #[arg(long, short)]
    long: bool,
    /// Go into folders
    #[arg(long, short)]
    recursive: bool,
    #[command(flatten)]
    narrow: Narrow,
}

impl Ls {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let vault = access::open_to_read(global, Limits::default())?;
        let argument = SnapshotArgument::parse(&self.snapshot);
        let snapshot = argument.find(&vault, &self.narrow)?;
        let reader = Reader::new(&vault, CACHE);
        let start = argument.entry(&reader, &snapshot)?;
        let mut walk = reader.walk(start, &argument.path);
        let mut depth = 0usize;
        let mut entries = 0u64;
        let mut show = |path: &[u8], entry: &Entry| {
            entries += 1;
            self.show(output, path, entry);
        };
        while let Some(step) = walk.next() {
            match step? {
                TreeStep::Enter { path, entry } => {
                    depth += 1;
                    // The folder that was asked for is not in itself.
                    if depth > 1 {
                        show(&path, &entry);
                        if !self.recursive {
                            walk.skip_directory();
                        }
                    }
                }
                TreeStep::Item { path, entry } => show(&path, &entry),
                TreeStep::Leave { .. } => depth -= 1,
            }
        }
        output.summary("ls", exit::DONE, json!({ "snapshot": snapshot.id.to_string(), "entries": entries }));
        Ok(exit::DONE)
    }

    fn show(&self, output: &Output, path: &[u8], entry: &Entry) {
        if output.json {
            return output.event(&output::with(entry_event("entry", entry), output::json_path(path)));
        }
        let end = if entry.is_directory() && path != b"/" { "/" } else { "" };
        if !self.long {
            return output.line(&format!("{}{end}", output::path(path)));
        }
        output.line(&format!("{}{end}", long(path, entry)));
    }
}

/// A line as of `ls -l`.
pub fn long(path: &[u8], entry: &Entry) -> String {
    let owner = |name: &[u8], number: u32| {
        if name.is_empty() { number.to_string() } else { output::path(name) }
    };
    let target = match &entry.node {
        Node::Symlink { target } => format!(" -> {}", output::path(target)),
        _ => String::new(),
    };
    format!(
        "{}{}  {:8} {:8} {:>10}  {}  {}{target}",
        letter(&entry.node),
        permissions(entry.mode),
        owner(&entry.owner.user_name, entry.owner.user),
        owner(&entry.owner.group_name, entry.owner.group),
        entry.size(),
        output::local_time(entry.modified.seconds),
        output::path(path)
    )
}

fn letter(node: &Node) -> char {
    match node {
        Node::File { .. } => '-',
        Node::Directory { .. } => 'd',
        Node::Symlink { .. } => 'l',
        Node::Fifo => 'p',
        Node::Socket => 's',
        Node::CharDevice { .. } => 'c',
        Node::BlockDevice { .. } => 'b',
    }
}

fn permissions(mode: u32) -> String {
    let mut out = String::with_capacity(9);
    for (shift, special, set, unset) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = mode >> shift;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => unset,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    out
}

/// An entry for programs, without its path.
pub fn entry_event(event: &str, entry: &Entry) -> Value {
    let kind = match &entry.node {
        Node::File { .. } => "file",
        Node::Directory { .. } => "directory",
        Node::Symlink { .. } => "symlink",
        Node::Fifo => "fifo",
        Node::Socket => "socket",
        Node::CharDevice { .. } => "character_device",
        Node::BlockDevice { .. } => "block_device",
    };
    let target = match &entry.node {
        Node::Symlink { target } => output::json_path(target),
        _ => Value::Null,
    };
    json!({
        "type": event,
        "kind": kind,
        "mode": format!("{:04o}", entry.mode),
        "uid": entry.owner.user,
        "gid": entry.owner.group,
        "user": String::from_utf8_lossy(&entry.owner.user_name),
        "group": String::from_utf8_lossy(&entry.owner.group_name),
        "size": entry.size(),
        "modified": output::json_time(entry.modified),
        "inode": entry.inode,
        "links": entry.links,
        "target": target,
        "changing": matches!(entry.node, Node::File { changing: true, .. }),
    })
}
