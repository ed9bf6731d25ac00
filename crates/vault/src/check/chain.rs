//! Whether the snapshots of each system follow one another without a gap.

use std::collections::HashMap;

use super::finding::{Finding, Findings, Severity};
use crate::name::{ObjectHash, SnapshotId, SystemId};
use crate::snapshot::Envelope;

/// What the chain needs of one snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    id: SnapshotId,
    system: SystemId,
    sequence: u64,
    previous: SnapshotId,
}

impl Link {
    pub(super) fn new(id: SnapshotId, envelope: &Envelope) -> Self {
        Self { id, system: envelope.system, sequence: envelope.sequence, previous: envelope.previous }
    }
}

/// Looks at all links. `is_listed` knows also the snapshots that could not be read.
pub(super) fn check(links: &[Link], is_listed: impl Fn(SnapshotId) -> bool, findings: &mut Findings) {
    let by_id: HashMap<SnapshotId, &Link> = links.iter().map(|link| (link.id, link)).collect();
    for link in links {
        let mut say = |severity, message: String, advice: &str| {
            let mut finding = Finding::new(severity, link.id.snapshot_name(), message, advice);
            finding.affect(link.id.short());
            findings.add(finding);
        };
        let is_first = link.previous == ObjectHash::default();
        if is_first != (link.sequence == 0) {
            say(
                Severity::Damage,
                format!("it is number {} of its machine but names {}", link.sequence, predecessor(is_first)),
                "compare the list of snapshots with what you expect; this one can still be restored",
            );
        }
        if is_first {
            continue;
        }
        match by_id.get(&link.previous) {
            Some(before)
                if before.system != link.system || before.sequence.checked_add(1) != Some(link.sequence) =>
            {
                say(
                    Severity::Damage,
                    format!(
                        "the snapshot it says it follows, {}, is not the one before it",
                        before.id.short()
                    ),
                    "compare the list of snapshots with what you expect; this one can still be restored",
                );
            }
            Some(_) => {}
            // One that is there and damaged has a finding of its own.
            None if is_listed(link.previous) => {}
            None => say(
                Severity::Note,
                format!("the snapshot before it, {}, is not in the vault", link.previous.short()),
                "nothing to do if somebody removed it on purpose; otherwise look for it in a copy of the vault",
            ),
        }
    }
}

fn predecessor(is_first: bool) -> &'static str {
    if is_first { "no snapshot before it" } else { "a snapshot before it" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(id: u8, system: u8, sequence: u64, previous: u8) -> Link {
        let id_of = |n: u8| if n == 0 { ObjectHash::default() } else { ObjectHash::new([n; 32]) };
        Link { id: id_of(id), system: SystemId::new([system; 16]), sequence, previous: id_of(previous) }
    }

    fn findings(links: &[Link], listed: &[u8]) -> Vec<Severity> {
        let mut findings = Findings::default();
        let is_listed = |id: SnapshotId| {
            links.iter().any(|link| link.id == id) || listed.iter().any(|n| id == ObjectHash::new([*n; 32]))
        };
        check(links, is_listed, &mut findings);
        findings.finish().into_iter().map(|finding| finding.severity).collect()
    }

    #[test]
    fn whole_chains_are_silent_and_each_kind_of_break_is_told() {
        let chain = [link(1, 1, 0, 0), link(2, 1, 1, 1), link(3, 2, 0, 0), link(4, 1, 2, 2)];
        assert!(findings(&chain, &[]).is_empty());
        assert_eq!(findings(&[chain[1]], &[]), [Severity::Note], "the first one is gone");
        assert!(findings(&[chain[1]], &[1]).is_empty(), "the first one is there but damaged");
        assert_eq!(findings(&[link(1, 1, 3, 0)], &[]), [Severity::Damage], "a first one that is the fourth");
        assert_eq!(
            findings(&[link(1, 1, 0, 0), link(2, 1, 5, 1)], &[]),
            [Severity::Damage],
            "a number is left out"
        );
        assert_eq!(
            findings(&[link(1, 1, 0, 0), link(2, 2, 1, 1)], &[]),
            [Severity::Damage],
            "it follows another machine's"
        );
        assert!(
            findings(&[link(1, 1, 0, 0), link(2, 1, 1, 1), link(3, 1, 1, 1)], &[]).is_empty(),
            "two runs at once"
        );
    }
}
