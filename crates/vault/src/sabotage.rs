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
    /// What was closed is regrouped only when everybody has ended who may not know.
    ClosingsAreWaitedFor,
    /// Who overslept counts what it needs of a closed pack as lost.
    SleepersDoubtClosedPacks,
    /// Deleting waits until everybody sees what is condemned.
    CondemnationsSettle,
    /// A lease that was ended is over when everybody sees what its holder left.
    EndedLeasesSettle,
    /// A record goes when everybody sees the one in its place.
    RecordsOverlap,
    /// Who finds a record gone looks for the one in its place.
    SuccessorsAreLookedFor,
    /// Where two fragments differ about a pack, the pack is asked.
    ContradictionsAreAsked,
    /// A collector sees that its lease is held before what others rely on.
    SleepersStop,
    /// What takes the place of a pack is compared with it before the pack goes.
    CopiesAreProved,
    /// Who reads a snapshot that was forgotten later than a pack was condemned is waited for.
    LateReadersAreWaitedFor,
    /// A pack goes only when whoever is led to it is led on.
    MovesArePassedOn,
    /// A writer has its lease before it reads what is condemned.
    LeasesAreBegunFirst,
    /// A copy that commits under a new lease looks at the target again.
    ArrivalsLookAgain,
    /// What the source regrouped takes the place of nothing at the target.
    GenerationsAreKeptApart,
    /// A copy says at the target that copies arrive.
    ArrivalsAreAnnounced,
    /// What a relocation of the target leads to is compared with the source, unless a snapshot there tells of it.
    ArrivalsAreCompared,
}

impl Rule {
    /// All of them.
    #[doc(hidden)]
    pub const ALL: [Self; 30] = [
        Self::LeasesAreWaitedFor,
        Self::NeedsAreReadAgain,
        Self::WritersReadCondemnations,
        Self::CommitsAreTimed,
        Self::SegmentsAreCopied,
        Self::MovesAreToldOf,
        Self::BlindnessDeletesNothing,
        Self::NamesAreRemembered,
        Self::KeepersAreTrusted,
        Self::DisputedMovesStay,
        Self::TrashKeeps,
        Self::MovesAreKnown,
        Self::ClosedPacksAreLeft,
        Self::TrashIsSurveyed,
        Self::ClosingsAreWaitedFor,
        Self::SleepersDoubtClosedPacks,
        Self::CondemnationsSettle,
        Self::EndedLeasesSettle,
        Self::RecordsOverlap,
        Self::SuccessorsAreLookedFor,
        Self::ContradictionsAreAsked,
        Self::SleepersStop,
        Self::CopiesAreProved,
        Self::LateReadersAreWaitedFor,
        Self::MovesArePassedOn,
        Self::LeasesAreBegunFirst,
        Self::ArrivalsLookAgain,
        Self::GenerationsAreKeptApart,
        Self::ArrivalsAreAnnounced,
        Self::ArrivalsAreCompared,
    ];
}

#[cfg(any(test, feature = "sabotage"))]
mod switch {
    use std::cell::Cell;

    use super::Rule;

    thread_local! {
        static BROKEN: Cell<[Option<Rule>; 2]> = const { Cell::new([None, None]) };
    }

    /// From now on this rule is not kept in this thread.
    #[doc(hidden)]
    pub fn break_rule(rule: Option<Rule>) {
        BROKEN.set([rule, None]);
    }

    /// From now on neither of these is kept in this thread: one of them hides that the other is needed.
    #[doc(hidden)]
    pub fn break_both(one: Rule, other: Rule) {
        BROKEN.set([Some(one), Some(other)]);
    }

    /// Whether a rule is kept.
    #[doc(hidden)]
    pub fn keeps(rule: Rule) -> bool {
        !BROKEN.get().contains(&Some(rule))
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
pub use switch::{break_both, break_rule, keeps};
