//! What the shop has told its callers: every acknowledged command, and where the shop is now.

use std::sync::{Condvar, Mutex, PoisonError};

use serde_json::Value;

/// A command with its idempotency key and the answer that was given for it.
#[derive(Debug, Clone)]
pub struct Told {
    pub path: String,
    pub key: String,
    pub body: Value,
    /// Whether it was asked to wait for the outcome, which makes the answer one of that moment.
    pub waited: bool,
    pub status: u16,
    pub answer: Value,
}

impl Told {
    pub fn accepted(&self) -> bool {
        matches!(self.status, 200 | 202)
    }

    /// Whether it was refused because the parcel had left.
    pub fn is_already_shipped(&self) -> bool {
        self.status == 409
            && self.answer["type"]
                .as_str()
                .is_some_and(|kind| kind.ends_with("rejected/already-shipped"))
    }

    pub fn is_order(&self) -> bool {
        self.path == "/api/v1/orders"
    }

    /// The id in a path such as `/api/v1/orders/{id}/cancel`, if it ends in this verb.
    pub fn subject(&self, of: &str, verb: &str) -> Option<&str> {
        let rest = self.path.strip_prefix("/api/v1/")?.strip_prefix(of)?;
        rest.strip_prefix('/')?
            .strip_suffix(verb)?
            .strip_suffix('/')
    }
}

/// Where the shop answers at present. Shoppers wait at its doors while it is down.
#[derive(Default)]
pub struct Doors {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    address: Option<String>,
    closing: bool,
}

impl Doors {
    pub fn open(&self, address: &str) {
        self.lock().address = Some(address.to_owned());
        self.changed.notify_all();
    }

    pub fn shut(&self) {
        self.lock().address = None;
    }

    /// Shoppers finish what they are at and leave.
    pub fn close_for_good(&self) {
        self.lock().closing = true;
    }

    pub fn closing(&self) -> bool {
        self.lock().closing
    }

    /// The address, as soon as there is one.
    pub fn address(&self) -> String {
        let mut state = self.lock();
        loop {
            if let Some(address) = &state.address {
                return address.clone();
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
