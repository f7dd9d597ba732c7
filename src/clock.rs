//! Time and randomness: the only door to either.
//!
//! Nothing else in the library reads a clock or asks for entropy, so a simulation that replaces
//! this [`Clock`] replays a run to the byte.
//!
//! The wall clock may jump; the time of a system (`Context::now`, by which timers are due) makes of it:
//!
//! ```text
//! start     the wall clock, or the newest time in the journal if that is later
//! forward   followed at once (within a second): what was due in the skipped time is due now, once
//! backward  waited out: time stands still until the wall clock is where it was; nothing is due
//!           twice or early, everything as much later as the clock was put back
//! ```
//!
//! Delays that are waited for in the process (time-outs, restarts, a relay's greeting) do not look at
//! this time. The next attempt of a parked message, the cooling down of a destination's breaker and
//! the period of a service's restart intensity do, so they too wait out a clock that was put back.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// An instant in microseconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The instant `duration` later; saturates.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Timestamp {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(micros))
    }

    /// How long after `earlier` this instant is; zero if it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Timestamp {
    /// The same for people: `2026-01-01T00:00:00Z`, in whole seconds.
    pub fn rfc3339(self) -> String {
        const DAY: i64 = 86_400;
        let seconds = self.0.div_euclid(1_000_000);
        let (days, of_day) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        // Days to a date in the proleptic Gregorian calendar, in years that begin in March, so
        // that the leap day is a year's last (Howard Hinnant, `civil_from_days`).
        let shifted = days + 719_468;
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = (from_march + 2) % 12 + 1;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
            of_day / 3_600,
            of_day / 60 % 60,
            of_day % 60
        )
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}µs", self.0)
    }
}

/// `n` seconds.
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// `n` minutes.
pub const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// `n` hours.
pub const fn hours(n: u64) -> Duration {
    Duration::from_secs(3_600 * n)
}

/// `n` days of 24 hours.
pub const fn days(n: u64) -> Duration {
    Duration::from_secs(86_400 * n)
}

/// A UUIDv7 of this time.
pub(crate) fn new_message_id(
    at: Timestamp,
    random: &mut fastrand::Rng,
) -> crate::envelope::MessageId {
    let mut bytes = [0; 10];
    random.fill(&mut bytes);
    let millis = u64::try_from(at.0 / 1_000).unwrap_or(0);
    crate::envelope::MessageId(
        uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid(),
    )
}

/// Where a system gets its time and its seeds from.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock, which may jump in either direction.
    fn wall(&self) -> Timestamp;

    /// A number nobody could have predicted (or, in a simulation, the seed's next number).
    fn entropy(&self) -> u64;
}

/// The machine's clock and random number source.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn entropy(&self) -> u64 {
        // Seeds separate histories and ids, they are not secrets; when the system has no entropy
        // to give, the library's own generator (seeded from addresses and time) is good enough.
        getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
    }
}

/// Virtual time: follows tokio's clock, which a test may pause and advance, and takes its
/// randomness from a seed.
#[derive(Debug)]
pub struct VirtualClock {
    start: tokio::time::Instant,
    base: AtomicI64,
    random: Mutex<fastrand::Rng>,
}

impl VirtualClock {
    /// A clock that shows `base` now. Must be called within a tokio runtime.
    pub fn new(base: Timestamp, seed: u64) -> VirtualClock {
        VirtualClock {
            start: tokio::time::Instant::now(),
            base: AtomicI64::new(base.0),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
        }
    }

    /// The virtual time that has passed since the clock was made, whatever the wall clock shows.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Moves the wall clock without letting time pass, as an operator or a time server would. After
    /// a jump back the time of the system stands still until as much time has passed, or the clock
    /// is moved forward again.
    pub fn jump(&self, micros: i64) {
        self.base.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for VirtualClock {
    fn wall(&self) -> Timestamp {
        Timestamp(self.base.load(Ordering::SeqCst)).plus(self.start.elapsed())
    }

    fn entropy(&self) -> u64 {
        self.random
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .u64(..)
    }
}

/// Measures how long something takes, on this machine and for its own sake: nothing that is kept may
/// depend on it.
#[derive(Debug)]
pub(crate) struct Stopwatch(std::time::Instant);

impl Stopwatch {
    pub(crate) fn start() -> Stopwatch {
        Stopwatch(std::time::Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Measures time as timers see it, which is virtual in tests.
#[cfg(feature = "http")]
#[derive(Debug)]
pub(crate) struct TimerWatch(tokio::time::Instant);

#[cfg(feature = "http")]
impl TimerWatch {
    pub(crate) fn start() -> TimerWatch {
        TimerWatch(tokio::time::Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Notices when the wall clock and the time that has really passed disagree, as after a correction
/// by hand or by a time server.
#[derive(Debug)]
pub(crate) struct JumpDetector {
    wall: Timestamp,
    at: std::time::Instant,
}

impl JumpDetector {
    pub(crate) fn new(wall: Timestamp) -> JumpDetector {
        JumpDetector {
            wall,
            at: std::time::Instant::now(),
        }
    }

    /// By how many microseconds the wall clock has jumped since the last look; `None` if it runs
    /// as it should.
    pub(crate) fn look(&mut self, wall: Timestamp) -> Option<i64> {
        let passed = self.at.elapsed();
        let jumped = jump(self.wall, wall, passed);
        *self = JumpDetector::new(wall);
        jumped
    }
}

/// Drift below this is no jump: threads are late, clocks are slewed.
const JUMP_MICROS_MIN: i64 = 1_000_000;

fn jump(before: Timestamp, after: Timestamp, passed: Duration) -> Option<i64> {
    let jumped = after.0.saturating_sub(before.plus(passed).0);
    (jumped.saturating_abs() >= JUMP_MICROS_MIN).then_some(jumped)
}

/// A clock that never goes back: follows forward jumps at once and stands still through backward
/// ones.
#[derive(Debug)]
pub(crate) struct MonotonicTime {
    last: AtomicI64,
}

impl MonotonicTime {
    /// Starts no earlier than `floor`, the newest time the journal has seen.
    pub(crate) fn starting_at(floor: Timestamp) -> MonotonicTime {
        MonotonicTime {
            last: AtomicI64::new(floor.0),
        }
    }

    /// The present, given what the wall clock shows.
    pub(crate) fn now(&self, wall: Timestamp) -> Timestamp {
        let before = self.last.fetch_max(wall.0, Ordering::SeqCst);
        Timestamp(before.max(wall.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_dates() {
        for (seconds, shown) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp(seconds * 1_000_000).rfc3339(), shown);
        }
    }

    #[test]
    fn only_a_second_or_more_is_a_jump() {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000);
        assert_eq!(jump(at(100), at(105), seconds(5)), None);
        assert_eq!(jump(at(100), Timestamp(105_900_000), seconds(5)), None);
        assert_eq!(jump(at(100), at(165), seconds(5)), Some(60_000_000));
        assert_eq!(jump(at(100), at(45), seconds(5)), Some(-60_000_000));
    }

    #[test]
    fn monotonic_time_follows_forward_jumps_and_stands_still_through_backward_ones() {
        let time = MonotonicTime::starting_at(Timestamp(10));
        let shown: Vec<i64> = [5, 12, 90, 40, 91]
            .into_iter()
            .map(|wall| time.now(Timestamp(wall)).0)
            .collect();
        assert_eq!(shown, [10, 12, 90, 90, 91]);
    }
}
