//! How a workload and a checker reach the system that is being simulated, whatever happens to it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::call::{CallError, IdempotencyKey};
use crate::clock::{Clock, Timestamp, VirtualClock};
use crate::codec::{self, Subject};
use crate::persistence::digest::Digest;
use crate::rejection::Rejection;
use crate::service::{Command, Message, Query, Service};
use crate::system::System;
use crate::testing::simulation::trace::Trace;

/// How long a caller waits before it asks again somebody who could not answer.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// What the clients of one run share with it.
pub(super) struct Shared {
    pub(super) seed: u64,
    pub(super) clock: Arc<VirtualClock>,
    pub(super) trace: Arc<Trace>,
    /// The system, while one runs. A client never keeps it: it would outlive its crash.
    system: Mutex<Option<System>>,
    /// Wakes those who wait for a system in the order in which they began to. (A watch channel
    /// would wake them in a random one.)
    is_up: Notify,
    /// Whether workloads should come to their end.
    pub(super) over: AtomicBool,
    /// Somebody got no answer: the run should look whether the system still lives.
    pub(super) no_answer: Notify,
    pub(super) calls: AtomicU64,
    replays: Mutex<Vec<Replay>>,
    /// Promises of the library that the clients have seen broken, with what they saw.
    broken: Mutex<Vec<(&'static str, String)>>,
}

impl Shared {
    pub(super) fn new(seed: u64, clock: Arc<VirtualClock>, trace: Arc<Trace>) -> Shared {
        Shared {
            seed,
            clock,
            trace,
            system: Mutex::default(),
            is_up: Notify::new(),
            over: AtomicBool::new(false),
            no_answer: Notify::new(),
            calls: AtomicU64::new(0),
            replays: Mutex::default(),
            broken: Mutex::default(),
        }
    }

    /// Shows the clients another system, or none.
    pub(super) fn show(&self, system: Option<System>) {
        // The one before is dropped only when the lock is not held any more.
        let _before = std::mem::replace(&mut *self.shown(), system);
        self.is_up.notify_waiters();
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, Option<System>> {
        self.system.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn complain(&self, promise: &'static str, detail: String) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.push((promise, detail));
    }

    pub(super) fn take_complaints(&self) -> Vec<(&'static str, String)> {
        std::mem::take(&mut *self.broken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn take_replays(&self) -> Vec<Replay> {
        std::mem::take(&mut *self.replays.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A sealed reply, or why there is none.
type Answer = Result<Vec<u8>, Rejection>;
type AnswerFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A command that was answered, to be asked again under its key.
pub(super) struct Replay {
    pub(super) what: String,
    pub(super) answer: Answer,
    pub(super) again: Box<dyn Fn(Client) -> AnswerFuture + Send>,
}

/// Reaches the system that is being simulated: what a workload and a checker are given.
///
/// Whatever goes wrong, a client asks again until it has an answer: over restarts, panics and
/// overload, a command always under the same idempotency key. So a call ends with what the service
/// has decided, once.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    name: Arc<str>,
    index: u64,
    keys: Arc<AtomicU64>,
    random: Arc<Mutex<fastrand::Rng>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("name", &self.name)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>, name: &str, index: u64) -> Client {
        let mut seed = Digest::default();
        seed.number(shared.seed);
        seed.bytes(name.as_bytes());
        seed.number(index);
        Client {
            shared,
            name: format!("{name} {index}").into(),
            index,
            keys: Arc::default(),
            random: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed.value()))),
        }
    }

    /// The seed of the run.
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// Which of several clients of the same workload this is, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// A number below `below`, by the seed; 0 if that is 0.
    pub fn below(&self, below: u64) -> u64 {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        random.u64(0..below.max(1))
    }

    /// A random part of this time, by the seed.
    pub fn up_to(&self, most: Duration) -> Duration {
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.below(micros.saturating_add(1)))
    }

    /// The wall clock of the simulation, jumps included.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.wall()
    }

    /// The virtual time since the run began, whatever the wall clock shows.
    pub fn elapsed(&self) -> Duration {
        self.shared.clock.elapsed()
    }

