//! Days and months, as UTC has them.

use std::fmt;
use std::str::FromStr;

use redeliver::{KeyReader, TableKey, Timestamp};
use serde::{Deserialize, Serialize};

use crate::time::{civil, days, days_of_month, from_rfc3339, numbers};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A day: so many days after 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Day(i32);

/// A month: so many months after January of the year 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Month(i32);

/// Days from one to another, both included; open where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first.
    pub from: Option<Day>,
    /// The last.
    pub to: Option<Day>,
}

/// A text names no day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no day; write it as 2026-03-01 or 2026-03-01T12:00:00Z")]
pub struct NotADay;

impl Day {
    /// The day of an instant.
    pub fn of(at: Timestamp) -> Day {
        narrow(at.0.div_euclid(MICROS_PER_DAY), Day)
    }

    /// Its month.
    pub fn month(self) -> Month {
        let (year, month, _) = civil(i64::from(self.0));
        narrow(year * 12 + month - 1, Month)
    }
}

impl Month {
    /// Its first day.
    pub fn first(self) -> Day {
        let (year, month) = self.civil();
        narrow(days(year, month, 1), Day)
    }

    /// Its last day.
    pub fn last(self) -> Day {
        let (year, month) = self.civil();
        narrow(days(year, month, days_of_month(year, month)), Day)
    }

    fn civil(self) -> (i64, i64) {
        let months = i64::from(self.0);
        (months.div_euclid(12), months.rem_euclid(12) + 1)
    }
}

/// What is counted here in 64 bits fits into 32: all microseconds of 64 bits are 2 × 10⁸ days.
fn narrow<T>(number: i64, of: impl FnOnce(i32) -> T) -> T {
    of(i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX }))
}

impl Range {
    /// Every day.
    pub const ALL: Range = Range {
        from: None,
        to: None,
    };

    /// This day alone.
    pub fn of(day: Day) -> Range {
        Range {
            from: Some(day),
            to: Some(day),
        }
    }

    /// Whether it ends before it begins.
    pub fn is_backwards(&self) -> bool {
        matches!((self.from, self.to), (Some(from), Some(to)) if from > to)
    }

    /// Whether every day of the month is in it.
    pub fn covers(&self, month: Month) -> bool {
        self.from.is_none_or(|from| from <= month.first())
            && self.to.is_none_or(|to| to >= month.last())
    }

    /// The part of it that lies in the month.
    #[must_use]
    pub fn within(&self, month: Month) -> Range {
        Range {
            from: Some(
                self.from
                    .map_or(month.first(), |day| day.max(month.first())),
            ),
            to: Some(self.to.map_or(month.last(), |day| day.min(month.last()))),
        }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(i64::from(self.0));
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month) = self.civil();
        write!(f, "{year:04}-{month:02}")
    }
}

impl FromStr for Day {
    type Err = NotADay;

    /// A date, or an instant, which stands for its day.
    fn from_str(text: &str) -> Result<Day, NotADay> {
        if text.len() > 10 {
            return from_rfc3339(text).map(Day::of).ok_or(NotADay);
        }
        let [year, month, day] = numbers(text, '-', [4, 2, 2]).ok_or(NotADay)?;
        let exists = (1..=12).contains(&month) && (1..=days_of_month(year, month)).contains(&day);
        if !exists {
            return Err(NotADay);
        }
        Ok(narrow(days(year, month, day), Day))
    }
}

macro_rules! table_key {
    ($($type:ident),*) => {$(
        impl TableKey for $type {
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }
            fn read(from: &mut KeyReader<'_>) -> Option<Self> {
                i32::read(from).map($type)
            }
        }
    )*};
}

table_key!(Day, Month);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_ends_at_midnight_utc() {
        let last = from_rfc3339("2026-02-28T23:59:59.999999Z").unwrap();
        assert_eq!(Day::of(last).to_string(), "2026-02-28");
        let first = Timestamp(last.0 + 1);
        assert_eq!(Day::of(first).to_string(), "2026-03-01");
        assert_eq!(Day::of(first).month().to_string(), "2026-03");
        assert_eq!(Day::of(Timestamp(-1)).to_string(), "1969-12-31");
    }

    #[test]
    fn an_instant_stands_for_its_day_in_utc() {
        assert_eq!(day("2026-03-01T00:30:00+01:00"), day("2026-02-28"));
        assert_eq!(day("2026-03-01T23:59:59Z"), day("2026-03-01"));
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in [
            "",
            "2026",
            "2026-3-1",
            "2026-02-29",
            "2026-13-01",
            "today",
            "2026-01-01T",
            "2026-01-01é",
        ] {
            assert_eq!(text.parse::<Day>(), Err(NotADay), "{text:?}");
        }
    }

    #[test]
    fn a_month_has_its_days_also_in_leap_years() {
        for (text, last) in [
            ("2024-02-10", "2024-02-29"),
            ("2026-02-10", "2026-02-28"),
            ("2026-12-31", "2026-12-31"),
        ] {
            let month = day(text).month();
            assert_eq!(month.last(), day(last));
            assert_eq!(month.first().to_string(), format!("{month}-01"));
        }
    }

    proptest! {
        #[test]
        fn every_instant_is_in_a_day_of_its_month(micros: i64) {
            let day = Day::of(Timestamp(micros));
            prop_assert!(day >= day.month().first() && day <= day.month().last());
            prop_assert!(Range::of(day).within(day.month()) == Range::of(day));
        }

        #[test]
        fn a_day_is_read_as_it_is_written(number in -719_528..2_932_896i32) {
            let day = Day(number);
            prop_assert_eq!(day.to_string().parse(), Ok(day));
        }
    }
}
