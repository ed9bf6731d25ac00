//! Switches that take one safety rule away, so that `sim` can show that it would notice. No program has them.

/// A rule of `docs/gc.md`.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Deleting waits for the leases of those who may not know.
    LeasesAreWaitedFor,
    /// What is needed after all is not deleted.
    NeedsAreReadAgain,
    /// A writer reads what is condemned.
    WritersReadCondemnations,
    /// A commit counts by the store's time.
    CommitsAreTimed,
    /// Segments are copied before a pack is condemned.
    SegmentsAreCopied,
    /// Relocations tell where packs went.
    MovesAreToldOf,
    /// Who cannot read a snapshot deletes no pack.
    BlindnessDeletesNothing,
    /// Names are remembered after deletion.
    NamesAreRemembered,
    /// A keeper is what snapshots and relocations say.
    KeepersAreTrusted,
    /// Relocations of disputed packs stay.
    DisputedMovesStay,
    /// The trash keeps snapshots for a time.
    TrashKeeps,
    /// A writer uses a pack that was moved only if a relocation that it read says so.
    MovesAreKnown,
    /// No chunk in a closed pack is found by the index.
    ClosedPacksAreLeft,
    /// What snapshots in the trash need is needed.
    TrashIsSurveyed,
}

#[cfg(any(test, feature = "sabotage"))]
mod switch {
    use std::cell::Cell;

    use super::Rule;

    thread_local! {
        static BROKEN: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// From now on this rule is not kept in this thread.
    #[doc(hidden)]
    pub fn break_rule(rule: Option<Rule>) {
        BROKEN.set(rule);
    }

    /// Whether a rule is kept.
    #[doc(hidden)]
    pub fn keeps(rule: Rule) -> bool {
        BROKEN.get() != Some(rule)
    }
}

#[cfg(not(any(test, feature = "sabotage")))]
mod switch {
    /// Whether a rule is kept: always.
    pub(crate) const fn keeps(_: super::Rule) -> bool {
        true
    }
}

#[cfg(not(any(test, feature = "sabotage")))]
pub(crate) use switch::keeps;
#[cfg(any(test, feature = "sabotage"))]
pub use switch::{break_rule, keeps};
