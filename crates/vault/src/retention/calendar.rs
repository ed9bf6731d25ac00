//! Local hours, days, weeks, months and years as numbers that tell them apart.

/// A moment as a local clock and calendar show it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Local {
    /// Seconds since 1970-01-01 00:00 on that clock.
    seconds: i64,
    /// How far it is ahead of UTC, in seconds.
    offset: i32,
}

impl Local {
    /// From seconds since 1970 (UTC).
    pub(super) fn new(seconds: i64, offset: i32) -> Self {
        Self { seconds: seconds.saturating_add(i64::from(offset)), offset }
    }

    /// When the clock is set back an hour comes twice; these are two.
    pub(super) fn hour(&self) -> (i64, i32) {
        (self.seconds.div_euclid(3600), self.offset)
    }

    pub(super) fn day(&self) -> (i64, i32) {
        (self.days(), 0)
    }

    /// Weeks begin on Monday, as those of ISO 8601. Day 0 was a Thursday.
    pub(super) fn week(&self) -> (i64, i32) {
        ((self.days() + 3).div_euclid(7), 0)
    }

    pub(super) fn month(&self) -> (i64, i32) {
        self.year_and_month()
    }

    pub(super) fn year(&self) -> (i64, i32) {
        (self.year_and_month().0, 0)
    }

    fn days(&self) -> i64 {
        self.seconds.div_euclid(86_400)
    }

    /// Year and month in the Gregorian calendar. The arithmetic lets years begin on 1 March, so that the day of the leap
    /// year is the last one, and counts from 0000-03-01, which is 719,468 days before day 0.
    fn year_and_month(&self) -> (i64, i32) {
        let days = self.days() + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (year, i32::try_from(month).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Local {
        Local::new(seconds, 0)
    }

    #[test]
    fn months_and_years_are_those_of_the_calendar() {
        // Seconds from `date -u -d … +%s`.
        for (seconds, expected) in [
            (0, (1970, 1)),
            (-1, (1969, 12)),
            (951_782_400, (2000, 2)),    // 2000-02-29
            (951_868_800, (2000, 3)),    // 2000-03-01
            (1_709_251_199, (2024, 2)),  // 2024-02-29 23:59:59
            (1_735_689_599, (2024, 12)), // 2024-12-31 23:59:59
            (1_735_689_600, (2025, 1)),
            (4_107_542_399, (2100, 2)), // 2100-02-28 23:59:59: no leap year
            (4_107_542_400, (2100, 3)),
            (253_402_300_799, (9999, 12)),
        ] {
            assert_eq!(at(seconds).month(), expected, "{seconds}");
            assert_eq!(at(seconds).year().0, expected.0, "{seconds}");
        }
    }

    #[test]
    fn each_day_is_in_the_month_of_its_neighbour_or_begins_one() {
        let lengths = |year: i64| {
            let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
            [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        };
        let mut day = 0;
        for year in 1970..2500 {
            for (month, length) in (1..).zip(lengths(year)) {
                for _ in 0..length {
                    assert_eq!(at(day * 86_400).month(), (year, month));
                    day += 1;
                }
            }
        }
    }

    #[test]
    fn weeks_begin_on_monday() {
        let monday = 1_704_067_200; // 2024-01-01
        assert_ne!(at(monday - 1).week(), at(monday).week());
        assert_eq!(at(monday).week(), at(monday + 7 * 86_400 - 1).week());
        assert_ne!(at(monday).week(), at(monday + 7 * 86_400).week());
    }

    #[test]
    fn the_local_clock_counts() {
        assert_eq!(Local::new(1_735_689_600 - 1, 3600).year().0, 2025);
        assert_eq!(Local::new(1_735_689_600, -3600).year().0, 2024);
        // 02:30 before and after the clock was set back.
        assert_ne!(Local::new(1_729_989_000, 7200).hour(), Local::new(1_729_992_600, 3600).hour());
    }
}
