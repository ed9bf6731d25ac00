//! Whether the snapshots of each system follow one another without a gap.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::SystemTime;

use super::finding::{Finding, Findings, Severity};
use crate::name::{ObjectHash, SnapshotId, SystemId};
use crate::snapshot::Envelope;
use crate::trash::Mark;
use crate::verified::Verified;

/// What the chain needs of one snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    id: SnapshotId,
    system: SystemId,
    sequence: u64,
    previous: SnapshotId,
    /// When the store received it.
    pub received: SystemTime,
}

impl Link {
    pub(super) fn new(id: SnapshotId, envelope: &Envelope, received: SystemTime) -> Self {
        let Envelope { system, sequence, previous, .. } = *envelope;
        Self { id, system, sequence, previous, received }
    }

    /// Notes it as seen.
    pub(super) fn saw(&self, verified: &mut Verified) {
        verified.saw(self.system, self.sequence, self.id);
    }
}

/// Looks at all links. `is_listed` knows also the snapshots that could not be read, `marks` those that were forgotten;
/// `shows_loss` says of a link that nothing but a loss explains why the snapshot before it is not there.
pub(super) fn check(
    links: &[Link],
    is_listed: impl Fn(SnapshotId) -> bool,
    marks: &[Mark],
    shows_loss: impl Fn(&Link) -> bool,
    findings: &mut Findings,
) {
    let forgotten: HashSet<(SnapshotId, SystemId, u64)> =
        marks.iter().map(|mark| (mark.snapshot, mark.system, mark.sequence)).collect();
    // Of one that could not be read, who forgot it knew no more than its name.
    let is_named = |id: SnapshotId| marks.iter().any(|mark| mark.snapshot == id);
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
            // Somebody removed it on purpose, and left word.
            None if link
                .sequence
                .checked_sub(1)
                .is_some_and(|before| forgotten.contains(&(link.previous, link.system, before))) => {}
            None if shows_loss(link) && !is_named(link.previous) => say(
                Severity::Damage,
                format!("the snapshot before it, {}, is gone, and nobody forgot it", link.previous.short()),
                "find out who can delete in this store; take it from a copy of the vault with `strongroom repair --from`",
            ),
            None => say(
                Severity::Note,
                format!("the snapshot before it, {}, is not in the vault", link.previous.short()),
                "nothing to do if somebody removed it on purpose, or copied only some snapshots here; otherwise look for it \
                 in a copy of the vault",
            ),
        }
    }
}

/// Whether the end of a chain was cut off: the newest snapshot that an earlier check saw is gone, and nobody forgot it.
pub(super) fn rolled_back(
    newest: &BTreeMap<SystemId, (u64, SnapshotId)>,
    is_listed: impl Fn(SnapshotId) -> bool,
    marks: &[Mark],
    findings: &mut Findings,
) {
    for (sequence, snapshot) in newest.values() {
        if is_listed(*snapshot) || marks.iter().any(|mark| mark.snapshot == *snapshot) {
            continue;
        }
        let mut finding = Finding::new(
            Severity::Damage,
            snapshot.snapshot_name(),
            format!("an earlier check saw it as number {sequence} and newest of its machine, and it is gone"),
            "nobody forgot it: find out who can delete in this store; take it from a copy of the vault with \
             `strongroom repair --from`",
        );
        finding.affect(snapshot.short());
        findings.add(finding);
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
        let (id, system, previous) = (id_of(id), SystemId::new([system; 16]), id_of(previous));
        Link { id, system, sequence, previous, received: SystemTime::UNIX_EPOCH }
    }

    fn findings(links: &[Link], listed: &[u8]) -> Vec<Severity> {
        findings_with(links, listed, &[])
    }

    fn findings_with(links: &[Link], listed: &[u8], marks: &[Mark]) -> Vec<Severity> {
        let mut findings = Findings::default();
        let is_listed = |id: SnapshotId| {
            links.iter().any(|link| link.id == id) || listed.iter().any(|n| id == ObjectHash::new([*n; 32]))
        };
        check(links, is_listed, marks, |_| false, &mut findings);
        findings.finish().into_iter().map(|finding| finding.severity).collect()
    }

    #[test]
    fn a_chain_that_was_cut_off_is_told() {
        let newest = BTreeMap::from([(SystemId::new([1; 16]), (3, ObjectHash::new([3; 32])))]);
        let told = |listed: &[u8], marks: &[Mark]| {
            let mut findings = Findings::default();
            let is_listed = |id: SnapshotId| listed.iter().any(|n| id == ObjectHash::new([*n; 32]));
            rolled_back(&newest, is_listed, marks, &mut findings);
            findings.finish().into_iter().map(|finding| finding.severity).collect::<Vec<_>>()
        };
        assert_eq!(told(&[1, 2], &[]), [Severity::Damage]);
        assert!(told(&[2, 3], &[]).is_empty());
        let mark = Mark {
            nonce: [0; 16],
            snapshot: ObjectHash::new([3; 32]),
            system: SystemId::new([1; 16]),
            sequence: 3,
            previous: ObjectHash::new([2; 32]),
            written: 0,
            reason: String::new(),
        };
        assert!(told(&[1, 2], &[mark]).is_empty(), "somebody forgot it");
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

    #[test]
    fn a_gap_that_only_a_loss_explains_is_damage() {
        let told = |marks: &[Mark]| {
            let mut findings = Findings::default();
            check(&[link(2, 1, 1, 1)], |_| false, marks, |link| link.sequence == 1, &mut findings);
            findings.finish().into_iter().map(|finding| finding.severity).collect::<Vec<_>>()
        };
        assert_eq!(told(&[]), [Severity::Damage]);
        let mark = |n: u8| Mark {
            nonce: [0; 16],
            snapshot: ObjectHash::new([n; 32]),
            system: SystemId::default(),
            sequence: 0,
            previous: ObjectHash::default(),
            written: 0,
            reason: String::new(),
        };
        assert_eq!(told(&[mark(9)]), [Severity::Damage], "another's");
        assert_eq!(told(&[mark(1)]), [Severity::Note], "somebody forgot it who could not read it");
    }

    #[test]
    fn a_mark_explains_a_gap_only_if_it_fits() {
        let last = [link(3, 1, 2, 2)];
        let mark = Mark {
            nonce: [0; 16],
            snapshot: ObjectHash::new([2; 32]),
            system: SystemId::new([1; 16]),
            sequence: 1,
            previous: ObjectHash::new([1; 32]),
            written: 0,
            reason: String::new(),
        };
        assert!(findings_with(&last, &[], std::slice::from_ref(&mark)).is_empty());
        for other in [
            Mark { snapshot: ObjectHash::new([9; 32]), ..mark.clone() },
            Mark { system: SystemId::new([9; 16]), ..mark.clone() },
            Mark { sequence: 2, ..mark.clone() },
        ] {
            assert_eq!(findings_with(&last, &[], &[other]), [Severity::Note]);
        }
        // It excuses nothing else.
        let wrong = [link(2, 1, 1, 0)];
        assert_eq!(findings_with(&wrong, &[], &[mark]), [Severity::Damage]);
    }
}
