//! The state of a cell in memory, and the one function that a commit changes it by, whether it
//! comes from a turn or from the journal.

use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use super::catalog::Catalog;
use super::events::StoredEvent;
use super::format::Malformed;
use super::journal::body::{self, Numbers};
use super::journal::writer::Pending;
use super::published::Published;
use super::streams::Streams;
use super::tables::{CATALOG, FIRST_TABLE, Tables};
use crate::clock::{Stopwatch, Timestamp};
use crate::commit::{
    Commit, EventNumber, Haste, Output, Position, Sequence, ServiceId, StreamId, TableId,
};
use crate::error::StoreError;

/// Tables, streams, events and names. Written only by whoever holds the cell lock (or is alone, in
/// recovery); read by everyone.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) tables: Tables,
    pub(crate) streams: Streams,
    pub(crate) published: Published,
    catalog: RwLock<Catalog>,
}

/// What the cell lock protects, besides the order in which commits are applied.
pub(crate) struct Cell {
    /// The newest queued position.
    pub(crate) last: Position,
    /// Commits that the writer has not taken.
    pub(crate) pending: Vec<Pending>,
    /// What runs when a position is durable, ascending.
    pub(crate) outputs: VecDeque<(Position, Haste, Output)>,
    /// Whether somebody waits for any of them.
    pub(crate) awaited: Option<Awaited>,
    /// The newest epoch of each service.
    pub(crate) epochs: Vec<u64>,
    pub(crate) last_event: EventNumber,
    /// The newest time of any commit.
    pub(crate) newest: Timestamp,
    /// Bytes of bodies since the last checkpoint froze the tables.
    pub(crate) uncheckpointed_bytes: u64,
    /// Whether the writer must be told of new work.
    pub(crate) writer_idle: bool,
    /// Whether the store is being closed and takes no more commits.
    pub(crate) closing: bool,
}

/// What somebody waits for.
pub(crate) struct Awaited {
    /// How long already.
    pub(crate) since: Stopwatch,
    /// Up to which position.
    upto: Position,
}

