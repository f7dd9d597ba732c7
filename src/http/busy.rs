//! How busy connections are, and which of them gives its slot to who waits.
//!
//! A request costs its connection two counts and a look at the clock: nobody is woken and no timer
//! is set for it. Who minds the silence of a connection looks at the counts when a time-out may have
//! come, and is told before only when somebody wants a slot.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use warp::http::Version;

use crate::clock::TimerWatch;

/// The connections of a server, for whoever needs a slot.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Arc<Activity>>>,
    /// Somebody waits for a slot, and no connection was idle.
    wanted: AtomicBool,
}

impl Connections {
    /// Somebody waits for a slot: an idle connection leaves, or the next that becomes idle.
    pub(super) fn slot_wanted(&self) {
        // Said first: who becomes idle after the look below sees it.
        self.wanted.store(true, Ordering::SeqCst);
        let open = self.open();
        let idle = open.values().find(|activity| activity.is_idle());
        if let Some(idle) = idle
            && self.wanted.swap(false, Ordering::SeqCst)
        {
            idle.leave.notify_one();
        }
    }

    /// Nobody waits for a slot any more.
    pub(super) fn slot_taken(&self) {
        self.wanted.store(false, Ordering::SeqCst);
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Activity>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How busy a connection is.
#[derive(Debug)]
struct Activity {
    asked: AtomicU64,
    running: AtomicU64,
    opened: TimerWatch,
    /// When the last request ended, in nanoseconds since it opened.
    ended: AtomicU64,
    /// Requests come one after the other, each with a head that has to come in time.
    is_http_1: AtomicBool,
    /// Its slot is wanted.
    leave: Notify,
}

impl Activity {
    fn is_idle(&self) -> bool {
        self.asked.load(Ordering::SeqCst) > 0 && self.running.load(Ordering::SeqCst) == 0
    }

    /// Since when nothing runs, from its opening; `None` while something does, and before the first
    /// request.
    fn idle_since(&self) -> Option<Duration> {
        let ended = Duration::from_nanos(self.ended.load(Ordering::SeqCst));
        self.is_idle().then_some(ended)
    }
}

/// The activity of one connection, as long as it is open.
#[derive(Debug)]
pub(super) struct Busy {
    number: u64,
    activity: Arc<Activity>,
    connections: Arc<Connections>,
}

/// Keeps a connection busy until the answer's last byte has been handed over.
#[derive(Debug)]
pub(super) struct Running {
    activity: Arc<Activity>,
    connections: Arc<Connections>,
}

impl Busy {
    /// A connection opens. `number` is its own.
    pub(super) fn open(number: u64, connections: &Arc<Connections>) -> Busy {
        let activity = Arc::new(Activity {
            asked: AtomicU64::new(0),
            running: AtomicU64::new(0),
            opened: TimerWatch::start(),
            ended: AtomicU64::new(0),
            is_http_1: AtomicBool::new(false),
            leave: Notify::new(),
        });
        connections.open().insert(number, Arc::clone(&activity));
        Busy {
            number,
            activity,
            connections: Arc::clone(connections),
        }
    }

    /// A request has come.
    pub(super) fn begin(&self, version: Version) -> Running {
        if version < Version::HTTP_2 {
            self.activity.is_http_1.store(true, Ordering::SeqCst);
        }
        self.activity.running.fetch_add(1, Ordering::SeqCst);
        self.activity.asked.fetch_add(1, Ordering::SeqCst);
        Running {
            activity: Arc::clone(&self.activity),
            connections: Arc::clone(&self.connections),
        }
    }

    /// Resolves when the head of a request has not come for this long: the first since the opening,
    /// a later one of HTTP/1 since the end of the request before it. Later ones of HTTP/2 may take
    /// their time.
    pub(super) async fn silent_for(&self, time: Duration) {
        sleep(time).await;
        let activity = &self.activity;
        if activity.asked.load(Ordering::SeqCst) == 0 {
            return;
        }
        match activity.is_http_1.load(Ordering::SeqCst) {
            true => self.idle_since(Duration::ZERO, time).await,
            false => std::future::pending().await,
        }
    }

    /// Resolves when nothing has run for this long since the last request, at the earliest so long
    /// from now.
    pub(super) async fn idle_for(&self, time: Duration) {
        let called = self.activity.opened.elapsed();
        self.idle_since(called, time).await;
    }

    async fn idle_since(&self, from: Duration, time: Duration) {
        loop {
            let now = self.activity.opened.elapsed();
            let since = self.activity.idle_since();
            let until = since.unwrap_or(now).max(from).saturating_add(time);
            if since.is_some() && until <= now {
                return;
            }
            sleep(until.saturating_sub(now)).await;
        }
    }

    /// Resolves when nothing runs and somebody wants the slot.
    pub(super) async fn slot_wanted(&self) {
        loop {
            self.activity.leave.notified().await;
            if self.activity.is_idle() {
                return;
            }
            // A request was faster; another connection, or this one later.
            self.connections.slot_wanted();
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.connections.open().remove(&self.number);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let ended = u64::try_from(self.activity.opened.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.activity.ended.store(ended, Ordering::SeqCst);
        let last = self.activity.running.fetch_sub(1, Ordering::SeqCst) == 1;
        if last
            && self.connections.wanted.load(Ordering::SeqCst)
            && self.connections.wanted.swap(false, Ordering::SeqCst)
        {
            self.activity.leave.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    fn connections() -> (Arc<Connections>, Busy, Busy) {
        let all = Arc::new(Connections::default());
        let (one, two) = (Busy::open(1, &all), Busy::open(2, &all));
        (all, one, two)
    }

    async fn leaves(busy: &Busy) -> bool {
        tokio::time::timeout(Duration::from_millis(1), busy.slot_wanted())
            .await
            .is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn one_idle_connection_leaves_for_one_that_waits() {
        let (all, one, two) = connections();
        let running = one.begin(Version::HTTP_11);
        drop(two.begin(Version::HTTP_11));
        all.slot_wanted();
        assert!(!leaves(&one).await, "it has something to do");
        assert!(leaves(&two).await);
        drop(running);
        assert!(!leaves(&one).await, "one is enough");
    }

    #[tokio::test(start_paused = true)]
    async fn when_none_is_idle_the_first_that_becomes_it_leaves() {
        let (all, one, two) = connections();
        let (first, second) = (one.begin(Version::HTTP_11), two.begin(Version::HTTP_11));
        all.slot_wanted();
        drop(second);
        assert!(leaves(&two).await);
        drop(first);
        assert!(!leaves(&one).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_comes_first_passes_the_wish_on() {
        let (all, one, two) = connections();
        drop(one.begin(Version::HTTP_11));
        all.slot_wanted();
        let running = one.begin(Version::HTTP_11);
        assert!(!leaves(&one).await);
        drop(two.begin(Version::HTTP_11));
        assert!(leaves(&two).await);
        drop(running);
        assert!(!leaves(&one).await);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_leaves_when_the_wish_is_gone() {
        let (all, one, _two) = connections();
        let running = one.begin(Version::HTTP_11);
        all.slot_wanted();
        all.slot_taken();
        drop(running);
        assert!(!leaves(&one).await);
    }

    #[tokio::test(start_paused = true)]
    async fn heads_of_http_1_have_to_come_in_time() {
        let head = Duration::from_secs(30);
        let (_, one, two) = connections();
        let watch = TimerWatch::start();
        one.silent_for(head).await;
        assert_eq!(watch.elapsed(), head, "the first");

        let watch = TimerWatch::start();
        let asks = async {
            tokio::time::sleep(head / 3).await;
            drop(two.begin(Version::HTTP_11));
            tokio::time::sleep(head / 3).await;
            drop(two.begin(Version::HTTP_11));
        };
        let ((), ()) = tokio::join!(asks, two.silent_for(head));
        assert_eq!(watch.elapsed(), head * 2 / 3 + head, "a later one");

        let (_, one, _two) = connections();
        drop(one.begin(Version::HTTP_2));
        let silent = tokio::time::timeout(IDLE * 10, one.silent_for(head));
        assert!(
            silent.await.is_err(),
            "HTTP/2 has requests beside each other"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn idleness_counts_from_the_end_of_the_last_request() {
        let (_, one, _) = connections();
        let watch = TimerWatch::start();
        let running = one.begin(Version::HTTP_11);
        let second = Duration::from_secs(1);
        let asks = async {
            tokio::time::sleep(IDLE * 3).await;
            drop(running);
            tokio::time::sleep(second).await;
            drop(one.begin(Version::HTTP_11));
        };
        let ((), ()) = tokio::join!(asks, one.idle_for(IDLE));
        assert_eq!(watch.elapsed(), IDLE * 4 + second);
    }
}
