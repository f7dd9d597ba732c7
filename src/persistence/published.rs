//! Published events: those since the last checkpoint in memory, all older ones in the event log.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::events::{EventLog, EventPage, StoredEvent};
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

    /// Durable events from a number on.
    pub(crate) fn read(
        &self,
        from: EventNumber,
        limit: usize,
        durable: Position,
    ) -> Result<EventPage, StoreError> {
        let from = from.max(EventNumber(1));
        // The ones in memory first: whatever is older than the first of them is in the log.
        let (first, recent) = {
            let recent = self.recent();
            let start = recent.partition_point(|event| event.number < from);
            let events: Vec<StoredEvent> = recent
                .range(start..)
                .take_while(|event| event.position <= durable)
                .take(limit)
                .cloned()
                .collect();
            (recent.front().map(|event| event.number), events)
        };
        let older = match (self.log.get(), first) {
            (Some(log), Some(first)) if from < first => Some(log.read(from, limit, usize::MAX)?),
            (Some(log), None) => Some(log.read(from, limit, usize::MAX)?),
            _ => None,
        };
        let mut page = older.unwrap_or_else(|| EventPage {
            first_kept: first.map_or(from, |first| {
                self.log.get().map_or(first, |log| log.first().min(first))
            }),
            events: Vec::new(),
            gaps: Vec::new(),
            next: from,
        });
        let Some(first) = first else {
            return Ok(page);
        };
        page.events.retain(|event| event.number < first);
        // The log may have filled the page before it came to the events in memory.
        let complete = page.next >= first || page.events.len() < limit;
        if complete {
            let room = limit - page.events.len();
            page.events.extend(recent.into_iter().take(room));
        }
        if let Some(last) = page.events.last() {
            page.next = EventNumber(last.number.0 + 1);
        }
        Ok(page)
    }
}
