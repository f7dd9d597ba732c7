//! Event streams: published events as server-sent events.
//!
//! A stream shows only what is durable, in the order of the numbers, each event once. Its ids are
//! the numbers, with the data directory's incarnation behind if it was restored from a backup:
//! whoever sends the last one it has seen as `Last-Event-ID` goes on behind it, also after a crash
//! of either side, and after a restore where both histories are still the same. What can no longer
//! be shown is told as an event `gap`.
//!
//! A stream costs a bounded amount whatever its reader does: there is a limit to how many are
//! open, to how far one may be ahead of its reader, and to how long a reader may take nothing.
//!
//! ```text
//! feed ─► view: may it be seen, how? ─► buffer ─► answer's body ─► connection
//!  │        asked again now and then      │ full for too long: dropped
//!  └ news wakes; a beat when there is none; the drain ends it
//! ```

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tracing::Instrument;
use warp::http::Method;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use super::extract::{Draining, draining, method};
use super::problem::Problem;
use crate::{EventCursor, EventFeed, EventNumber, FeedItem, FeedPage, Gap, PublishedEvent, System};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Events that are looked at between two looks at anything else.
const PAGE_EVENTS: usize = 64;

/// Limits of event streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventStreamsConfig {
    /// Streams open at a time; one more is answered with 503.
    pub streams_max: usize,
    /// Pieces that a stream may be ahead of its reader. A piece is one event.
    pub buffer_events: usize,
    /// How long a reader that is so far behind may take nothing. Then it is dropped; it can come
    /// back with the last id it has seen.
    pub read_timeout: Duration,
    /// How long a stream is silent before it sends a comment, which keeps proxies from closing it
    /// and finds readers that are gone.
    pub keep_alive: Duration,
    /// How often a stream asks whether its reader may still see it.
    pub recheck: Duration,
    /// When a reader should come back after its stream has ended.
    pub retry: Duration,
}

impl Default for EventStreamsConfig {
    fn default() -> EventStreamsConfig {
        EventStreamsConfig {
            streams_max: 256,
            buffer_events: 64,
            read_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
            recheck: Duration::from_secs(30),
            retry: Duration::from_secs(2),
        }
    }
}

/// What a reader is shown of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Show {
    /// Nothing.
    Nothing,
    /// This.
    This(Shown),
    /// Nothing, and nothing more: the stream ends.
    End,
}

/// An event as its reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its type (`event:`), for readers that listen to some only; empty for none.
    pub event: Cow<'static, str>,
    /// Its data: JSON without line breaks between its tokens.
    pub data: Vec<u8>,
}

/// Decides for one reader what it is shown.
pub trait EventView: Send + Sync + 'static {
    /// What the reader is shown of an event.
    fn show(&self, event: &PublishedEvent) -> impl Future<Output = Show> + Send;

    /// Whether the reader may go on; asked now and then for as long as the stream is open.
    fn may_go_on(&self) -> impl Future<Output = bool> + Send {
        async { true }
    }
}

/// The event streams of a server: where they come from and how many there may be. Clones share
/// the limit.
#[derive(Debug, Clone)]
pub struct EventStreams {
    feed: EventFeed,
    config: EventStreamsConfig,
    slots: Arc<Semaphore>,
}

impl EventStreams {
    /// Streams of a system's published events.
    pub fn new(system: &System, config: EventStreamsConfig) -> EventStreams {
        EventStreams {
            feed: system.events(),
            config,
            slots: Arc::new(Semaphore::new(config.streams_max)),
        }
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.config
            .streams_max
            .saturating_sub(self.slots.available_permits())
    }

