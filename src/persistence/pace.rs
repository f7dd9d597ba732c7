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
//! - Services in the background do not count as at work, and nobody waits for what they do by
//!   themselves: they are woken as soon as the others rest or a group begins, so that their turns
//!   are taken while the disk writes and delay nobody.
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
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::state::Cell;
use super::store::Core;
use super::writing::locked;
use crate::clock::Stopwatch;
use crate::commit::Position;

/// How long commits may wait for company.
pub(crate) const COMPANY_MAX: Duration = Duration::from_millis(1);

/// Wakes somebody who works in the background.
pub(crate) type Rouse = Box<dyn FnOnce() + Send>;

/// What the writer and those who queue commits know of each other.
#[derive(Default)]
pub(crate) struct Pace {
    /// How many of those who queue commits are at work.
    at_work: AtomicUsize,
    /// Whether the writer waits for company, or for anything to write.
    lingering: AtomicBool,
    /// How long a group takes, in nanoseconds.
    group: AtomicU64,
    /// The newest position that the writer has taken.
    taken: AtomicU64,
    /// Who is to be woken when the others rest or a group begins.
    background: Mutex<Vec<Rouse>>,
}

impl Pace {
    /// Starts with nothing to write beyond this position.
    pub(crate) fn starting_at(position: Position) -> Pace {
        Pace {
            taken: AtomicU64::new(position.0),
            ..Pace::default()
        }
    }

    /// A group up to this position begins.
    pub(crate) fn takes(&self, position: Position) {
        self.taken.store(position.0, Ordering::SeqCst);
        self.rouse();
    }

    /// Wakes who works in the background.
    pub(crate) fn rouse(&self) {
        let waiting = std::mem::take(&mut *locked(&self.background));
        for rouse in waiting {
            rouse();
        }
    }

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
    pub(super) fn is_at_work(&self) -> bool {
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
                .is_some_and(|awaited| self.left(awaited.since.elapsed()).is_none())
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

    /// Wakes somebody once nobody is at work or a group begins, which is soon; at once if there is
    /// nothing to write.
    pub(crate) fn rouse_later(&self, rouse: Rouse) {
        let pace = &self.core.pace;
        locked(&pace.background).push(rouse);
        // Looked at after it was noted: a group that has taken what is queued either finds the note
        // or is seen here. Whatever is queued and not taken will be taken by a group to come.
        if !pace.is_at_work()
            || pace.taken.load(Ordering::SeqCst) >= self.core.queued.load(Ordering::SeqCst)
        {
            pace.rouse();
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
                Some(awaited) => self.pace.left(awaited.since.elapsed()),
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
        self.pace.rouse();
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
