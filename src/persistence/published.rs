//! Published events: those since the last checkpoint in memory, the older ones in the event log.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::commit::{EventNumber, Position, ServiceId};
use crate::error::StoreError;

/// A published event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its number in the cell's event log.
    pub number: EventNumber,
    /// When it was published.
    pub at: Timestamp,
    /// Who published it.
    pub service: ServiceId,
    /// The encoded envelope.
    pub envelope: Bytes,
}

/// A page of published events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventPage {
    /// The oldest event that is still kept. A reader who asked for an older one has a gap.
    pub first_kept: EventNumber,
    /// The events, ascending.
    pub events: Vec<StoredEvent>,
}

/// The events of a cell.
#[derive(Default)]
pub(crate) struct Published {
    recent: Mutex<VecDeque<(Position, StoredEvent)>>,
}

impl Published {
    pub(crate) fn push(&self, position: Position, event: StoredEvent) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back((position, event));
    }

    /// Durable events from a number on.
    pub(crate) fn read(
        &self,
        from: EventNumber,
        limit: usize,
        durable: Position,
    ) -> Result<EventPage, StoreError> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let start = recent.partition_point(|(_, event)| event.number < from);
        Ok(EventPage {
            first_kept: recent.front().map_or(from, |(_, event)| event.number),
            events: recent
                .range(start..)
                .take_while(|(position, _)| *position <= durable)
                .take(limit)
                .map(|(_, event)| event.clone())
                .collect(),
        })
    }
}