    /// A stream behind an event, or of what is published from now on. `draining` is the server's
    /// own (see [`draining`]).
    pub fn answer<V: EventView>(
        &self,
        after: Option<EventCursor>,
        draining: Draining,
        view: V,
    ) -> Result<Response, Problem> {
        if draining.0.is_cancelled() {
            return Err(Problem::draining());
        }
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            let reason = format!(
                "this server has its {} event streams open; close one or come back later",
                self.config.streams_max
            );
            return Err(Problem::overloaded(reason, self.config.retry));
        };
        let (pieces, body) = mpsc::channel(self.config.buffer_events.max(1));
        let streaming = Streaming {
            feed: self.feed.clone(),
            config: self.config,
            view: Arc::new(view),
            pieces,
            told: after.map(|cursor| cursor.number()),
            _slot: slot,
        };
        tokio::spawn(streaming.run(after, draining).in_current_span());
        let mut response = warp::reply::stream(Pieces(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        // A proxy that changes or holds back a stream breaks it.
        headers.insert(
            CACHE_CONTROL,
            HeaderValue::from_static("no-store, no-transform"),
        );
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(response)
    }
}

/// How far a reader has come: its `Last-Event-ID`, else the parameter `after`, else none.
/// 0 is before the first.
pub fn resume_after(
    headers: &HeaderMap,
    after: Option<&str>,
) -> Result<Option<EventCursor>, Problem> {
    let header = headers.get(LAST_EVENT_ID).map(|id| id.to_str());
    let text = match header {
        // The browser sends it with the address of the first time: the header is the newer one.
        Some(text) => text.unwrap_or("?"),
        None => match after {
            Some(text) => text,
            None => return Ok(None),
        },
    };
    match text.trim().parse() {
        Ok(cursor) => Ok(Some(cursor)),
        Err(_) => Err(Problem::bad_request(
            "Last-Event-ID and `after` are the id of an event of this stream; leave both out to \
             begin with what comes next",
        )),
    }
}

/// `GET /events`: a stream for each reader that `view` makes a view for, or rejects.
///
/// ```
/// use redeliver::System;
/// use redeliver::http::{self, EventStreams, EventStreamsConfig};
///
/// # fn mount(system: System) {
/// let streams = EventStreams::new(&system, EventStreamsConfig::default());
/// let routes = http::events(streams, http::every_event()); // for trusted readers
/// # let _ = routes;
/// # }
/// ```
pub fn events<V, P>(
    streams: EventStreams,
    view: P,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone
where
    V: EventView,
    P: Filter<Extract = (V,), Error = Rejection> + Clone + Send + Sync + 'static,
{
    #[derive(serde::Deserialize)]
    struct From {
        after: Option<String>,
    }
    warp::path!("events")
        .and(method(Method::GET))
        .and(view)
        .and(warp::header::headers_cloned())
        .and(warp::query::<From>())
        .and(draining())
        .map(move |view: V, headers: HeaderMap, from: From, draining| {
            resume_after(&headers, from.after.as_deref())
                .and_then(|after| streams.answer(after, draining, view))
                .unwrap_or_else(Problem::into_response)
        })
}

/// Shows every event whole, or those of some types only.
#[derive(Debug, Clone, Default)]
pub struct EveryEvent {
    /// Wire names; empty for all.
    pub types: Vec<String>,
}

/// A view for each reader: all events, or those that `?types=a,b` names.
pub fn every_event() -> impl Filter<Extract = (EveryEvent,), Error = Rejection> + Clone {
    #[derive(serde::Deserialize)]
    struct Types {
        types: Option<String>,
    }
    warp::query::<Types>().map(|Types { types }| {
        let types = types.unwrap_or_default();
        let types = types.split(',').map(str::trim).filter(|t| !t.is_empty());
        EveryEvent {
            types: types.map(str::to_owned).collect(),
        }
    })
}

impl EventView for EveryEvent {
    async fn show(&self, event: &PublishedEvent) -> Show {
        if !self.types.is_empty() && !self.types.contains(&event.name) {
            return Show::Nothing;
        }
        Show::This(Shown {
            event: event.name.clone().into(),
            data: whole(event),
        })
    }
}

/// An event as JSON, with its body, which is `null` if it cannot be read.
fn whole(event: &PublishedEvent) -> Vec<u8> {
    #[derive(Serialize)]
    struct Head<'a> {
        id: String,
        message: &'a str,
        version: u16,
        service: &'a str,
        at: crate::Timestamp,
        correlation_id: String,
        causation_id: String,
        body: Option<serde_json::Value>,
    }
    let body = event.json().ok();
    let head = Head {
        id: event.id.to_string(),
        message: &event.name,
        version: event.version,
        service: &event.service,
        at: event.at,
        correlation_id: event.correlation.to_string(),
        causation_id: event.causation.to_string(),
        body: body.and_then(|body| serde_json::from_slice(&body).ok()),
    };
    serde_json::to_vec(&head).unwrap_or_else(|_| b"null".to_vec())
}

/// One open stream.
struct Streaming<V> {
    feed: EventFeed,
    config: EventStreamsConfig,
    view: Arc<V>,
    pieces: mpsc::Sender<Bytes>,
    /// The number of the id that the reader would come back with.
    told: Option<EventNumber>,
    _slot: OwnedSemaphorePermit,
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Draining,
    ReaderGone,
    ReaderTooSlow,
    NotAllowed,
    NoMoreEvents,
}

impl<V: EventView> Streaming<V> {
    async fn run(mut self, after: Option<EventCursor>, draining: Draining) {
        let gone = self.pieces.clone();
        let view = Arc::clone(&self.view);
        let recheck = self.config.recheck;
        let ended = tokio::select! {
            biased;
            () = draining.0.cancelled() => Ended::Draining,
            () = gone.closed() => Ended::ReaderGone,
            // Beside the stream, which may be waiting for its reader.
            () = refused(view.as_ref(), recheck) => Ended::NotAllowed,
            ended = self.stream(after) => ended,
        };
        tracing::debug!(reason = ?ended, "event stream ended");
    }