/// How a commit gets its numbers.
pub(crate) enum Given<'a> {
    /// Now; they are appended to the body.
    Live(&'a mut Vec<u8>),
    /// They stand in the journal.
    Replayed(&'a Numbers),
}

impl Cell {
    pub(crate) fn at(position: Position, newest: Timestamp, last_event: EventNumber) -> Cell {
        Cell {
            last: position,
            pending: Vec::new(),
            outputs: VecDeque::new(),
            awaited: None,
            epochs: Vec::new(),
            last_event,
            newest,
            uncheckpointed_bytes: 0,
            writer_idle: true,
            closing: false,
        }
    }

    /// Keeps what is to run when a position is durable.
    pub(crate) fn promise(
        &mut self,
        position: Position,
        outputs: impl IntoIterator<Item = Output>,
        haste: Haste,
    ) {
        for output in outputs {
            if haste == Haste::Awaited {
                let awaited = self.awaited.get_or_insert_with(|| Awaited {
                    since: Stopwatch::start(),
                    upto: position,
                });
                awaited.upto = awaited.upto.max(position);
            }
            let place = self.outputs.partition_point(|(due, ..)| *due <= position);
            self.outputs.insert(place, (position, haste, output));
        }
    }

    /// Takes what runs when a position is durable.
    pub(crate) fn released(&mut self, position: Position) -> VecDeque<(Position, Haste, Output)> {
        let count = self.outputs.partition_point(|(due, ..)| *due <= position);
        let rest = self.outputs.split_off(count);
        self.awaited.take_if(|awaited| awaited.upto <= position);
        std::mem::replace(&mut self.outputs, rest)
    }
}

impl State {
    pub(crate) fn new() -> State {
        let state = State::default();
        state.tables.ensure(TableId(FIRST_TABLE.0 - 1));
        state
    }

    pub(crate) fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over a row of the catalog and makes room for what it names.
    pub(crate) fn name(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), Malformed> {
        let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        catalog.apply(key, value)?;
        if let Some((last, _)) = catalog.tables.last_key_value() {
            self.tables.ensure(*last);
        }
        Ok(())
    }

    /// Refuses a commit that would break what recovery relies on, before anything of it is done.
    pub(crate) fn check(&self, commit: &Commit) -> Result<(), StoreError> {
        let refused = |detail: String| StoreError::Refused {
            service: commit.service.0,
            detail,
        };
        let unknown = self.tables.with(|list| {
            let known = list.len() as u32;
            commit
                .writes
                .iter()
                .find(|write| write.table.0 >= known)
                .map(|write| write.table)
        });
        if let Some(table) = unknown {
            return Err(refused(format!("table {} does not exist", table.0)));
        }
        if let Some(moved) = &commit.mark {
            let id = StreamId {
                sender: moved.sender,
                receiver: commit.service,
            };
            let (sent, consumed) = self
                .streams
                .with(id, |stream| (stream.sent, stream.mark.consumed));
            if moved.mark.consumed < consumed || moved.mark.consumed > sent {
                return Err(refused(format!(
                    "the mark of its stream from service {} would go from {} to {} of {} sent",
                    moved.sender.0, consumed.0, moved.mark.consumed.0, sent.0
                )));
            }
        }
        Ok(())
    }

    /// Applies a commit. The caller has checked it or has it from the journal.
    pub(crate) fn apply(
        &self,
        cell: &mut Cell,
        commit: Commit,
        mut given: Given<'_>,
    ) -> Result<Vec<Vec<(ServiceId, Sequence)>>, Malformed> {
        let position = Position(cell.last.0 + 1);
        cell.last = position;
        cell.newest = cell.newest.max(commit.at);
        if let Some(moved) = &commit.mark {
            let id = StreamId {
                sender: moved.sender,
                receiver: commit.service,
            };
            self.streams.with(id, |stream| stream.advance(moved.mark));
        }
        let mut sequences = Vec::with_capacity(commit.sends.len());
        let mut events = 0;
        for (nth, send) in commit.sends.into_iter().enumerate() {
            let mut given_to = Vec::with_capacity(send.to.len());
            for (receiver_nth, receiver) in send.to.iter().enumerate() {
                let id = StreamId {
                    sender: commit.service,
                    receiver: *receiver,
                };
                let sequence = self.streams.with(id, |stream| {
                    let sequence = match &mut given {
                        Given::Live(body) => {
                            let sequence = stream.next();
                            body::put_sequence(body, sequence);
                            sequence
                        }
                        Given::Replayed(numbers) => numbers.sequences[nth][receiver_nth].1,
                    };
                    stream.push(sequence, send.envelope.clone());
                    sequence
                });
                given_to.push((*receiver, sequence));
            }
            sequences.push(given_to);
            if send.event {
                let number = match &mut given {
                    Given::Live(body) => {
                        let number = EventNumber(cell.last_event.0 + 1);
                        body::put_event(body, number);
                        number
                    }
                    Given::Replayed(numbers) => numbers.events[events],
                };
                events += 1;
                cell.last_event = cell.last_event.max(number);
                let event = StoredEvent {
                    number,
                    position,
                    at: commit.at,
                    service: commit.service,
                    envelope: send.envelope,
                };
                self.published.push(event);
            }
        }
        for write in &commit.writes {
            if write.table == CATALOG {
                self.name(&write.key, write.value.as_deref())?;
            }
        }
        self.tables.with(|list| {
            for write in commit.writes {
                // Tables are made when their catalog row is applied, which comes before any
                // commit that writes to them.
                list.get(write.table.0 as usize)
                    .ok_or(Malformed("it writes to a table without a name"))?
                    .put(write.key, write.value);
            }
            Ok(())
        })?;
        Ok(sequences)
    }
}
