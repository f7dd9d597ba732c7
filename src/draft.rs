//! A turn under way: what its handler was given, and what it has planned so far.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::commit::{Send, ServiceId, TableId, Write};
use crate::context::{ContextError, TimerId};
use crate::envelope::{Envelope, Kind, MessageId, TraceContext};
use crate::error::StoreError;
use crate::handlers::seal_message;
use crate::names::Names;
use crate::planted::{Planted, PlantedBug};
use crate::service::Message;
use crate::span::Span;
use crate::table::IndexKeys;

/// Where a turn reads rows from.
pub(crate) trait Reads: std::marker::Send + Sync {
    fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Bytes>, StoreError>;
    fn scan(
        &self,
        table: TableId,
        span: &Span,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError>;
}

/// Reads a whole table, page by page.
pub(crate) fn for_each_row<E: From<StoreError>>(
    reads: &dyn Reads,
    table: TableId,
    mut each: impl FnMut(Bytes, Bytes) -> Result<(), E>,
) -> Result<(), E> {
    const PAGE: usize = 1_000;
    let mut span = Span::all();
    loop {
        let rows = reads.scan(table, &span, PAGE)?;
        let full = rows.len() == PAGE;
        let last = rows.last().map(|(key, _)| key.clone());
        for (key, value) in rows {
            each(key, value)?;
        }
        match last {
            Some(last) if full => span = Span::all().after_bytes(last),
            _ => return Ok(()),
        }
    }
}

/// A service's names resolved to durable numbers, once at start.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) id: ServiceId,
    pub(crate) tables: Names<TableId>,
    pub(crate) indexes: Names<Vec<(TableId, Arc<IndexKeys>)>>,
    /// Receivers of each event that the service publishes.
    pub(crate) events: Names<Vec<ServiceId>>,
    /// Receiver of each command that the service sends, by (service, command), and whether this
    /// service handles its reply.
    pub(crate) commands: HashMap<(&'static str, &'static str), (ServiceId, bool)>,
    pub(crate) activities: Vec<&'static str>,
    /// The timers that the service handles.
    pub(crate) wakes: Vec<&'static str>,
    pub(crate) timers: TableId,
    pub(crate) plans: TableId,
    /// The mistake that the system makes on purpose.
    pub(crate) planted: Planted,
}

/// What a turn is given beside the state and the message.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) now: Timestamp,
    pub(crate) seed: u64,
    pub(crate) message: MessageId,
    pub(crate) correlation: MessageId,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) attempt: u32,
}

/// A turn under way: what it was given and what it plans so far.
pub(crate) struct Turn {
    pub(crate) shape: Arc<Shape>,
    pub(crate) reads: Arc<dyn Reads>,
    pub(crate) facts: Facts,
    pub(crate) random: RefCell<fastrand::Rng>,
    pub(crate) writes: BTreeMap<TableId, BTreeMap<Bytes, Option<Bytes>>>,
    pub(crate) plan: Plan,
    pub(crate) taint: RefCell<Option<ContextError>>,
    pub(crate) tainted: Cell<bool>,
}

/// What a turn promises beyond rows.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) sends: Vec<Send>,
    /// The decoded twins of `sends`, in the same order; for tests and the event stream.
    pub(crate) envelopes: Vec<Envelope>,
    pub(crate) timers_set: Vec<(TimerId, Envelope)>,
    pub(crate) timers_cancelled: Vec<TimerId>,
    pub(crate) activities: Vec<Envelope>,
    pub(crate) notices: Vec<Bytes>,
}

impl Turn {
    pub(crate) fn new(shape: Arc<Shape>, reads: Arc<dyn Reads>, facts: Facts) -> Turn {
        let random = RefCell::new(fastrand::Rng::with_seed(facts.seed));
        Turn {
            shape,
            reads,
            facts,
            random,
            writes: BTreeMap::new(),
            plan: Plan::default(),
            taint: RefCell::new(None),
            tainted: Cell::new(false),
        }
    }

    /// What tainted the turn, if anything did.
    pub(crate) fn take_taint(&mut self) -> Option<ContextError> {
        self.taint.get_mut().take()
    }

