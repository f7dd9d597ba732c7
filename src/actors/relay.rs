//! The relay: moves a service's outbox to its receivers and takes their acknowledgements.
//!
//! The fast way is a function call right after the commit. The actor is for the slow way: while
//! anything is unacknowledged it greets the receivers every second, and what was lost is sent
//! again from the outbox.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use bytes::Bytes;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::actors::cell::{Cell, Member};
use crate::commit::{Sequence, ServiceId, StreamId};
use crate::messaging::stream::Outgoing;
use crate::messaging::transport::Delivery;
use crate::planted::PlantedBug;

/// How often receivers that owe an acknowledgement are greeted.
const GREET_EVERY: Duration = Duration::from_secs(1);
/// One run of messages read from the outbox.
const RUN_ENTRIES_MAX: usize = 256;
const RUN_BYTES_MAX: usize = 1024 * 1024;

/// What a service has handed on, stream by stream.
pub(crate) struct Relay {
    service: ServiceId,
    window: u64,
    streams: Mutex<BTreeMap<ServiceId, Outgoing>>,
    /// Receivers that want to be sent again what follows a number. Noted first and granted by
    /// whoever holds `streams`: a receiver that finds a gap says so in the middle of a delivery.
    wishes: Mutex<Vec<(ServiceId, Sequence)>>,
    actor: Mutex<Option<ActorRef<Greet>>>,
    armed: AtomicBool,
}

impl Relay {
    pub(crate) fn new(service: ServiceId, window: u64) -> Relay {
        Relay {
            service,
            window,
            streams: Mutex::new(BTreeMap::new()),
            wishes: Mutex::new(Vec::new()),
            actor: Mutex::new(None),
            armed: AtomicBool::new(false),
        }
    }

    fn streams(&self) -> MutexGuard<'_, BTreeMap<ServiceId, Outgoing>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stream(&self, receiver: ServiceId) -> StreamId {
        StreamId {
            sender: self.service,
            receiver,
        }
    }

    /// Hands on a message that has just been queued.
    pub(crate) fn offer(
        &self,
        cell: &Cell,
        receiver: ServiceId,
        sequence: Sequence,
        envelope: &Bytes,
    ) {
        let stream = self.stream(receiver);
        let mut streams = self.streams();
        let outgoing = streams
            .entry(receiver)
            .or_insert_with(|| Outgoing::new(cell.store.mark(stream).consumed, self.window));
        // Only the very next message goes straight on; anything else is read from the outbox in
        // order when its turn has come.
        match outgoing.next(sequence) {
            Some(range) if range == (sequence.0..=sequence.0) => {
                outgoing.handed(sequence);
                let delivery = Delivery {
                    stream,
                    incarnation: cell.store.incarnation(),
                    first: sequence,
                    entries: vec![envelope.clone()],
                };
                cell.transport.deliver(delivery);
            }
            Some(_) => pump(cell, stream, outgoing),
            None => {}
        }
        drop(streams);
        self.grant(cell);
        self.arm();
    }

    pub(crate) fn acknowledged(&self, cell: &Cell, stream: StreamId, consumed: Sequence) {
        if cell.store.planted().is(PlantedBug::AckDropped) {
            return;
        }
        let mut streams = self.streams();
        if let Some(outgoing) = streams.get_mut(&stream.receiver) {
            outgoing.acknowledged(consumed);
            pump(cell, stream, outgoing);
        }
        drop(streams);
        self.grant(cell);
    }

    pub(crate) fn resumed(&self, cell: &Cell, stream: StreamId, accepted: Sequence) {
        self.wishes().push((stream.receiver, accepted));
        self.grant(cell);
        self.arm();
    }

    /// Grants the wishes, unless somebody holds the streams, who will do it afterwards.
    fn grant(&self, cell: &Cell) {
        loop {
            // Looked at after the streams were let go: whoever failed to get hold of them in
            // between had noted its wish before that.
            if self.wishes().is_empty() {
                return;
            }
            let mut streams = match self.streams.try_lock() {
                Ok(streams) => streams,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            let wishes = std::mem::take(&mut *self.wishes());
            for (receiver, accepted) in wishes {
                let stream = self.stream(receiver);
                let outgoing = streams.entry(receiver).or_insert_with(|| {
                    Outgoing::new(cell.store.mark(stream).consumed, self.window)
                });
                outgoing.resume(accepted);
                pump(cell, stream, outgoing);
            }
        }
    }

    fn wishes(&self) -> MutexGuard<'_, Vec<(ServiceId, Sequence)>> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew from the marks; everything beyond them is handed on again.
    fn restart(&self, cell: &Cell) {
        let mut streams = self.streams();
        streams.clear();
        for stream in cell.store.outgoing(self.service) {
            let mut outgoing = Outgoing::new(cell.store.mark(stream).consumed, self.window);
            pump(cell, stream, &mut outgoing);
            streams.insert(stream.receiver, outgoing);
        }
        drop(streams);
        self.grant(cell);
    }

    /// Greets every receiver that owes an acknowledgement; whether any does.
    fn greet(&self, cell: &Cell) -> bool {
        let owing: Vec<StreamId> = {
            let streams = self.streams();
            let waits = |(receiver, outgoing): (&ServiceId, &Outgoing)| {
                let stream = self.stream(*receiver);
                outgoing.waits(cell.store.sent(stream)).then_some(stream)
            };
            streams.iter().filter_map(waits).collect()
        };
        for stream in &owing {
            cell.transport
                .hello(*stream, cell.store.incarnation(), cell.store.sent(*stream));
        }
        !owing.is_empty()
    }

    fn arm(&self) {
        if self.armed.load(Ordering::Relaxed) || self.armed.swap(true, Ordering::AcqRel) {
            return;
        }
        let actor = self
            .actor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match actor {
            Some(actor) => drop(actor.send_after(GREET_EVERY, || Greet)),
            None => self.armed.store(false, Ordering::Release),
        }
    }
}

