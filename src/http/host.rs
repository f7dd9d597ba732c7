//! The host behind the routes: what the facade asks of a system.
//!
//! The routes know a system only through [`Host`], so they can be tried against a stand-in and
//! put before anything that answers messages by name.

use std::future::Future;

use crate::{CallError, CallOptions, Health, JsonAnswer, System};

/// What answers messages by service and wire name and can say how it is. A [`System`] does.
pub trait Host: Clone + Send + Sync + 'static {
    /// Takes a command or a query as JSON. The answer is durable when it is given.
    fn call(
        &self,
        service: &str,
        message: &str,
        json: &[u8],
        options: CallOptions,
    ) -> impl Future<Output = Result<JsonAnswer, CallError>> + Send;

    /// Whether work can be taken, check by check.
    fn health(&self) -> Health;

    /// The live tree and the stream counters.
    fn report(&self) -> impl serde::Serialize;

    /// Who sends what to whom.
    fn topology(&self) -> impl serde::Serialize;
}

impl Host for System {
    fn call(
        &self,
        service: &str,
        message: &str,
        json: &[u8],
        options: CallOptions,
    ) -> impl Future<Output = Result<JsonAnswer, CallError>> + Send {
        self.call_json(service, message, json, options)
    }

    fn health(&self) -> Health {
        System::health(self)
    }

    fn report(&self) -> impl serde::Serialize {
        System::report(self)
    }

    fn topology(&self) -> impl serde::Serialize {
        System::topology(self)
    }
}
