//! What happened in a simulation: a digest of all of it, the last lines, and every line for
//! whoever wants to read them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::VirtualClock;
use crate::persistence::digest::Digest;

/// Things that may happen at one moment of virtual time. A system that gets up does hundreds; one in
/// which time stands still does them for ever, and fills memory with them.
const AT_ONCE_MAX: u64 = 20_000;

/// Lines that a failure shows.
const LAST_MAX: usize = 40;

/// Where the lines of a trace go.
pub(crate) type Sink = Arc<Mutex<dyn Write + Send>>;

/// The trace of one run.
pub(crate) struct Trace {
    clock: Arc<VirtualClock>,
    sink: Option<Sink>,
    stood_still: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    now: Duration,
    /// Lines of this moment.
    at_once: u64,
    digest: Digest,
    line: String,
    last: VecDeque<String>,
    faults: BTreeMap<&'static str, u64>,
}

impl Trace {
    pub(crate) fn new(clock: Arc<VirtualClock>, sink: Option<Sink>) -> Trace {
        Trace {
            clock,
            sink,
            stood_still: Notify::new(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something has happened.
    pub(crate) fn line(&self, what: fmt::Arguments<'_>) {
        let now = self.clock.elapsed();
        let mut state = self.state();
        if state.now != now {
            (state.now, state.at_once) = (now, 0);
        }
        state.at_once += 1;
        if state.at_once > AT_ONCE_MAX {
            self.stood_still.notify_one();
        }
        let State {
            digest, line, last, ..
        } = &mut *state;
        line.clear();
        let at = Shown(now);
        // Writing to a string does not fail, unless a `Display` of the host's does.
        let _ = write!(line, "{at} {what}");
        digest.bytes(line.as_bytes());
        if let Some(sink) = &self.sink {
            let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever reads it has read enough.
            let _ = writeln!(sink, "{line}");
        }
        let room = match last.len() < LAST_MAX {
            true => String::new(),
            false => last.pop_front().unwrap_or_default(),
        };
        let spent = std::mem::replace(line, room);
        last.push_back(spent);
    }

    /// Waits until more has happened at one moment than can have an end; what happened last.
    pub(crate) async fn stood_still(&self) -> String {
        self.stood_still.notified().await;
        let state = self.state();
        let last = state.last.back().map_or("", String::as_str);
        format!("virtual time stands still: {AT_ONCE_MAX} things at one moment, and then {last}")
    }

    /// As [`Trace::line`], and counts a fault of this kind.
    pub(crate) fn fault(&self, kind: &'static str, what: fmt::Arguments<'_>) {
        *self.state().faults.entry(kind).or_default() += 1;
        self.line(format_args!("fault: {kind} {what}"));
    }

    /// Takes in something that no line shows.
    pub(crate) fn number(&self, number: u64) {
        self.state().digest.number(number);
    }

    /// How many faults of each kind there were.
    pub(crate) fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.state().faults.clone()
    }

    /// The digest so far.
    pub(crate) fn digest(&self) -> u64 {
        self.state().digest.value()
    }

    /// The last lines.
    pub(crate) fn last(&self) -> Vec<String> {
        self.state().last.iter().cloned().collect()
    }
}

/// A virtual time: hours, minutes, seconds, microseconds.
struct Shown(Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
        let micros = self.0.subsec_micros();
        write!(f, "{hours:02}:{minutes:02}:{:02}.{micros:06}", seconds % 60)
    }
}