    async fn stream(&mut self, after: Option<EventCursor>) -> Ended {
        let mut beat = every(self.config.keep_alive).await;
        let begin = match after {
            Some(after) => self.feed.resume(after),
            None => FeedPage {
                items: Vec::new(),
                through: self.feed.last(),
            },
        };
        let mut at = begin.through;
        if let Err(ended) = self.send(self.greeting(at)).await {
            return ended;
        }
        self.told = Some(at);
        if let Err(ended) = self.show(begin, &mut at, &mut beat).await {
            return ended;
        }
        loop {
            // The feed last, for it may be ready without end.
            let step = tokio::select! {
                biased;
                _ = beat.tick() => self.send(self.alive(at)).await.map(|()| self.told = Some(at)),
                news = self.feed.news(at) => match news {
                    None => Err(Ended::NoMoreEvents),
                    Some(_) => self.next_page(&mut at, &mut beat).await,
                },
            };
            if let Err(ended) = step {
                return ended;
            }
        }
    }

    /// Shows what comes next.
    async fn next_page(&mut self, at: &mut EventNumber, beat: &mut Interval) -> Result<(), Ended> {
        let page = self.feed.read(*at, PAGE_EVENTS).await;
        let page = page.map_err(|_| Ended::NoMoreEvents)?;
        self.show(page, at, beat).await?;
        // Pages in memory are read without waiting for anything.
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn show(
        &mut self,
        page: FeedPage,
        at: &mut EventNumber,
        beat: &mut Interval,
    ) -> Result<(), Ended> {
        for item in page.items {
            let (number, piece) = match item {
                FeedItem::Gap(gap) => {
                    // Behind the gap, or before it if its numbers are from elsewhere.
                    let end = gap.last.min(page.through);
                    (end, Some(gap_piece(self.feed.cursor(end), &gap)))
                }
                FeedItem::Event(event) => match self.view.show(&event).await {
                    Show::Nothing => (event.number, None),
                    Show::This(shown) => {
                        let id = self.feed.cursor(event.number);
                        (event.number, Some(event_piece(id, &shown)))
                    }
                    Show::End => return Err(Ended::NotAllowed),
                },
            };
            if let Some(piece) = piece {
                self.send(piece).await?;
                self.told = Some(number);
                beat.reset();
            }
            *at = number;
        }
        *at = page.through;
        Ok(())
    }

    async fn send(&self, piece: Bytes) -> Result<(), Ended> {
        match timeout(self.config.read_timeout, self.pieces.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended::ReaderGone),
            Err(_) => Err(Ended::ReaderTooSlow),
        }
    }

    /// Says when to come back, and to whoever has no id yet, with which.
    fn greeting(&self, at: EventNumber) -> Bytes {
        let mut text = format!("retry: {}\n", self.config.retry.as_millis());
        if self.told.is_none() {
            let _ = writeln!(text, "id: {}", self.feed.cursor(at));
        }
        (text + "\n").into()
    }

    /// A comment. With the id that the stream has come to, if it has passed over events: the
    /// reader need not wait for them again. An id without data is an event to nobody.
    fn alive(&self, at: EventNumber) -> Bytes {
        match self.told == Some(at) {
            true => Bytes::from_static(b": alive\n\n"),
            false => format!(": alive\nid: {}\n\n", self.feed.cursor(at)).into(),
        }
    }
}

/// Completes when the reader may no longer go on.
async fn refused(view: &impl EventView, recheck: Duration) {
    let mut recheck = every(recheck).await;
    loop {
        recheck.tick().await;
        if !view.may_go_on().await {
            return;
        }
    }
}

/// Ticks after each such time, not at once.
async fn every(time: Duration) -> Interval {
    let mut interval = interval(time.max(Duration::from_millis(1)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval.tick().await;
    interval
}

fn event_piece(id: EventCursor, shown: &Shown) -> Bytes {
    let mut piece = Vec::with_capacity(shown.data.len() + shown.event.len() + 64);
    piece.extend_from_slice(format!("id: {id}\n").as_bytes());
    if !shown.event.is_empty() {
        // A line break would begin another field.
        let event = shown.event.replace(['\n', '\r'], " ");
        piece.extend_from_slice(format!("event: {event}\n").as_bytes());
    }
    // Any of the three is a line break to a reader; each line is a field of its own.
    let text = String::from_utf8_lossy(&shown.data);
    for line in text.replace("\r\n", "\n").split(['\n', '\r']) {
        piece.extend_from_slice(b"data: ");
        piece.extend_from_slice(line.as_bytes());
        piece.push(b'\n');
    }
    piece.push(b'\n');
    piece.into()
}

fn gap_piece(id: EventCursor, gap: &Gap) -> Bytes {
    let data = serde_json::json!({
        "first": gap.first.0,
        "last": gap.last.0,
        "reason": gap.reason.word(),
    });
    format!("id: {id}\nevent: gap\ndata: {data}\n\n").into()
}

/// The answer's body.
struct Pieces(mpsc::Receiver<Bytes>);

impl Stream for Pieces {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|piece| piece.map(Ok))
    }
}
