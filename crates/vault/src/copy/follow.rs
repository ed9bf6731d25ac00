//! Forgetting at the target what the source has forgotten for good, for whoever asks for that.
//!
//! Only what nobody can bring back at the source follows: its delay has passed, or it is deleted there. So bringing a
//! snapshot back at the source is never too late for the target, and somebody who forgets everything at the source has
//! to remain unnoticed for its delay, and then for that of the target. A pin at the target stands against it.

use std::time::SystemTime;

use super::{CopyError, Copying};
use crate::pins::Pins;
use crate::settings::{self, Delays};
use crate::trash::{self, Mark, Trash};

impl Copying<'_> {
    /// Puts what is gone from the source at `now`, by its clock, into the target's trash.
    pub(super) async fn follow(&mut self, now: SystemTime) -> Result<(), CopyError> {
        let (vault, owner) = (self.descriptor.vault, self.descriptor.owner);
        let pins = Pins::read(self.target.as_ref(), vault).await?;
        if let Some((object, damage)) = pins.unreadable().first() {
            // It could be any snapshot's.
            self.fault(self.target.location(), object.clone(), damage.clone());
            return Ok(());
        }
        let trash = Trash::read(self.source.as_ref(), vault).await?;
        let records = settings::read_all(self.source.as_ref(), vault, &owner).await?;
        let delays = Delays::new(&self.descriptor, &records);
        let asked =
            |mark: &Mark| self.options.snapshots.as_ref().is_none_or(|asked| asked.contains(&mark.snapshot));
        let follows = |mark: &Mark| {
            let id = mark.snapshot;
            self.there.snapshots.contains(&id)
                && !self.there.has_forgotten(id)
                && pins.until(id, now).is_none()
                && asked(mark)
        };
        let gone = trash.iter().filter(|forgotten| delays.kept_until(forgotten.since) <= now);
        let mut marks: Vec<Mark> =
            gone.map(|forgotten| &forgotten.mark).filter(|mark| follows(mark)).cloned().collect();
        marks.sort_by_key(|mark| (mark.system, mark.sequence, mark.snapshot));
        for mark in marks {
            if !self.options.dry_run {
                let mark = Mark {
                    nonce: (self.random)(),
                    reason: format!("forgotten at the source: {}", mark.reason),
                    ..mark.clone()
                };
                trash::forget(self.target.as_ref(), vault, &mark).await?;
            }
            self.report.forgotten.push(mark.snapshot);
        }
        Ok(())
    }
}
