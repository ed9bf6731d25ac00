//! What a check finds.

use std::fmt;

use crate::error::Damage;

/// More findings than this are only counted.
pub const FINDINGS_MAX: usize = 5000;
/// No more places than this are named for one finding.
pub const AFFECTS_MAX: usize = 20;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something is broken or missing.
    Damage,
    /// Something is from a newer version of the program and was left alone.
    Newer,
    /// Something worth knowing; nothing is wrong.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damage => "damage",
            Self::Newer => "newer",
            Self::Note => "note",
        })
    }
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The object's name in the store, or a folder of it such as `packs/`.
    pub object: String,
    /// What is the matter with it, as a sentence without its end.
    pub message: String,
    /// What to do about it, likewise.
    pub advice: String,
    /// Who suffers: a snapshot's short id, or `id:path`. At most [`AFFECTS_MAX`].
    pub affects: Vec<String>,
}

impl Finding {
    /// A finding that affects nothing yet.
    pub fn new(
        severity: Severity,
        object: impl Into<String>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            object: object.into(),
            message: message.into(),
            advice: advice.into(),
            affects: Vec::new(),
        }
    }

    /// Damage of an object, or that it is from a newer program.
    pub fn of(object: impl Into<String>, damage: &Damage, advice: &str) -> Self {
        if damage.is_newer() {
            let update = "update this program; nothing is wrong with the vault";
            return Self::new(Severity::Newer, object, damage.to_string(), update);
        }
        Self::new(Severity::Damage, object, damage.to_string(), advice)
    }

    /// Adds somebody who suffers, unless it is known or there are enough.
    pub fn affect(&mut self, place: String) {
        if self.affects.len() < AFFECTS_MAX && !self.affects.contains(&place) {
            self.affects.push(place);
        }
    }
}

/// Findings, bounded in number.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    left_out: [u64; 3],
}

impl Findings {
    /// Adds one; returns its number, or `None` when there are too many to keep it.
    pub fn add(&mut self, finding: Finding) -> Option<usize> {
        if self.list.len() >= FINDINGS_MAX {
            if let Some(count) = self.left_out.get_mut(finding.severity as usize) {
                *count += 1;
            }
            return None;
        }
        self.list.push(finding);
        Some(self.list.len() - 1)
    }

    /// The one with this number.
    pub fn get_mut(&mut self, number: usize) -> Option<&mut Finding> {
        self.list.get_mut(number)
    }

    /// All that were kept.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.list.iter()
    }

    /// All that were kept, the worst first, and for each severity a last one that counts those left out.
    pub fn finish(mut self) -> Vec<Finding> {
        for (severity, count) in
            [Severity::Damage, Severity::Newer, Severity::Note].into_iter().zip(self.left_out)
        {
            if count > 0 {
                let message = format!("{count} further findings of this kind are not listed");
                self.list.push(Finding::new(severity, "", message, "look at the ones listed first"));
            }
        }
        self.list.sort_by_key(|finding| finding.severity);
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_findings_is_counted_and_the_worst_come_first() {
        let mut findings = Findings::default();
        findings.add(Finding::new(Severity::Note, "a", "b", "c"));
        for number in 0..FINDINGS_MAX + 9 {
            findings.add(Finding::of(number.to_string(), &Damage::Missing, "advice"));
        }
        let all = findings.finish();
        assert_eq!(all.len(), FINDINGS_MAX + 1);
        assert!(all.windows(2).all(|pair| pair[0].severity <= pair[1].severity));
        let last = all.iter().rfind(|finding| finding.severity == Severity::Damage).unwrap();
        assert_eq!(last.message, "10 further findings of this kind are not listed");
    }
}
