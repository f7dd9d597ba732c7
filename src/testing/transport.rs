//! A transport that loses, doubles, delays and thereby reorders, by a seed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::commit::{Incarnation, Sequence, StreamId};
use crate::messaging::local::LocalTransport;
use crate::messaging::transport::{Delivery, Transport};
use crate::testing::simulation::trace::Trace;

/// What goes wrong between two services; everything that may, without breaking a promise.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TransportFaults {
    /// Probability that something handed to the transport is lost.
    pub loss: f64,
    /// Probability that it arrives twice.
    pub duplication: f64,
    /// Each copy arrives after a random part of this time, so one may overtake another. Zero
    /// delivers at once.
    pub delay_max: Duration,
}

/// The faults in force, shared by all lives of a test system.
pub(crate) struct FaultState {
    state: Mutex<(TransportFaults, fastrand::Rng)>,
    trace: Mutex<Option<Arc<Trace>>>,
}

impl FaultState {
    pub(crate) fn new(seed: u64) -> FaultState {
        FaultState {
            state: Mutex::new((
                TransportFaults::default(),
                fastrand::Rng::with_seed(seed.rotate_left(17)),
            )),
            trace: Mutex::default(),
        }
    }

    /// Notes in `trace` what goes wrong from now on.
    pub(crate) fn trace_with(&self, trace: Arc<Trace>) {
        *self.trace.lock().unwrap_or_else(PoisonError::into_inner) = Some(trace);
    }

    fn note(&self, kind: &'static str, what: &str) {
        let trace = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trace) = &*trace {
            trace.fault(kind, format_args!("{what}"));
        }
    }

    fn state(&self) -> MutexGuard<'_, (TransportFaults, fastrand::Rng)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, faults: TransportFaults) {
        self.state().0 = faults;
    }

    /// When each copy of the next thing handed over arrives; none if it is lost.
    fn copies(&self, what: &str) -> Vec<Duration> {
        let copies = self.draw();
        match copies.len() {
            0 => self.note("message lost", what),
            1 if copies[0].is_zero() => {}
            1 => self.note("message delayed", what),
            _ => self.note("message doubled", what),
        }
        copies
    }

    fn draw(&self) -> Vec<Duration> {
        let mut state = self.state();
        let (faults, random) = &mut *state;
        if faults.loss > 0.0 && random.f64() < faults.loss {
            return Vec::new();
        }
        let copies = 1 + usize::from(faults.duplication > 0.0 && random.f64() < faults.duplication);
        (0..copies)
            .map(|_| match faults.delay_max {
                Duration::ZERO => Duration::ZERO,
                max => max.mul_f64(random.f64()),
            })
            .collect()
    }
}

/// The local transport with faults.
pub(crate) struct FaultyTransport {
    local: Arc<LocalTransport>,
    faults: Arc<FaultState>,
}

impl FaultyTransport {
    pub(crate) fn new(local: Arc<LocalTransport>, faults: Arc<FaultState>) -> FaultyTransport {
        FaultyTransport { local, faults }
    }

    fn hand_over(&self, what: &str, act: impl Fn(&LocalTransport) + Send + Sync + 'static) {
        let act = Arc::new(act);
        for delay in self.faults.copies(what) {
            if delay.is_zero() {
                act(&self.local);
            } else {
                let (local, act) = (self.local.clone(), act.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    act(&local);
                });
            }
        }
    }
}

impl Transport for FaultyTransport {
    fn deliver(&self, delivery: Delivery) {
        self.hand_over("delivery", move |local| local.deliver(delivery.clone()));
    }

    fn hello(&self, stream: StreamId, incarnation: Incarnation, last: Sequence) {
        self.hand_over("greeting", move |local| {
            local.hello(stream, incarnation, last)
        });
    }

    fn acknowledge(&self, stream: StreamId, consumed: Sequence) {
        self.hand_over("acknowledgement", move |local| {
            local.acknowledge(stream, consumed)
        });
    }

    fn resume(&self, stream: StreamId, accepted: Sequence) {
        self.hand_over("request to resume", move |local| {
            local.resume(stream, accepted)
        });
    }
}
