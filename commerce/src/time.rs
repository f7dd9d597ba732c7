//! Times as people and other programs write them: RFC 3339 in UTC.
//!
//! Stored and sent values keep the library's microseconds; only JSON shows text. A field says so
//! with `#[serde(with = "crate::time::rfc3339")]` (or `rfc3339_option`).

use redeliver::Timestamp;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// The instant as RFC 3339 with microseconds, such as `2026-03-01T12:00:00.000000Z`.
pub fn to_rfc3339(at: Timestamp) -> String {
    let (seconds, micros) = (
        at.0.div_euclid(MICROS_PER_SECOND),
        at.0.rem_euclid(MICROS_PER_SECOND),
    );
    let (days, of_day) = (
        seconds.div_euclid(SECONDS_PER_DAY),
        seconds.rem_euclid(SECONDS_PER_DAY),
    );
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{micros:06}Z",
        of_day / 3_600,
        of_day / 60 % 60,
        of_day % 60,
    )
}

/// Reads RFC 3339 with any offset; digits beyond microseconds are dropped.
pub fn from_rfc3339(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_at_checked(10)?;
    let (time, rest) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    // A leap second is taken as the second before it.
    let second = second.min(59);
    let in_range = (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60;
    if !in_range {
        return None;
    }
    let (micros, zone) = match rest.strip_prefix('.') {
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
            let micros = fraction.get(..digits.min(6))?;
            let scale = 10_i64.pow(u32::try_from(6 - micros.len()).ok()?);
            (micros.parse::<i64>().ok()? * scale, &fraction[digits..])
        }
        None => (0, rest),
    };
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let sign = match zone.as_bytes().first()? {
                b'+' => 1,
                b'-' => -1,
                _ => return None,
            };
            let [hours, minutes] = numbers(zone.get(1..)?, ':', [2, 2])?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            sign * (hours * 3_600 + minutes * 60)
        }
    };
    let seconds =
        days(year, month, day) * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second - offset;
    Some(Timestamp(seconds * MICROS_PER_SECOND + micros))
}

/// Numbers of these widths with something between each two.
pub(crate) fn numbers<const N: usize>(
    text: &str,
    between: char,
    widths: [usize; N],
) -> Option<[i64; N]> {
    let mut parts = text.split(between);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// How many days a month has.
pub(crate) fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 to year, month, day (Howard Hinnant's `civil_from_days`).
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The reverse (`days_from_civil`).
pub(crate) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

/// For `#[serde(with)]`: RFC 3339 where people read, microseconds elsewhere.
pub mod rfc3339 {
    use redeliver::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes it.
    pub fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.serialize_str(&super::to_rfc3339(*at))
        } else {
            at.serialize(to)
        }
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        if from.is_human_readable() {
            let text = String::deserialize(from)?;
            super::from_rfc3339(&text).ok_or_else(|| {
                serde::de::Error::custom("not a time; use RFC 3339, such as 2026-03-01T12:00:00Z")
            })
        } else {
            Timestamp::deserialize(from)
        }
    }
}

/// As [`rfc3339`], for a time that may be missing.
pub mod rfc3339_option {
    use redeliver::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct At(#[serde(with = "super::rfc3339")] Timestamp);

    /// Writes it.
    pub fn serialize<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        at.map(At).serialize(to)
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<At>::deserialize(from)?.map(|at| at.0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_instants_read_as_calendars_show_them() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_772_366_400_123_456, "2026-03-01T12:00:00.123456Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(to_rfc3339(Timestamp(micros)), text);
            assert_eq!(from_rfc3339(text), Some(Timestamp(micros)));
        }
    }

    #[test]
    fn offsets_and_short_fractions_are_understood() {
        let noon = from_rfc3339("2026-03-01T12:00:00Z").unwrap();
        assert_eq!(from_rfc3339("2026-03-01T13:30:00+01:30"), Some(noon));
        assert_eq!(from_rfc3339("2026-03-01t07:00:00.000-05:00"), Some(noon));
        assert_eq!(
            from_rfc3339("2026-03-01T12:00:00.5Z"),
            Some(Timestamp(noon.0 + 500_000))
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-03-01T24:00:00Z",
            "2026-03-01",
            "2026-03-01T12:00:00",
            "2026-03-01T12:00:00+25:00",
            "2026-03-01T12:00:00.Zé",
            "+026-03-01T12:00:00Z",
        ] {
            assert_eq!(from_rfc3339(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_instant_survives_the_round_trip(micros in -62_000_000_000_000_000i64..250_000_000_000_000_000) {
            prop_assert_eq!(from_rfc3339(&to_rfc3339(Timestamp(micros))), Some(Timestamp(micros)));
        }

        #[test]
        fn reading_garbage_never_panics(text in "\\PC{0,40}") {
            let _ = from_rfc3339(&text);
        }
    }
}