/// Hands on what the credit allows, from the outbox.
fn pump(cell: &Cell, stream: StreamId, outgoing: &mut Outgoing) {
    while let Some(range) = outgoing.next(cell.store.sent(stream)) {
        let entries = usize::try_from(range.end() - range.start() + 1)
            .unwrap_or(RUN_ENTRIES_MAX)
            .min(RUN_ENTRIES_MAX);
        let run =
            match cell
                .store
                .outbox(stream, Sequence(range.start() - 1), entries, RUN_BYTES_MAX)
            {
                Ok(run) => run,
                // A closed store stops everything else too.
                Err(_) => return,
            };
        let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) else {
            // Consumed in the meantime: the mark is ahead of the acknowledgement.
            outgoing.acknowledged(cell.store.mark(stream).consumed);
            if outgoing
                .next(cell.store.sent(stream))
                .is_none_or(|next| next.start() <= range.start())
            {
                return;
            }
            continue;
        };
        let (first, last) = (*first, *last);
        outgoing.handed(last);
        let entries = run.into_iter().map(|(_, entry)| entry).collect();
        cell.transport.deliver(Delivery {
            stream,
            incarnation: cell.store.incarnation(),
            first,
            entries,
        });
    }
}

/// Time to greet.
pub(crate) struct Greet;

/// The actor.
pub(crate) struct RelayActor;

impl Actor for RelayActor {
    type Msg = Greet;
    type State = (Arc<Cell>, Arc<Member>);
    type Arguments = (Arc<Cell>, Arc<Member>);

    async fn pre_start(
        &self,
        myself: ActorRef<Greet>,
        (cell, member): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let relay = &member.relay;
        *relay.actor.lock().unwrap_or_else(PoisonError::into_inner) = Some(myself);
        relay.armed.store(false, Ordering::Release);
        relay.restart(&cell);
        relay.arm();
        Ok((cell, member))
    }

    async fn handle(
        &self,
        _myself: ActorRef<Greet>,
        _greet: Greet,
        (cell, member): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        member.relay.armed.store(false, Ordering::Release);
        if member.relay.greet(cell) {
            member.relay.arm();
        }
        Ok(())
    }
}
