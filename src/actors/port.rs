//! The port of a service: everything that waits for its next turn.
//!
//! It outlives the actor that serves it. Messages of streams are copies of what their outbox
//! keeps; commands and queries from outside wait here and nowhere else, so a restart of the actor
//! loses none of them. Every queue is bounded: streams by their credit, requests by a limit.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use crate::call::{CallError, IdempotencyKey, RawAnswer};
use crate::commit::{Mark, Sequence, ServiceId};
use crate::context::ContextError;
use crate::envelope::{Key, TraceContext};
use crate::error::StoreError;
use crate::handlers::ActivityResult;
use crate::messaging::stream::{Accepted, Incoming};
use crate::messaging::transport::Delivery;
use crate::parked::Origin;
use crate::persistence::pace::AtWork;
use crate::planted::{Planted, PlantedBug};
use crate::turn::Arrived;

/// A command or query from outside.
pub(crate) struct Request {
    pub(crate) query: bool,
    pub(crate) name: Bytes,
    pub(crate) version: u16,
    pub(crate) key: Key,
    pub(crate) body: Bytes,
    pub(crate) idempotency: Option<IdempotencyKey>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) reply: oneshot::Sender<RawAnswer>,
}

/// What an operator may do with a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Redrive(Origin),
    Discard(Origin),
}

/// The next thing for the actor to do.
pub(crate) enum Input {
    Act(Act, oneshot::Sender<Result<bool, CallError>>),
    Result(Uuid, ActivityResult),
    Message {
        sender: ServiceId,
        sequence: Sequence,
        entry: Bytes,
    },
    Request(Request),
}

/// Why an actor stopped by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// A handler panicked.
    #[error("a handler panicked: {reason}")]
    Panicked {
        arrived: Option<Box<Arrived>>,
        reason: String,
    },
    /// A turn was tainted: what it needed could not be read.
    #[error("{0}")]
    Tainted(ContextError),
    /// A newer actor owns the service.
    #[error("a newer actor owns the service")]
    Superseded,
    /// The store refused the commit.
    #[error("{0}")]
    Store(StoreError),
}

impl std::fmt::Debug for Arrived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrived")
            .field("message", &self.envelope.name())
            .field("origin", &self.origin())
            .finish()
    }
}

/// Wakes the actor that serves a port.
pub(crate) trait Waker: Send + Sync {
    fn wake(&self);
}

/// See the module.
pub(crate) struct Port {
    state: Mutex<PortState>,
    watchers: Mutex<HashMap<Bytes, Arc<Notify>>>,
    /// Notified whenever the actor has run out of work.
    pub(crate) idle: Notify,
    requests_max: usize,
    window: usize,
    planted: Planted,
}

struct PortState {
    waker: Option<Arc<dyn Waker>>,
    /// Whether the actor is at work or has been woken.
    awake: bool,
    /// The same, for the store.
    at_work: AtWork,
    /// Whether messages wake the actor only when the others rest.
    background: bool,
    /// Whether the actor has been woken so, and may not know yet.
    dozing: bool,
    refusing: Option<CallError>,
    incoming: BTreeMap<ServiceId, Incoming>,
    ready: VecDeque<ServiceId>,
    results: VecDeque<(Uuid, ActivityResult)>,
    requests: VecDeque<Request>,
    acts: VecDeque<(Act, oneshot::Sender<Result<bool, CallError>>)>,
    stopped: Option<Stop>,
}

impl PortState {
    fn set_awake(&mut self, awake: bool) {
        self.awake = awake;
        self.dozing = false;
        self.at_work.set(awake && !self.background);
    }
}

impl Port {
    /// A port without an actor. `background`: see
    /// [`Handlers::in_background`](crate::Handlers::in_background).
    pub(crate) fn new(
        requests_max: usize,
        window: u64,
        at_work: AtWork,
        planted: Planted,
        background: bool,
    ) -> Port {
        Port {
            state: Mutex::new(PortState {
                waker: None,
                awake: false,
                at_work,
                background,
                dozing: false,
                refusing: None,
                incoming: BTreeMap::new(),
                ready: VecDeque::new(),
                results: VecDeque::new(),
                requests: VecDeque::new(),
                acts: VecDeque::new(),
                stopped: None,
            }),
            watchers: Mutex::new(HashMap::new()),
            idle: Notify::new(),
            requests_max,
            window: usize::try_from(window).unwrap_or(usize::MAX),
            planted,
        }
    }

