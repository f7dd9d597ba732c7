//! The pace of the journal: when its writer begins the next group.
//!
//! A sync costs the same for one commit as for a thousand, and a commit that comes just after a
//! sync has begun waits for all of it and for the next. The services say when they are at work,
//! because then more is about to come:
//!
//! - What somebody waits for (a caller, an activity, a notice) is written as soon as all services
//!   rest. If they do not, it is written after the time that a group takes: waiting for it costs
//!   nobody more than coming too late would have.
//! - What came while the last group was written, and is waited for, is a group already.
//! - What nobody waits for is written with what somebody does.
//! - Nothing waits longer than [`COMPANY_MAX`], however slow the disk or a handler is. A power loss
//!   until then takes only what nobody has been told of.
//!
//! ```text
//! idle ──(a commit)──► lingers ──(all rest, or its time has come)──► writes ─┐
//!   ▲                     ▲  │                                               │
//!   └──(nothing came)─────┼──┘                                               │
//!                         └──────────(nobody waits for what came)◄───────────┘
//! ```
//!
//! Waking a thread costs as much as a turn. Therefore commits do not wake a writer that lingers;
//! the last service to go to rest does.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::state::Cell;
use super::store::Core;
use crate::clock::Stopwatch;

/// How long commits may wait for company.
pub(crate) const COMPANY_MAX: Duration = Duration::from_millis(1);

/// What the writer and those who queue commits know of each other.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// How many of those who queue commits are at work.
    at_work: AtomicUsize,
    /// Whether the writer waits for company, or for anything to write.
    lingering: AtomicBool,
    /// How long a group takes, in nanoseconds.
    group: AtomicU64,
}

impl Pace {
    /// Notes how long a group has taken. A single slow one does not set the pace.
    pub(crate) fn took(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let before = self.group.load(Ordering::Relaxed);
        let group = if before == 0 {
            took
        } else {
            before - before / 8 + took / 8
        };
        self.group.store(group, Ordering::Relaxed);
    }

    /// Whether somebody is likely to queue more.
    fn is_at_work(&self) -> bool {
        self.at_work.load(Ordering::SeqCst) > 0
    }

    /// How much longer a group may wait for company that somebody has been waiting for; `None`: it
    /// begins.
    fn left(&self, awaited: Duration) -> Option<Duration> {
        if !self.is_at_work() {
            return None;
        }
        let group = Duration::from_nanos(self.group.load(Ordering::Relaxed));
        let left = group.min(COMPANY_MAX).saturating_sub(awaited);
        (!left.is_zero()).then_some(left)
    }

    /// Whether a writer that lingers must be told of what is pending now.
    pub(crate) fn is_due(&self, cell: &Cell) -> bool {
        self.lingering.load(Ordering::SeqCst)
            && cell
                .awaited
                .as_ref()
                .is_some_and(|since| self.left(since.elapsed()).is_none())
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
            self.core.pace.at_work.fetch_add(1, Ordering::SeqCst);
        } else if self.core.pace.at_work.fetch_sub(1, Ordering::SeqCst) == 1 {
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
    /// Waits until there may be something to write and its time has come. `follows` says that a
    /// group has just been written.
    pub(crate) fn await_group(&self, follows: bool) {
        let mut cell = self.cell();
        if follows && cell.awaited.is_some() {
            return;
        }
        while cell.writer_idle && self.closed.get().is_none() {
            cell = self.wake.wait(cell).unwrap_or_else(PoisonError::into_inner);
        }
        let lingers = Stopwatch::start();
        // Said before it is asked who is at work: the last to go to rest sees it.
        self.pace.lingering.store(true, Ordering::SeqCst);
        while self.closed.get().is_none() && !cell.closing {
            let left = match &cell.awaited {
                Some(since) => self.pace.left(since.elapsed()),
                None => COMPANY_MAX.checked_sub(lingers.elapsed()),
            };
            let Some(left) = left.filter(|left| !left.is_zero()) else {
                break;
            };
            cell = self
                .wake
                .wait_timeout(cell, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        self.pace.lingering.store(false, Ordering::SeqCst);
    }

    /// The last service has gone to rest.
    fn all_rest(&self) {
        if self.pace.lingering.load(Ordering::SeqCst) {
            // Under the lock the writer either has not looked yet or waits already.
            let cell = self.cell();
            if cell.awaited.is_some() {
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

    fn paced(group: Duration, at_work: usize) -> Pace {
        let pace = Pace::default();
        pace.took(group);
        pace.at_work.store(at_work, Ordering::SeqCst);
        pace
    }

    #[test]
    fn a_group_begins_when_all_rest_or_after_the_time_that_a_group_takes() {
        assert_eq!(paced(micros(150), 0).left(micros(0)), None);
        let pace = paced(micros(150), 2);
        assert_eq!(pace.left(micros(100)), Some(micros(50)));
        assert_eq!(pace.left(micros(150)), None);
    }

    #[test]
    fn nobody_waits_long_for_company_on_a_slow_disk() {
        assert_eq!(paced(micros(100_000), 1).left(COMPANY_MAX), None);
    }

    #[test]
    fn one_slow_group_does_not_set_the_pace() {
        let pace = paced(micros(80), 1);
        pace.took(micros(880));
        assert_eq!(pace.left(micros(0)), Some(micros(180)));
    }
}
