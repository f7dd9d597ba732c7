//! The alarm of a service: wakes its actor when a timer or a parked message is due.
//!
//! An alarm that is set for later than it needs to be is set anew; one that is set too early is
//! left to ring in vain. Timers are mostly set and cancelled long before they are due, and telling
//! the alarm of each would wake another task in every turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::actors::cell::{Cell, Member};
use crate::clock::Timestamp;

/// How often the clock is looked at, so that a jump of the wall clock is followed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Alarm {
    due: watch::Sender<Option<Timestamp>>,
    /// Whether it has yet to ring for what it was last set to.
    armed: Arc<AtomicBool>,
    _task: AbortOnDropHandle<()>,
}

impl Alarm {
    /// An alarm that wakes the actor of `member`, set to nothing.
    pub(super) fn of(member: Arc<Member>, cell: Arc<Cell>) -> Alarm {
        let (due, dues) = watch::channel(None);
        let armed = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(ring(dues, armed.clone(), cell, member));
        Alarm {
            due,
            armed,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Rings at this time or earlier.
    pub(super) fn set(&self, due: Timestamp) {
        let rings_in_time = || self.due.borrow().is_some_and(|rings| rings <= due);
        if self.armed.load(Ordering::SeqCst) && rings_in_time() {
            return;
        }
        self.armed.store(true, Ordering::SeqCst);
        self.due.send_replace(Some(due));
    }
}

async fn ring(
    mut dues: watch::Receiver<Option<Timestamp>>,
    armed: Arc<AtomicBool>,
    cell: Arc<Cell>,
    member: Arc<Member>,
) {
    loop {
        let due = *dues.borrow_and_update();
        let Some(due) = due else {
            if dues.changed().await.is_err() {
                return;
            }
            continue;
        };
        let left = due.since(cell.now());
        if left.is_zero() {
            // First: whoever still finds it armed has gone to rest before it rings.
            armed.store(false, Ordering::SeqCst);
            member.port.wake();
            if dues.changed().await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            biased;
            changed = dues.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(left.min(LOOK_EVERY)) => {}
        }
    }
}