    fn state(&self) -> MutexGuard<'_, PortState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes messages of a stream. `mark` is asked for when the stream is new here.
    pub(crate) fn deliver(&self, delivery: Delivery, mark: impl FnOnce() -> Mark) -> Accepted {
        let sender = delivery.stream.sender;
        let mut state = self.state();
        let window = self.window;
        let incoming = state
            .incoming
            .entry(sender)
            .or_insert_with(|| Incoming::new(mark().consumed, window));
        let was_ready = incoming.is_ready();
        let again = self.planted.is(PlantedBug::DedupeSkipped);
        if again && delivery.first <= incoming.accepted() && !delivery.entries.is_empty() {
            incoming.put_back(delivery.first, delivery.entries[0].clone());
            if !was_ready {
                state.ready.push_back(sender);
            }
            wake(state);
            return Accepted::Ready;
        }
        let accepted = incoming.accept(delivery.first, delivery.entries);
        if accepted == Accepted::Ready && !was_ready {
            state.ready.push_back(sender);
        }
        if accepted == Accepted::Ready {
            wake_for_others(state);
        }
        accepted
    }

    /// The highest number accepted of a stream, if it is known here.
    pub(crate) fn accepted(&self, sender: ServiceId) -> Option<Sequence> {
        self.state().incoming.get(&sender).map(Incoming::accepted)
    }

    /// Takes a command or query from outside.
    pub(crate) fn request(&self, request: Request) -> Result<(), CallError> {
        let mut state = self.state();
        if let Some(error) = &state.refusing {
            return Err(error.clone());
        }
        if state.requests.len() >= self.requests_max {
            return Err(CallError::Overloaded {
                reason: format!("{} requests are waiting", state.requests.len()),
                retry_after: std::time::Duration::from_secs(1),
            });
        }
        state.requests.push_back(request);
        wake(state);
        Ok(())
    }

    /// Takes the end of an activity.
    pub(crate) fn result(&self, id: Uuid, result: ActivityResult) {
        let mut state = self.state();
        state.results.push_back((id, result));
        wake_for_others(state);
    }

    pub(crate) fn act(
        &self,
        act: Act,
        done: oneshot::Sender<Result<bool, CallError>>,
    ) -> Result<(), CallError> {
        let mut state = self.state();
        if let Some(error) = &state.refusing {
            return Err(error.clone());
        }
        state.acts.push_back((act, done));
        wake(state);
        Ok(())
    }

    /// Wakes the actor, for a timer or a parked message that is due.
    pub(crate) fn wake(&self) {
        wake(self.state());
    }

    /// Puts a new actor in charge: streams begin after their marks again.
    pub(crate) fn serve(&self, waker: Arc<dyn Waker>, marks: &[(ServiceId, Mark)]) {
        let mut state = self.state();
        state.incoming.clear();
        state.ready.clear();
        for (sender, mark) in marks {
            state
                .incoming
                .insert(*sender, Incoming::new(mark.consumed, self.window));
        }
        state.stopped = None;
        state.set_awake(true);
        state.waker = Some(waker.clone());
        waker.wake();
    }

    /// Notes why the actor stops.
    pub(crate) fn stopped(&self, stop: Stop) {
        self.state().stopped = Some(stop);
    }

    pub(crate) fn take_stop(&self) -> Option<Stop> {
        let mut state = self.state();
        state.waker = None;
        state.at_work.set(false);
        state.stopped.take()
    }

    /// From now on every request is answered with this error; those that wait get it at once if
    /// `drop_waiting`.
    pub(crate) fn refuse(&self, error: CallError, drop_waiting: bool) {
        let (requests, acts) = {
            let mut state = self.state();
            state.refusing = Some(error.clone());
            if !drop_waiting {
                return;
            }
            let state = &mut *state;
            (
                std::mem::take(&mut state.requests),
                std::mem::take(&mut state.acts),
            )
        };
        for request in requests {
            let _ = request.reply.send(Err(error.clone()));
        }
        for (_, done) in acts {
            let _ = done.send(Err(error.clone()));
        }
    }

    /// Takes requests again.
    pub(crate) fn welcome(&self) {
        self.state().refusing = None;
    }

