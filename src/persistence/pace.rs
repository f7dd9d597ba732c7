//! The pace of the journal: when its writer begins the next group.
//!
//! A sync costs the same for one commit as for a thousand, and a commit that comes just after a
//! sync has begun waits for all of it and for the next. The services say when they are at work,
//! because then more is about to come:
//!
//! - What somebody waits for (a caller, an activity, a notice) is written as soon as all services
//!   rest, and at the latest after the time that a group takes: waiting for it costs nobody more
//!   than coming too late would have.
//! - What nobody waits for is written with what somebody does, and at the latest after
//!   [`UNAWAITED_MAX`]. A power loss until then takes what nobody has been told of.
//! - What came while the last group was written, and is waited for, is a group already.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::store::Core;
use crate::clock::Stopwatch;

/// How long commits that nobody waits for may wait for company.
pub(crate) const UNAWAITED_MAX: Duration = Duration::from_millis(2);

/// However slow the disk is, nobody waits longer than this for company.
const AWAITED_MAX: Duration = Duration::from_millis(1);

/// What the writer knows of its groups.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// How long a group takes.
    group: Duration,
}

impl Pace {
    /// Notes how long a group has taken. A single slow one does not set the pace.
    pub(crate) fn took(&mut self, took: Duration) {
        self.group = if self.group.is_zero() {
            took
        } else {
            (self.group * 7 + took) / 8
        };
    }

    /// How much longer the next group may wait for company; `None`: it begins. `unawaited` is how
    /// long it waits already, `awaited` how long somebody has been waiting for it.
    fn left(
        &self,
        unawaited: Duration,
        awaited: Option<Duration>,
        at_work: bool,
    ) -> Option<Duration> {
        let left = match awaited {
            Some(_) if !at_work => return None,
            Some(awaited) => self.group.min(AWAITED_MAX).saturating_sub(awaited),
            None => UNAWAITED_MAX.saturating_sub(unawaited),
        };
        (!left.is_zero()).then_some(left)
    }
}

/// Tells the store that its owner is at work, so that commits of it are likely to follow.
pub(crate) struct AtWork {
    core: Arc<Core>,
    now: bool,
}

impl AtWork {
    pub(crate) fn new(core: Arc<Core>) -> AtWork {
        AtWork { core, now: false }
    }

    /// Goes to work or to rest.
    pub(crate) fn set(&mut self, now: bool) {
        if self.now == now {
            return;
        }
        self.now = now;
        if now {
            self.core.at_work.fetch_add(1, Ordering::SeqCst);
        } else if self.core.at_work.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.core.all_rest();
        }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.set(false);
    }
}

impl Core {
    /// Waits until there is something to write and its time has come. `follows` says that a group
    /// has just been written.
    pub(crate) fn await_group(&self, pace: &Pace, follows: bool) {
        let mut cell = self.cell();
        if follows && (cell.pending.is_empty() || !cell.outputs.is_empty()) {
            return;
        }
        while cell.writer_idle && self.closed.get().is_none() {
            cell = self.wait(cell, None);
        }
        let unawaited = Stopwatch::start();
        let mut awaited = None;
        while self.closed.get().is_none() && !cell.closing {
            if awaited.is_none() && !cell.outputs.is_empty() {
                awaited = Some(Stopwatch::start());
            }
            // Said before it is asked who is at work: the last to go to rest sees it.
            self.lingering.store(true, Ordering::SeqCst);
            let at_work = self.at_work.load(Ordering::SeqCst) > 0;
            let awaited = awaited.as_ref().map(Stopwatch::elapsed);
            let Some(left) = pace.left(unawaited.elapsed(), awaited, at_work) else {
                break;
            };
            cell = self.wait(cell, Some(left));
        }
        self.lingering.store(false, Ordering::SeqCst);
    }

    /// The last service has gone to rest.
    fn all_rest(&self) {
        if self.lingering.load(Ordering::SeqCst) {
            // Under the lock the writer either has not looked yet or waits already.
            let cell = self.cell();
            if !cell.outputs.is_empty() {
                self.wake.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn paced(group: u64) -> Pace {
        let mut pace = Pace::default();
        pace.took(micros(group));
        pace
    }

    #[test]
    fn what_is_awaited_begins_when_all_rest_or_after_the_time_of_a_group() {
        let pace = paced(150);
        let long_ago = UNAWAITED_MAX * 2;
        assert_eq!(pace.left(long_ago, Some(micros(0)), false), None);
        assert_eq!(
            pace.left(long_ago, Some(micros(100)), true),
            Some(micros(50))
        );
        assert_eq!(pace.left(long_ago, Some(micros(150)), true), None);
    }

    #[test]
    fn nobody_waits_long_for_company_on_a_slow_disk() {
        let pace = paced(100_000);
        assert_eq!(pace.left(micros(0), Some(AWAITED_MAX), true), None);
    }

    #[test]
    fn what_nobody_awaits_begins_after_its_time_whoever_works() {
        let pace = paced(150);
        for at_work in [false, true] {
            let left = pace.left(micros(500), None, at_work);
            assert_eq!(left, Some(UNAWAITED_MAX - micros(500)));
            assert_eq!(pace.left(UNAWAITED_MAX, None, at_work), None);
        }
    }

    #[test]
    fn one_slow_group_does_not_set_the_pace() {
        let mut pace = paced(100);
        pace.took(micros(900));
        assert_eq!(pace.group, micros(200));
    }
}
