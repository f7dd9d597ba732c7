//! Published events: those since the last checkpoint in memory, all older ones in the event log.
//!
//! An event can be read as soon as its commit is durable, and whoever waits for it is told then.
//! The number of the newest readable one moves before anything else learns of the new durable
//! position, so that nothing is ever read beyond it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::watch;

use super::events::{EventGap, EventLog, EventPage, StoredEvent};
use crate::clock::Timestamp;
use crate::commit::{EventNumber, Position};
use crate::error::StoreError;

/// Events that a checkpoint gives to the log at a time.
const SAVED_AT_ONCE: usize = 1_024;

/// The events of a cell.
#[derive(Default)]
pub(crate) struct Published {
    /// In recovery these may overlap the log's; what is in both is the same.
    recent: Mutex<VecDeque<StoredEvent>>,
    log: OnceLock<EventLog>,
    readable: watch::Sender<Readable>,
}

/// How far events can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readable {
    /// The newest durable event; 0 if there has never been one.
    pub last: EventNumber,
    /// Whether the store has closed: there will be no more.
    pub closed: bool,
}

impl Published {
    fn recent(&self) -> MutexGuard<'_, VecDeque<StoredEvent>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the log behind the events in memory.
    pub(crate) fn keep_in(&self, log: EventLog) {
        // There is one opening, and it calls this once.
        let _ = self.log.set(log);
    }

    /// Tells how far events can be read, and every change of it.
    pub(crate) fn readable(&self) -> watch::Receiver<Readable> {
        self.readable.subscribe()
    }

    /// Begins with what an opening has found, all of which is durable.
    pub(crate) fn begin_at(&self, last: EventNumber) {
        self.readable.send_modify(|readable| readable.last = last);
    }

    /// Makes the events readable that are durable now.
    pub(crate) fn durable_to(&self, durable: Position) {
        let last = {
            let recent = self.recent();
            let count = recent.partition_point(|event| event.position <= durable);
            count.checked_sub(1).map(|newest| recent[newest].number)
        };
        self.readable.send_if_modified(|readable| {
            let newer = last.is_some_and(|last| last > readable.last);
            readable.last = readable.last.max(last.unwrap_or_default());
            newer
        });
    }

    /// Says that there will be no more events.
    pub(crate) fn close(&self) {
        self.readable.send_modify(|readable| readable.closed = true);
    }

    /// Whether the events from a number on can be read without the log.
    pub(crate) fn is_recent(&self, from: EventNumber) -> bool {
        let first = self.recent().front().map(|event| event.number);
        from > self.readable.borrow().last || first.is_some_and(|first| first <= from)
    }

    pub(crate) fn push(&self, event: StoredEvent) {
        self.recent().push_back(event);
    }

    /// Makes the events up to a number durable in the log.
    pub(crate) fn save(&self, last: EventNumber) -> Result<(), StoreError> {
        let Some(log) = self.log.get() else {
            return Ok(());
        };
        // In runs, so that neither the copies nor their records are all in memory at once.
        let mut next = 0;
        loop {
            let run: Vec<StoredEvent> = {
                let recent = self.recent();
                let count = recent.partition_point(|event| event.number <= last);
                let end = count.min(next + SAVED_AT_ONCE);
                recent.range(next..end).cloned().collect()
            };
            if run.is_empty() {
                break;
            }
            next += run.len();
            log.append(&run)?;
        }
        if next == 0 {
            return Ok(());
        }
        log.sync()
    }

    /// Lets go of the events that the log has saved.
    pub(crate) fn release(&self, last: EventNumber) {
        let mut recent = self.recent();
        let count = recent.partition_point(|event| event.number <= last);
        recent.drain(..count);
    }

    /// Removes what the log's limits no longer allow.
    pub(crate) fn trim(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.log.get().map_or(Ok(0), |log| log.trim(now))
    }

    /// Durable events from a number on: at most `limit`, and at most `bytes_max` of envelopes, but
    /// one at least if there is one.
    pub(crate) fn read(
        &self,
        from: EventNumber,
        limit: usize,
        bytes_max: usize,
    ) -> Result<EventPage, StoreError> {
        let from = from.max(EventNumber(1));
        let last = self.readable.borrow().last;
        // The ones in memory first: whatever is older than the first of them is in the log.
        let (first, recent) = {
            let recent = self.recent();
            let start = recent.partition_point(|event| event.number < from);
            let events: Vec<StoredEvent> = recent
                .range(start..)
                .take_while(|event| event.number <= last)
                .take(limit)
                .cloned()
                .collect();
            (recent.front().map(|event| event.number), events)
        };
        let in_log = first.is_none_or(|first| from < first);
        let mut page = match self.log.get().filter(|_| in_log) {
            Some(log) => log.read(from, limit, bytes_max)?,
            None => EventPage {
                first_kept: first.map_or(from, |first| {
                    self.log.get().map_or(first, |log| log.first().min(first))
                }),
                events: Vec::new(),
                gaps: Vec::new(),
                next: from,
            },
        };
        let Some(first) = first else {
            return Ok(page);
        };
        // The log may have been given events that were still in memory a moment ago.
        page.events.retain(|event| event.number < first);
        page.gaps.retain(|gap| gap.first < first);
        if let Some(gap) = page.gaps.last_mut() {
            gap.last = gap.last.min(EventNumber(first.0.saturating_sub(1)));
        }
        // A full page of the log ends before it comes to the events in memory.
        if page.next < first && in_log {
            return Ok(page);
        }
        page.next = page.next.min(first.max(from));
        let mut bytes: usize = page.events.iter().map(|event| event.envelope.len()).sum();
        for event in recent {
            bytes += event.envelope.len();
            let full = page.events.len() >= limit || bytes > bytes_max;
            if full && !page.events.is_empty() {
                break;
            }
            // Numbers are dense but for what an interrupted append of the log has lost.
            if event.number > page.next {
                page.gaps.push(EventGap {
                    first: page.next,
                    last: EventNumber(event.number.0 - 1),
                });
            }
            page.next = EventNumber(event.number.0 + 1);
            page.events.push(event);
        }
        Ok(page)
    }
}
