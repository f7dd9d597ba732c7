//! The event feed: published events in the order of their numbers, for readers outside of the
//! system.
//!
//! It promises that an event is shown only when it is durable, that numbers never change and are
//! never given out twice in one data directory, and that whatever can no longer be read is told
//! as a gap. Whoever remembers the number it has come to goes on from there, also after a restart.
//!
//! A restore from a backup makes another data directory, which gives the numbers behind the
//! backup's last event to other events. Whoever may meet that keeps an [`EventCursor`] instead.
//!
//! ```text
//! turn ─► commit ─► journal synced ─► readable ─► news(after) completes
//!                                        │
//!                 read(after) ◄── memory ┴ event log (since the last checkpoint: memory)
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::actors::cell::Cell;
use crate::clock::Timestamp;
use crate::codec::CodecError;
use crate::commit::{EventNumber, ServiceId};
use crate::cursor::EventCursor;
use crate::envelope::{Envelope, Key, MessageId, TraceContext};
use crate::error::StoreError;
use crate::handlers::EventDoor;
use crate::persistence::store::{EventPage, Readable, StoredEvent};

/// The published events of a system. Cheap to clone.
///
/// ```no_run
/// # use redeliver::{EventNumber, FeedItem, System};
/// # async fn read(system: System) -> Result<(), redeliver::StoreError> {
/// let feed = system.events();
/// let mut after = EventNumber(0); // or the number this reader has come to
/// while feed.news(after).await.is_some() {
///     let page = feed.read(after, 100).await?;
///     for item in &page.items {
///         match item {
///             FeedItem::Event(event) => println!("{} {}", event.number.0, event.name),
///             FeedItem::Gap(gap) => println!("{} to {} are gone", gap.first.0, gap.last.0),
///         }
///     }
///     after = page.through;
/// }
/// # Ok(())
/// # }
/// ```
///
/// A reader that outlives the process keeps the text of [`EventFeed::cursor`] and comes back with
/// [`EventFeed::resume`]. A number alone would skip events, and say nothing of it, once a backup has
/// been restored in between.
///
/// ```no_run
/// # use redeliver::{EventCursor, FeedPage, NoEventCursor, System};
/// # fn come_back(system: System, kept: &str) -> Result<(), NoEventCursor> {
/// let feed = system.events();
/// let FeedPage { items, through } = feed.resume(kept.parse::<EventCursor>()?);
/// for gap in items { /* what was seen, or missed, of a history that is lost */ }
/// let to_keep = feed.cursor(through).to_string(); // read on after `through`
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EventFeed {
    cell: Arc<Cell>,
    readable: watch::Receiver<Readable>,
    /// In a simulation files are read where they stand, for determinism.
    simulated: bool,
}

/// Some of the feed, in the order of the numbers.
#[derive(Debug, Clone)]
pub struct FeedPage {
    /// Events, and gaps where events should be.
    pub items: Vec<FeedItem>,
    /// The number this page comes to: read on after it.
    pub through: EventNumber,
}

/// A piece of the feed.
#[derive(Debug, Clone)]
pub enum FeedItem {
    /// An event.
    Event(Box<PublishedEvent>),
    /// Numbers whose events cannot be read.
    Gap(Gap),
}

/// Numbers whose events cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The first of them.
    pub first: EventNumber,
    /// The last of them.
    pub last: EventNumber,
    /// Why.
    pub reason: GapReason,
}

/// Why events cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapReason {
    /// They were older, or more, than is kept.
    Trimmed,
    /// Their part of the event log, or the event itself, is damaged.
    Damaged,
    /// The reader has these numbers from another data directory, such as the one that a backup
    /// was taken of. Here they are of other events, or of none yet; reading goes on after the last
    /// event that both are known to have.
    Unknown,
}

impl GapReason {
    /// The reason in one word: `trimmed`, `damaged` or `unknown`.
    pub fn word(self) -> &'static str {
        match self {
            GapReason::Trimmed => "trimmed",
            GapReason::Damaged => "damaged",
            GapReason::Unknown => "unknown",
        }
    }
}

/// A published event.
#[derive(Clone)]
pub struct PublishedEvent {
    /// Its number in the data directory.
    pub number: EventNumber,
    /// Wire name: the present one, if it was published under a former name.
    pub name: String,
    /// Version of the body as [`PublishedEvent::json`] writes it.
    pub version: u16,
    /// The service that published it.
    pub service: Arc<str>,
    /// When, by that service's turn.
    pub at: Timestamp,
    /// The message.
    pub id: MessageId,
    /// What everything in its conversation goes back to.
    pub correlation: MessageId,
    /// The message whose turn published it.
    pub causation: MessageId,
    /// Trace context, if the conversation is traced.
    pub trace: Option<TraceContext>,
    /// Ordering key.
    pub key: Key,
    envelope: Envelope,
    door: Option<EventDoor>,
}

impl PublishedEvent {
    /// The body as JSON, as its type says it. Decoded now: a reader that does not want an event
    /// does not pay for it.
    ///
    /// # Errors
    ///
    /// If no service that is hosted now publishes such events, or its type cannot read this one.
    pub fn json(&self) -> Result<Vec<u8>, CodecError> {
        match &self.door {
            Some(door) => (door.write)(&self.envelope),
            None => Err(CodecError::Decode {
                subject: self.name.clone(),
                detail: format!("service {} no longer publishes it", self.service),
            }),
        }
    }
}

impl fmt::Debug for PublishedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishedEvent")
            .field("number", &self.number)
            .field("name", &self.name)
            .field("service", &self.service)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EventFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventFeed")
            .field("last", &self.last())
            .finish_non_exhaustive()
    }
}

