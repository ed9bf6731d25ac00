//! Small things that nobody looks at any more.

use std::collections::HashSet;
use std::time::Duration;

use store::ObjectInfo;

use super::Collector;
use super::view::View;
use crate::error::VaultError;
use crate::{name, records, trash};

/// Ended leases are kept this long, for people to look at.
pub(super) const LEASES_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Marks of deleted snapshots are gathered in one object when there are more objects than this.
const MARKS_MANY: usize = 16;
impl Collector<'_> {
    /// Removes leases that ended long ago and questions for the time that nobody took back, and gathers the marks of
    /// deleted snapshots.
    pub(super) async fn tidy(&mut self, view: &View) -> Result<(), VaultError> {
        for lease in &view.leases {
            if lease.name != self.lease.name() && self.options.over_at(lease) + LEASES_KEPT <= view.now {
                self.store.discard(&lease.name).await?;
            }
        }
        let is_old = |question: &&ObjectInfo| question.modified + LEASES_KEPT <= view.now;
        for question in view.questions.iter().filter(is_old) {
            self.store.discard(&question.name).await?;
        }
        let gone = |forgotten: &&trash::Forgotten| !view.snapshots.contains_key(&forgotten.mark.snapshot);
        let mut buried: Vec<_> = view.trash.iter().filter(gone).collect();
        let objects: HashSet<&String> = buried.iter().flat_map(|forgotten| &forgotten.marks).collect();
        // A mark of a living snapshot could share an object with them.
        let shared =
            view.trash.iter().filter(|forgotten| !gone(forgotten)).flat_map(|forgotten| &forgotten.marks);
        let shared: HashSet<&String> = shared.collect();
        if objects.len() <= MARKS_MANY {
            return Ok(());
        }
        buried.sort_by_key(|forgotten| forgotten.mark.snapshot);
        let mut marks: Vec<_> = buried.iter().map(|forgotten| forgotten.mark.clone()).collect();
        if let Some(first) = marks.first_mut() {
            first.nonce = (self.random)();
        }
        records::write(self.store.as_ref(), name::TRASH, trash::encode(self.vault, &marks)).await?;
        for object in objects.difference(&shared) {
            self.store.discard(object).await?;
        }
        Ok(())
    }
}
