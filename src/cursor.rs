//! Event cursors: how far a reader of events has come, and in which history.

use std::fmt;
use std::str::FromStr;

use crate::commit::{EventNumber, Incarnation};

/// How far a reader has come, as it keeps it: the number of the last event it has seen, and the
/// history that this is a number of.
///
/// Its text is `NUMBER` in a data directory that was never restored from a backup and
/// `NUMBER-INCARNATION` in one that was. [`EventFeed::resume`](crate::EventFeed::resume) says what it
/// means now.
///
/// ```
/// let cursor: redeliver::EventCursor = "17-0123456789abcdef".parse().unwrap();
/// assert_eq!(cursor.number().0, 17);
/// assert_eq!(cursor.to_string(), "17-0123456789abcdef");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventCursor {
    pub(crate) number: EventNumber,
    /// None for the first history of a data directory.
    pub(crate) incarnation: Option<Incarnation>,
}

/// A text is no event cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an event cursor is the id of an event, such as 17 or 17-0123456789abcdef; begin without one"
)]
pub struct NoEventCursor;

impl EventCursor {
    /// The number. It may be of another history than that of the data directory that is open.
    pub fn number(&self) -> EventNumber {
        self.number
    }
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.incarnation {
            None => write!(f, "{}", self.number.0),
            Some(incarnation) => write!(f, "{}-{:016x}", self.number.0, incarnation.0),
        }
    }
}

impl FromStr for EventCursor {
    type Err = NoEventCursor;

    fn from_str(text: &str) -> Result<EventCursor, NoEventCursor> {
        let (number, incarnation) = match text.split_once('-') {
            None => (text, None),
            Some((number, hex)) => (number, Some(incarnation(hex)?)),
        };
        let number = number.parse().map_err(|_| NoEventCursor)?;
        Ok(EventCursor {
            number: EventNumber(number),
            incarnation,
        })
    }
}

fn incarnation(hex: &str) -> Result<Incarnation, NoEventCursor> {
    // The parser takes a sign, and fewer digits.
    if hex.len() != 16 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(NoEventCursor);
    }
    let number = u64::from_str_radix(hex, 16).map_err(|_| NoEventCursor)?;
    Ok(Incarnation(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went_and_nothing_else_passes_for_one() {
        for text in [
            "0",
            "17",
            "17-0123456789abcdef",
            "18446744073709551615-ffffffffffffffff",
        ] {
            let cursor: Result<EventCursor, _> = text.parse();
            assert_eq!(cursor.map(|cursor| cursor.to_string()), Ok(text.to_owned()));
        }
        for text in [
            "",
            "x",
            "-",
            "-1",
            "17-",
            "17-1",
            "-0123456789abcdef",
            "17-+123456789abcdef",
            "17-0123456789abcdef0",
            "17-0123456789abcdeg",
            "17-0123456789abcdef-",
            "1 7",
        ] {
            assert_eq!(text.parse::<EventCursor>(), Err(NoEventCursor), "{text}");
        }
    }
}
