//! Views: who looked at which product, told to the catalog at most once a minute each.
//!
//! Nobody waits for it and it may be lost: when too many are on their way, when too many have
//! looked in this minute, when the process ends. A new process begins with an empty memory.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::mem;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::app::Shop;
use crate::catalog::NoteView;
use crate::ids::{ProductId, UserId};

/// How long a viewer's next look at the same product does not count.
const WINDOW: Duration = Duration::from_secs(60);
/// Looks that are remembered of one window; further ones are lost.
const REMEMBERED_MAX: usize = 50_000;
/// Looks that may be on their way to the catalog; further ones are lost.
const ON_THEIR_WAY_MAX: usize = 64;

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Viewer {
    /// Somebody who is signed in.
    User(UserId),
    /// Somebody who is not.
    Address(IpAddr),
}

/// What has been looked at lately. Cheap to clone.
#[derive(Clone)]
pub struct Views {
    recent: Arc<Mutex<Recent<(Viewer, ProductId)>>>,
    on_their_way: Arc<Semaphore>,
}

impl Views {
    /// Nothing.
    pub fn new() -> Views {
        Views {
            recent: Arc::new(Mutex::new(Recent::new(Instant::now(), REMEMBERED_MAX))),
            on_their_way: Arc::new(Semaphore::new(ON_THEIR_WAY_MAX)),
        }
    }

    /// Tells the catalog, if it is to hear of this look, without waiting for it.
    pub(super) fn note(&self, shop: &Shop, viewer: Viewer, product_id: ProductId) {
        let Ok(permit) = self.on_their_way.clone().try_acquire_owned() else {
            return;
        };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = recent.is_new((viewer, product_id), Instant::now());
        drop(recent);
        if !counts {
            return;
        }
        let user_id = match viewer {
            Viewer::User(user) => Some(user),
            Viewer::Address(_) => None,
        };
        let catalog = shop.catalog();
        tokio::spawn(async move {
            let told = catalog.call(NoteView {
                product_id,
                user_id,
            });
            if let Err(error) = told.await {
                tracing::debug!(%error, product = %product_id, "view of a product was lost");
            }
            drop(permit);
        });
    }
}

impl Default for Views {
    fn default() -> Views {
        Views::new()
    }
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Views").finish_non_exhaustive()
    }
}

/// What happened lately and when, in this window and in the one before: whole windows are
/// forgotten at once, so that no look has to clear up after others.
struct Recent<T> {
    since: Instant,
    current: HashMap<T, Instant>,
    before: HashMap<T, Instant>,
    max: usize,
}

impl<T: Eq + Hash> Recent<T> {
    fn new(since: Instant, max: usize) -> Recent<T> {
        Recent {
            since,
            current: HashMap::new(),
            before: HashMap::new(),
            max,
        }
    }

    /// Whether it has not happened lately; if so, it has from now on.
    fn is_new(&mut self, what: T, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= WINDOW {
            self.before = mem::take(&mut self.current);
            self.since = now;
        }
        let lately = |at: &Instant| now.saturating_duration_since(*at) < WINDOW;
        let is_known = |of: &HashMap<T, Instant>| of.get(&what).is_some_and(lately);
        if is_known(&self.current) || is_known(&self.before) || self.current.len() >= self.max {
            return false;
        }
        self.current.insert(what, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_counts_once_and_again_when_its_minute_is_over() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut recent = Recent::new(start, 100);
        assert!(recent.is_new("a", at(0)));
        assert!(!recent.is_new("a", at(1)));
        assert!(recent.is_new("b", at(59)));
        assert!(recent.is_new("a", at(60)));
        // Windows have changed; what happened a moment ago is known all the same.
        assert!(!recent.is_new("b", at(118)));
        assert!(recent.is_new("b", at(119)));
        assert!(!recent.is_new("a", at(119)));
        assert!(recent.is_new("a", at(300)));
    }

    #[test]
    fn what_cannot_be_remembered_is_lost() {
        let start = Instant::now();
        let mut recent = Recent::new(start, 2);
        let counted = (0..10).filter(|n| recent.is_new(*n, start)).count();
        assert_eq!(counted, 2);
    }
}