    /// The next thing to do. Internal messages go before requests from outside; streams take turns.
    /// `paused` names streams of which nothing may be taken now.
    pub(crate) fn next(&self, paused: impl Fn(ServiceId) -> bool, requests: bool) -> Option<Input> {
        let mut guard = self.state();
        let state = &mut *guard;
        state.dozing = false;
        if let Some((act, done)) = state.acts.pop_front() {
            return Some(Input::Act(act, done));
        }
        if let Some((id, result)) = state.results.pop_front() {
            return Some(Input::Result(id, result));
        }
        for _ in 0..state.ready.len() {
            let Some(sender) = state.ready.pop_front() else {
                break;
            };
            if paused(sender) {
                state.ready.push_back(sender);
                continue;
            }
            let Some(incoming) = state.incoming.get_mut(&sender) else {
                continue;
            };
            if let Some((sequence, entry)) = incoming.pop() {
                if incoming.is_ready() {
                    state.ready.push_back(sender);
                }
                return Some(Input::Message {
                    sender,
                    sequence,
                    entry,
                });
            }
        }
        if requests {
            state.requests.pop_front().map(Input::Request)
        } else {
            None
        }
    }

    /// Gives back what may not be handled yet; it comes first again.
    pub(crate) fn put_back(&self, input: Input) {
        let mut state = self.state();
        match input {
            Input::Act(act, done) => state.acts.push_front((act, done)),
            Input::Result(id, result) => state.results.push_front((id, result)),
            Input::Request(request) => state.requests.push_front(request),
            Input::Message {
                sender,
                sequence,
                entry,
            } => {
                if let Some(incoming) = state.incoming.get_mut(&sender) {
                    incoming.put_back(sequence, entry);
                }
                if !state.ready.contains(&sender) {
                    state.ready.push_front(sender);
                }
            }
        }
    }

    /// Called by the actor when it may not go on now, whatever waits; it will be woken.
    pub(crate) fn pause(&self) {
        self.state().set_awake(false);
    }

    /// Called by the actor when it has nothing to do or has done its share: whether it should go
    /// on. `paused` as in [`Port::next`].
    pub(crate) fn rest(&self, paused: impl Fn(ServiceId) -> bool, requests: bool) -> bool {
        let mut state = self.state();
        let streams = state.ready.iter().any(|sender| !paused(*sender));
        let more = streams
            || !state.acts.is_empty()
            || !state.results.is_empty()
            || (requests && !state.requests.is_empty());
        state.set_awake(more);
        let quiet = !more && state.requests.is_empty();
        drop(state);
        if quiet {
            self.idle.notify_waiters();
        }
        more
    }

    /// Whether nothing waits and the actor rests.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state();
        !state.awake
            && state.requests.is_empty()
            && state.results.is_empty()
            && state.acts.is_empty()
            && state.incoming.values().all(|incoming| !incoming.is_ready())
    }

    /// Requests that wait, and messages that wait.
    pub(crate) fn depths(&self) -> (usize, usize) {
        let state = self.state();
        (
            state.requests.len(),
            state.incoming.values().map(Incoming::depth).sum(),
        )
    }

    /// A place to wait for notices about a key.
    pub(crate) fn watch(&self, key: Bytes) -> Arc<Notify> {
        let mut watchers = self.watchers();
        // Keys nobody waits for any more are swept when the map has grown.
        if watchers.len() >= 1_024 && watchers.len().is_power_of_two() {
            watchers.retain(|_, notify| Arc::strong_count(notify) > 1);
        }
        watchers.entry(key).or_default().clone()
    }

    /// Ends the waiting for notices about a key, if nobody else waits.
    pub(crate) fn unwatch(&self, key: &Bytes) {
        let mut watchers = self.watchers();
        if watchers
            .get(key)
            .is_some_and(|notify| Arc::strong_count(notify) <= 2)
        {
            watchers.remove(key);
        }
    }

    /// Wakes those who wait for these keys.
    pub(crate) fn notify(&self, keys: &[Bytes]) {
        let watchers = self.watchers();
        for key in keys {
            if let Some(notify) = watchers.get(key) {
                notify.notify_waiters();
            }
        }
    }

    pub(crate) fn is_watched(&self) -> bool {
        !self.watchers().is_empty()
    }

    fn watchers(&self) -> MutexGuard<'_, HashMap<Bytes, Arc<Notify>>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the actor for what nobody waits for if it works in the background.
fn wake_for_others(mut state: MutexGuard<'_, PortState>) {
    if !state.background {
        return wake(state);
    }
    if state.awake {
        return;
    }
    if let Some(waker) = state.waker.clone() {
        state.set_awake(true);
        state.dozing = true;
        state.at_work.rouse_later(Box::new(move || waker.wake()));
    }
}

fn wake(mut state: MutexGuard<'_, PortState>) {
    // Waking an actor twice costs a look at an empty port.
    if state.awake && !state.dozing {
        return;
    }
    if let Some(waker) = state.waker.clone() {
        state.set_awake(true);
        drop(state);
        waker.wake();
    }
}
