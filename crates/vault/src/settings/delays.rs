//! How long a forgotten snapshot can be brought back, over all changes of that delay.
//!
//! Somebody who stole the owner's key may shorten the delay and forget everything. So a longer delay counts at once,
//! and a shorter one only when the longer one before it has passed since the store received the change. Put otherwise:
//! a version counts while it is the newest, and for the length of its own delay after it was superseded; the longest of
//! those that count is in force.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{DELAY_MAX, Settings};
use crate::descriptor::Descriptor;
use crate::records::Record;
use crate::wire::Reader;

/// The descriptor's setting with the first delay: seconds (varint).
pub const DELAY_TAG: u64 = 1;
/// The first delay of a vault whose descriptor says none.
pub const DELAY_DEFAULT: Duration = Duration::from_secs(7 * 86_400);

/// The delay a vault was made with. One that cannot be read is the default.
pub fn initial_delay(descriptor: &Descriptor) -> Duration {
    let value = descriptor.settings.iter().find(|(tag, _)| *tag == DELAY_TAG).map(|(_, value)| value);
    let seconds = value.and_then(|value| {
        let mut reader = Reader::new(value);
        let seconds = reader.varint("delete delay").ok()?;
        reader.is_empty().then_some(seconds.min(DELAY_MAX))
    });
    seconds.map_or(DELAY_DEFAULT, Duration::from_secs)
}

/// The delay in force at `now`, by the store's clock. Records that cannot be read count for nothing.
pub fn effective_delay(descriptor: &Descriptor, records: &[Record<Settings>], now: SystemTime) -> Duration {
    Delays::new(descriptor, records).effective(now)
}

/// All delays a vault has had.
#[derive(Debug, Clone)]
pub struct Delays {
    newest: Duration,
    /// Each earlier delay, and when it was superseded.
    earlier: Vec<(Duration, SystemTime)>,
}

impl Delays {
    /// From the descriptor and the settings as [`super::read_all`] gives them.
    pub fn new(descriptor: &Descriptor, records: &[Record<Settings>]) -> Self {
        let mut delays = Self { newest: initial_delay(descriptor), earlier: Vec::new() };
        let mut latest = UNIX_EPOCH;
        for record in records {
            let Ok(settings) = &record.content else { continue };
            // A change cannot have come before the one it follows: where the clock says so, it went wrong, and the
            // later moment keeps the earlier delay longer.
            latest = latest.max(record.object.modified);
            delays.earlier.push((delays.newest, latest));
            delays.newest = Duration::from_secs(settings.delete_delay);
        }
        delays
    }

    /// The delay that was asked for last.
    pub fn newest(&self) -> Duration {
        self.newest
    }

    /// The delay in force.
    pub fn effective(&self, now: SystemTime) -> Duration {
        let counting = self.earlier.iter().filter(|(delay, superseded)| now < after(*superseded, *delay));
        counting.map(|(delay, _)| *delay).max().unwrap_or_default().max(self.newest)
    }

    /// Until when what was forgotten at `since` can be brought back for sure, should the delay not be changed again.
    /// From that moment on it may be deleted.
    ///
    /// It is the first moment at which the delay in force has passed since `since`.
    pub fn kept_until(&self, since: SystemTime) -> SystemTime {
        let by_earlier =
            self.earlier.iter().map(|(delay, superseded)| after(since.min(*superseded), *delay)).max();
        let by_newest = after(since, self.newest);
        by_earlier.map_or(by_newest, |earlier| earlier.max(by_newest))
    }
}