    /// Whether the run's time is over: a workload then ends what it has begun, and itself.
    pub fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::Relaxed)
    }

    /// Lets virtual time pass.
    pub async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Writes a line into the trace.
    pub fn note(&self, what: impl fmt::Display) {
        let name = &self.name;
        self.shared.trace.line(format_args!("{name}: {what}"));
    }

    /// The system of the moment, waiting for its restart if there is none. Whoever keeps it keeps
    /// a system alive that a crash should have ended: let go of it before anything is awaited.
    pub async fn system(&self) -> System {
        loop {
            let mut up = std::pin::pin!(self.shared.is_up.notified());
            up.as_mut().enable();
            if let Some(system) = self.shared.shown().clone() {
                return system;
            }
            up.await;
        }
    }

    /// The next idempotency key: a key of its own for each [`Client::call`].
    fn next_key(&self) -> String {
        let number = self.keys.fetch_add(1, Ordering::Relaxed);
        format!("{} {number}", self.name)
    }

    /// Has a command done: asks under a new idempotency key until it is answered.
    pub async fn call<S, C>(&self, command: C) -> Result<C::Reply, Rejection>
    where
        S: Service,
        C: Command + Clone + Sync,
    {
        self.call_with::<S, C>(&self.next_key(), command).await
    }

    /// As [`Client::call`], under a key of the caller's choice. After the run every answered key
    /// is asked again, and must be answered the same.
    pub async fn call_with<S, C>(&self, key: &str, command: C) -> Result<C::Reply, Rejection>
    where
        S: Service,
        C: Command + Clone + Sync,
    {
        self.shared.calls.fetch_add(1, Ordering::Relaxed);
        let what = format!("{}/{} under `{key}`", S::NAME, C::NAME);
        self.note(format_args!("asks {what}"));
        let answer = self.ask::<S, C>(key, command.clone()).await;
        let kept = sealed::<C>(&answer);
        let mut digest = Digest::default();
        match &kept {
            Ok(reply) => {
                digest.bytes(reply);
                let value = digest.value();
                self.note(format_args!("is answered {what}: {value:016x}"));
            }
            Err(no) => self.note(format_args!("is refused {what}: {}", no.code)),
        }
        let again = {
            let key = key.to_owned();
            move |client: Client| -> AnswerFuture {
                let (key, command) = (key.clone(), command.clone());
                Box::pin(async move { sealed::<C>(&client.ask::<S, C>(&key, command).await) })
            }
        };
        let replay = Replay {
            what,
            answer: kept,
            again: Box::new(again),
        };
        let replays = &self.shared.replays;
        let mut replays = replays.lock().unwrap_or_else(PoisonError::into_inner);
        replays.push(replay);
        answer
    }

    /// Asks for a command once, without an idempotency key, as somebody does who does not care to
    /// ask again. `None` if there was no answer: it may have been done, or will be, or never.
    pub async fn call_once<S, C>(&self, command: C) -> Option<Result<C::Reply, Rejection>>
    where
        S: Service,
        C: Command,
    {
        self.shared.calls.fetch_add(1, Ordering::Relaxed);
        let what = format!("{}/{} once", S::NAME, C::NAME);
        self.note(format_args!("asks {what}"));
        let service = self.system().await.service::<S>();
        match service.command(command).send().await {
            Ok(answered) => {
                self.note(format_args!("is answered {what}"));
                Some(Ok(answered.reply))
            }
            Err(CallError::Rejected(no) | CallError::RejectedBefore(no)) => {
                self.note(format_args!("is refused {what}: {}", no.code));
                Some(Err(no))
            }
            Err(error) => {
                self.note(format_args!("has no answer {what}: {error}"));
                self.get_over(C::NAME, error).await;
                None
            }
        }
    }

    async fn ask<S, C>(&self, key: &str, command: C) -> Result<C::Reply, Rejection>
    where
        S: Service,
        C: Command + Clone,
    {
        let key = IdempotencyKey::new("simulation", key, b"");
        loop {
            let service = self.system().await.service::<S>();
            let call = service
                .command(command.clone())
                .idempotency(Some(key.clone()));
            match call.send().await {
                Ok(answered) => return Ok(answered.reply),
                Err(CallError::Rejected(no) | CallError::RejectedBefore(no)) => return Err(no),
                Err(error) => self.get_over(C::NAME, error).await,
            }
        }
    }

    /// Asks a query until it is answered.
    pub async fn query<S, Q>(&self, query: Q) -> Result<Q::Answer, Rejection>
    where
        S: Service,
        Q: Query + Clone,
    {
        loop {
            let service = self.system().await.service::<S>();
            match service.query(query.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(CallError::Rejected(no) | CallError::RejectedBefore(no)) => return Err(no),
                Err(error) => self.get_over(Q::NAME, error).await,
            }
        }
    }

    async fn get_over(&self, message: &str, error: CallError) {
        let wait = match error {
            CallError::Overloaded { retry_after, .. } => retry_after,
            CallError::ServiceFailed { .. } => Duration::from_secs(1),
            CallError::Panicked { .. } | CallError::Draining => AGAIN_AFTER,
            CallError::OutcomeUnknown { .. } => {
                self.shared.no_answer.notify_one();
                AGAIN_AFTER
            }
            CallError::KeyReused => {
                let detail = format!("{}: {message}: {error}", self.name);
                self.shared.complain("answers", detail);
                std::future::pending().await
            }
            // Mistakes of the host, which no patience mends.
            CallError::Malformed(_)
            | CallError::NoSuchMessage { .. }
            | CallError::Rejected(_)
            | CallError::RejectedBefore(_) => panic!("{}: {message}: {error}", self.name),
        };
        tokio::time::sleep(wait).await;
    }
}

fn sealed<C: Command>(answer: &Result<C::Reply, Rejection>) -> Answer {
    match answer {
        Ok(reply) => match codec::seal(Subject::message(<C as Message>::NAME), 1, reply) {
            Ok(sealed) => Ok(sealed),
            Err(error) => panic!("the reply to `{}` cannot be kept: {error}", C::NAME),
        },
        Err(no) => Err(no.clone()),
    }
}
