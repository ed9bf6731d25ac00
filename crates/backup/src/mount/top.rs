//! The folders above the snapshots.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use content::tree::Time;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::Snapshot;

/// What stands above the snapshots. Its inode numbers count from 1, which is the root's.
#[derive(Debug)]
pub(super) struct Top {
    nodes: Vec<TopNode>,
}

#[derive(Debug)]
pub(super) struct TopNode {
    pub name: Vec<u8>,
    /// The inode number of the folder it is in.
    pub parent: u64,
    pub kind: TopKind,
    pub modified: Time,
}

#[derive(Debug)]
pub(super) enum TopKind {
    /// Inode numbers of what is in it.
    Folder(Vec<u64>),
    /// Where it points.
    Link(Vec<u8>),
    /// The place of a snapshot in the list.
    Snapshot(usize),
}

const ROOT: u64 = 1;

impl Top {
    /// Names the snapshots; they are taken to be in order of time.
    pub(super) fn new(snapshots: &[Arc<Snapshot>]) -> Self {
        let zone = TimeZone::system();
        let mut taken = HashSet::new();
        let mut names: Vec<String> = Vec::with_capacity(snapshots.len());
        for snapshot in snapshots {
            let mut name = format!("{}_{}", local(snapshot, &zone), snapshot.id.short());
            if !taken.insert(name.clone()) {
                name = format!("{}_{}", local(snapshot, &zone), snapshot.id);
            }
            names.push(name);
        }
        let mut top = Self { nodes: Vec::new() };
        let newest = snapshots.last().map(|snapshot| time(snapshot)).unwrap_or_default();
        let root = top.add("", ROOT, TopKind::Folder(Vec::new()), newest);
        for (place, (snapshot, name)) in snapshots.iter().zip(&names).enumerate() {
            top.add(name, root, TopKind::Snapshot(place), time(snapshot));
        }
        top.latest(root, names.last().map(String::as_str), newest);
        let hosts = top.add("hosts", root, TopKind::Folder(Vec::new()), newest);
        let mut of_host: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, snapshot) in snapshots.iter().enumerate() {
            of_host.entry(folder_name(&snapshot.body.host)).or_default().push(place);
        }
        for (host, places) in of_host {
            let newest = places.last().and_then(|place| snapshots.get(*place)).map(|last| time(last));
            let folder = top.add(&host, hosts, TopKind::Folder(Vec::new()), newest.unwrap_or_default());
            for place in &places {
                if let (Some(name), Some(snapshot)) = (names.get(*place), snapshots.get(*place)) {
                    let target = format!("../../{name}").into_bytes();
                    top.add(name, folder, TopKind::Link(target), time(snapshot));
                }
            }
            let last = places.last().and_then(|place| names.get(*place));
            top.latest(folder, last.map(String::as_str), newest.unwrap_or_default());
        }
        top
    }

    fn latest(&mut self, parent: u64, name: Option<&str>, modified: Time) {
        if let Some(name) = name {
            self.add("latest", parent, TopKind::Link(name.as_bytes().to_vec()), modified);
        }
    }

    fn add(&mut self, name: &str, parent: u64, kind: TopKind, modified: Time) -> u64 {
        self.nodes.push(TopNode { name: name.as_bytes().to_vec(), parent, kind, modified });
        let number = self.nodes.len() as u64;
        if number != ROOT
            && let Some(TopNode { kind: TopKind::Folder(children), .. }) =
                self.nodes.get_mut(parent as usize - 1)
        {
            children.push(number);
        }
        number
    }

    /// What has this inode number.
    pub(super) fn get(&self, number: u64) -> Option<&TopNode> {
        self.nodes.get(usize::try_from(number.checked_sub(1)?).ok()?)
    }

    /// What has this name in a folder.
    pub(super) fn find(&self, folder: &TopNode, name: &[u8]) -> Option<u64> {
        let TopKind::Folder(children) = &folder.kind else { return None };
        children.iter().copied().find(|child| self.get(*child).is_some_and(|child| child.name == name))
    }
}

fn time(snapshot: &Snapshot) -> Time {
    let (seconds, nanoseconds) = snapshot.envelope.time;
    Time { seconds, nanoseconds }
}

/// The snapshot's time in the machine's zone, without characters that are awkward in a path.
fn local(snapshot: &Snapshot, zone: &TimeZone) -> String {
    let seconds = snapshot.envelope.time.0;
    match Timestamp::from_second(seconds) {
        Ok(moment) => moment.to_zoned(zone.clone()).strftime("%Y-%m-%d_%H.%M.%S").to_string(),
        Err(_) => seconds.to_string(),
    }
}

/// A machine's name as the name of a folder.
fn folder_name(host: &str) -> String {
    let name: String =
        host.chars().map(|letter| if matches!(letter, '/' | '\0') { '_' } else { letter }).take(60).collect();
    if matches!(name.as_str(), "" | "." | "..") { format!("_{name}") } else { name }
}