impl EventFeed {
    pub(crate) fn new(cell: Arc<Cell>, simulated: bool) -> EventFeed {
        EventFeed {
            readable: cell.store.readable(),
            cell,
            simulated,
        }
    }

    /// The newest event that can be read; 0 if there has never been one.
    pub fn last(&self) -> EventNumber {
        self.readable.borrow().last
    }

    /// What a reader keeps that has come to a number of this feed, to come back with.
    pub fn cursor(&self, number: EventNumber) -> EventCursor {
        EventCursor {
            number,
            incarnation: self.cell.store.lineage().name(),
        }
    }

    /// Where a reader goes on that comes back with a cursor: a page without events. It has a gap if
    /// the reader had gone further in a history that a restore has ended; what is then read after
    /// its `through` may have the numbers of events that the reader has seen, and is new.
    pub fn resume(&self, cursor: EventCursor) -> FeedPage {
        let EventCursor {
            number,
            incarnation,
        } = cursor;
        match self.cell.store.lineage().last_shared(incarnation) {
            Some(shared) if shared < number => FeedPage {
                items: vec![FeedItem::Gap(Gap {
                    first: EventNumber(shared.0 + 1),
                    last: number,
                    reason: GapReason::Unknown,
                })],
                through: shared,
            },
            Some(_) | None => FeedPage {
                items: Vec::new(),
                through: number,
            },
        }
    }

    /// What comes after a number: at most `limit` events and about 1 MiB, but one event at least
    /// if there is one. An empty page says that there is no more yet.
    pub async fn read(&self, after: EventNumber, limit: usize) -> Result<FeedPage, StoreError> {
        let last = self.last();
        if after > last {
            let gap = Gap {
                first: EventNumber(last.0 + 1),
                last: after,
                reason: GapReason::Unknown,
            };
            return Ok(FeedPage {
                items: vec![FeedItem::Gap(gap)],
                through: last,
            });
        }
        let from = EventNumber(after.0 + 1);
        let store = &self.cell.store;
        let page = if self.simulated || store.events_are_recent(from) {
            store.events(from, limit)?
        } else {
            let store = store.clone();
            let read = tokio::task::spawn_blocking(move || store.events(from, limit));
            read.await.unwrap_or_else(|error| {
                Err(StoreError::Closed {
                    reason: error.to_string(),
                })
            })?
        };
        Ok(self.page(page))
    }

    /// Waits until there is something to read after a number; at once if there is. `None` when there will
    /// be nothing more: the system drains or has stopped.
    pub async fn news(&self, after: EventNumber) -> Option<EventNumber> {
        let mut readable = self.readable.clone();
        let newer = async {
            let found = readable.wait_for(|readable| readable.closed || readable.last != after);
            // An error says that the store is gone, as closed does.
            found.await.ok().map(|readable| *readable)
        };
        let found = tokio::select! {
            biased;
            () = self.cell.draining.cancelled() => None,
            found = newer => found,
        };
        found
            .filter(|readable| !readable.closed)
            .map(|readable| readable.last)
    }

    /// Puts events and gaps into one row.
    fn page(&self, page: EventPage) -> FeedPage {
        let EventPage {
            first_kept,
            events,
            gaps,
            next,
        } = page;
        let mut gaps = gaps.into_iter().peekable();
        let mut items = Vec::with_capacity(events.len());
        let mut names = HashMap::new();
        for event in events {
            while let Some(gap) = gaps.next_if(|gap| gap.first < event.number) {
                items.push(FeedItem::Gap(reasoned(gap.first, gap.last, first_kept)));
            }
            let number = event.number;
            items.push(match self.published(event, &mut names) {
                Ok(event) => FeedItem::Event(Box::new(event)),
                Err(error) => {
                    tracing::warn!(number = number.0, %error, "a published event cannot be read");
                    FeedItem::Gap(reasoned(number, number, EventNumber(0)))
                }
            });
        }
        items.extend(gaps.map(|gap| FeedItem::Gap(reasoned(gap.first, gap.last, first_kept))));
        FeedPage {
            items,
            through: EventNumber(next.0.saturating_sub(1)),
        }
    }

    fn published(
        &self,
        event: StoredEvent,
        names: &mut HashMap<ServiceId, Arc<str>>,
    ) -> Result<PublishedEvent, CodecError> {
        let envelope = Envelope::decode(&event.envelope)?;
        let member = self.cell.member(event.service);
        let door = member.and_then(|member| member.hosted.event_door(envelope.name()));
        let service = names
            .entry(event.service)
            .or_insert_with(|| self.name_of(event.service));
        Ok(PublishedEvent {
            number: event.number,
            name: door.map_or(envelope.name(), |door| door.name).to_owned(),
            version: door.map_or(envelope.version, |door| door.version),
            service: service.clone(),
            at: event.at,
            id: envelope.id,
            correlation: envelope.correlation,
            causation: envelope.causation,
            trace: envelope.trace,
            key: envelope.key.clone(),
            envelope,
            door,
        })
    }

    /// The name of a service, also of one that is no longer hosted.
    fn name_of(&self, id: ServiceId) -> Arc<str> {
        match self.cell.member(id) {
            Some(member) => member.name().into(),
            None => {
                let services = self.cell.store.services();
                let known = services.iter().find(|(known, _, _)| *known == id);
                known.map_or("?", |(_, name, _)| name).into()
            }
        }
    }
}

fn reasoned(first: EventNumber, last: EventNumber, first_kept: EventNumber) -> Gap {
    Gap {
        first,
        last,
        reason: match first < first_kept {
            true => GapReason::Trimmed,
            false => GapReason::Damaged,
        },
    }
}