    /// The rows and promises of a turn that commits.
    pub(crate) fn into_effects(self) -> (Vec<Write>, Plan) {
        let mut writes = Vec::new();
        for (table, rows) in self.writes {
            writes.extend(
                rows.into_iter()
                    .map(|(key, value)| Write { table, key, value }),
            );
        }
        (writes, self.plan)
    }

    pub(crate) fn new_id(&self) -> Uuid {
        let mut random = [0; 10];
        self.random.borrow_mut().fill(&mut random);
        let millis = u64::try_from(self.facts.now.0 / 1_000).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    pub(crate) fn fail<E: Into<ContextError>>(&self, error: E) -> ContextError {
        let error = error.into();
        self.tainted.set(true);
        self.taint.borrow_mut().get_or_insert_with(|| error.clone());
        error
    }

    pub(crate) fn undeclared(&self, what: String) -> ContextError {
        self.fail(ContextError::Undeclared {
            service: self.shape.name.to_owned(),
            what,
        })
    }

    pub(crate) fn table_id(&self, name: &'static str) -> Result<TableId, ContextError> {
        match self.shape.tables.get(name) {
            Some(id) => Ok(*id),
            None => Err(self.undeclared(format!("table `{name}`"))),
        }
    }

    pub(crate) fn raw_get(
        &self,
        table: TableId,
        key: &[u8],
    ) -> Result<Option<Bytes>, ContextError> {
        if let Some(written) = self.writes.get(&table).and_then(|rows| rows.get(key)) {
            return Ok(written.clone());
        }
        self.reads.get(table, key).map_err(|error| self.fail(error))
    }

    /// Reads a span through the turn's own writes.
    pub(crate) fn raw_scan(
        &self,
        table: TableId,
        span: &Span,
    ) -> Result<Vec<(Bytes, Bytes)>, ContextError> {
        if span.limit == 0 || span.is_empty() {
            return Ok(Vec::new());
        }
        let own: Vec<(&Bytes, &Option<Bytes>)> = match self.writes.get(&table) {
            Some(rows) => rows.iter().filter(|(key, _)| span.contains(key)).collect(),
            None => Vec::new(),
        };
        // At most `own.len()` stored rows are hidden by own writes, so this many are enough.
        let stored = self
            .reads
            .scan(table, span, span.limit.saturating_add(own.len()))
            .map_err(|error| self.fail(error))?;
        if own.is_empty() {
            return Ok(stored);
        }
        let mut merged: BTreeMap<Bytes, Option<Bytes>> = stored
            .into_iter()
            .map(|(key, value)| (key, Some(value)))
            .collect();
        for (key, value) in own {
            merged.insert(key.clone(), value.clone());
        }
        let rows = merged
            .into_iter()
            .filter_map(|(key, value)| value.map(|value| (key, value)));
        Ok(if span.descending {
            rows.rev().take(span.limit).collect()
        } else {
            rows.take(span.limit).collect()
        })
    }

    pub(crate) fn write(&mut self, table: TableId, key: Bytes, value: Option<Bytes>) {
        self.writes.entry(table).or_default().insert(key, value);
    }

    pub(crate) fn envelope<M: Message>(
        &self,
        kind: Kind,
        message: &M,
        wants_reply: bool,
    ) -> Result<Envelope, ContextError> {
        let body = seal_message(message).map_err(|error| self.fail(error))?;
        Ok(Envelope {
            id: MessageId(self.new_id()),
            kind,
            name: Bytes::from_static(M::NAME.as_bytes()),
            version: M::VERSION,
            key: message.key(),
            correlation: self.facts.correlation,
            causation: self.facts.message,
            trace: self.facts.trace,
            at: self.facts.now,
            wants_reply,
            body: Bytes::from(body),
        })
    }

    pub(crate) fn promise(&mut self, envelope: Envelope, mut to: Vec<ServiceId>, event: bool) {
        if self.shape.planted.is(PlantedBug::SubscriberSkipped) && event && to.len() > 1 {
            to.pop();
        }
        match envelope.encode() {
            Ok(bytes) => {
                self.plan.sends.push(Send {
                    envelope: bytes,
                    to,
                    event,
                });
                self.plan.envelopes.push(envelope);
            }
            Err(error) => {
                self.fail(error);
            }
        }
    }
}