/// A moment so late that no later one can be told is far enough away by itself.
fn after(moment: SystemTime, delay: Duration) -> SystemTime {
    moment.checked_add(delay).unwrap_or(moment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::ChunkSizes;
    use crate::error::Damage;
    use crate::name::{ObjectHash, VaultId};
    use crate::signing::VerifyingKey;
    use crate::wire::Write;
    use proptest::prelude::*;
    use store::ObjectInfo;

    const DAY: u64 = 86_400;

    fn descriptor(delay: Option<u64>) -> Descriptor {
        let setting = |days: u64| {
            let mut value = Vec::new();
            value.varint(days * DAY);
            (DELAY_TAG, value.into())
        };
        Descriptor {
            vault: VaultId::default(),
            created: 0,
            chunk_sizes: ChunkSizes { min: 1 << 18, average: 1 << 20, max: 1 << 22 },
            settings: delay.map(setting).into_iter().collect(),
            owner: VerifyingKey::new([0; 32]),
        }
    }

    /// Day `n` of a history.
    fn day(n: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs((1000 + n) * DAY)
    }

    /// Changes to so many days, received at day so and so; `None` is one that cannot be read.
    fn history(changes: &[(Option<u64>, u64)]) -> Vec<Record<Settings>> {
        let record = |(sequence, (delay, received)): (usize, &(Option<u64>, u64))| Record {
            object: ObjectInfo { name: String::new(), size: 0, modified: day(*received) },
            content: delay.ok_or(Damage::Signature).map(|delay| Settings {
                sequence: sequence as u64 + 1,
                previous: ObjectHash::default(),
                delete_delay: delay * DAY,
                extensions: Vec::new(),
            }),
        };
        changes.iter().enumerate().map(record).collect()
    }

    #[test]
    fn a_longer_delay_counts_at_once_and_a_shorter_one_after_the_longer() {
        // First delay, changes (delay, day received), and at which days which delay is in force.
        type Case<'a> = (&'a str, u64, &'a [(Option<u64>, u64)], &'a [(u64, u64)]);
        let cases: [Case<'_>; 11] = [
            ("never changed", 7, &[], &[(0, 7), (900, 7)]),
            ("lengthened", 7, &[(Some(30), 10)], &[(10, 30), (50, 30)]),
            ("shortened", 30, &[(Some(2), 10)], &[(10, 30), (39, 30), (40, 2)]),
            ("shortened to nothing", 7, &[(Some(0), 10)], &[(16, 7), (17, 0)]),
            ("shortened twice", 30, &[(Some(10), 0), (Some(1), 1)], &[(1, 30), (11, 30), (29, 30), (30, 1)]),
            (
                "shortened twice, slowly",
                30,
                &[(Some(10), 0), (Some(1), 25)],
                &[(29, 30), (30, 10), (34, 10), (35, 1)],
            ),
            (
                "lengthened after it was shortened",
                7,
                &[(Some(1), 0), (Some(30), 2)],
                &[(2, 30), (8, 30), (90, 30)],
            ),
            ("lengthened for a moment", 7, &[(Some(30), 0), (Some(7), 0)], &[(0, 30), (29, 30), (30, 7)]),
            (
                "the clock went back: the later moment counts",
                30,
                &[(Some(10), 20), (Some(1), 5)],
                &[(29, 30), (31, 30), (49, 30), (50, 1)],
            ),
            ("what cannot be read counts for nothing", 7, &[(None, 0), (None, 1)], &[(0, 7), (20, 7)]),
            (
                "damage never shortens below the last good one",
                7,
                &[(Some(30), 0), (None, 1)],
                &[(1, 30), (100, 30)],
            ),
        ];
        for (name, first, changes, expected) in cases {
            let (descriptor, records) = (descriptor(Some(first)), history(changes));
            for (at, delay) in expected {
                let found = effective_delay(&descriptor, &records, day(*at)).as_secs() / DAY;
                assert_eq!(found, *delay, "{name}, day {at}");
            }
        }
    }

    #[test]
    fn without_a_setting_it_is_seven_days_and_nonsense_is_no_setting() {
        assert_eq!(initial_delay(&descriptor(None)), DELAY_DEFAULT);
        assert_eq!(initial_delay(&descriptor(Some(0))), Duration::ZERO);
        for value in [&b""[..], b"\x80", b"\x01\x01"] {
            let mut descriptor = descriptor(None);
            descriptor.settings.push((DELAY_TAG, value.into()));
            assert_eq!(initial_delay(&descriptor), DELAY_DEFAULT, "{value:?}");
        }
        assert_eq!(initial_delay(&descriptor(Some(u64::MAX / DAY))).as_secs(), DELAY_MAX);
    }

    #[test]
    fn a_promise_that_was_given_is_kept() {
        let delays = Delays::new(&descriptor(Some(30)), &history(&[(Some(1), 10)]));
        // Forgotten before the change: the whole of the old delay.
        assert_eq!(delays.kept_until(day(5)), day(35));
        assert_eq!(delays.kept_until(day(10)), day(40));
        // Forgotten while the old one still counts: as long as it does.
        assert_eq!(delays.kept_until(day(20)), day(40));
        assert_eq!(delays.kept_until(day(39)), day(40));
        assert_eq!(delays.kept_until(day(50)), day(51));
    }

    proptest! {
        #[test]
        fn kept_until_is_when_the_delay_in_force_has_passed(
            first in 0u64..20, changes in prop::collection::vec((0u64..20, 0u64..60), 0..6), since in 0u64..80,
        ) {
            let changes: Vec<_> = changes.into_iter().map(|(delay, at)| (Some(delay), at)).collect();
            let delays = Delays::new(&descriptor(Some(first)), &history(&changes));
            let has_passed = |at: &u64| day(*at) >= day(since) + delays.effective(day(*at));
            let passed = (since..).find(has_passed).unwrap();
            prop_assert_eq!(delays.kept_until(day(since)), day(passed));
        }

        #[test]
        fn one_more_change_never_shortens_at_once(
            first in 0u64..20, changes in prop::collection::vec((0u64..20, 0u64..60), 0..6), last in 0u64..20,
        ) {
            let mut changes: Vec<_> = changes.into_iter().map(|(delay, at)| (Some(delay), at)).collect();
            changes.sort_by_key(|(_, at)| *at);
            let now = changes.last().map_or(0, |(_, at)| *at);
            let delay = |changes: &[_]| {
                effective_delay(&descriptor(Some(first)), &history(changes), day(now))
            };
            let before = delay(&changes);
            changes.push((Some(last), now));
            prop_assert!(delay(&changes) >= before);
        }
    }
}
