//! The contract between a host and the library: services and their messages.
//!
//! A service declares what it owns (tables), what it hears (events, commands, queries, timers)
//! and what it says (events, commands to others). Nothing is found by reflection and nothing is
//! registered by a macro: `handlers` is an ordinary function that lists ordinary functions.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{Body, CodecError};
use crate::envelope::Key;
use crate::handlers::Handlers;
use crate::rejection::Rejection;

/// A message: typed, versioned, with a wire name that never changes.
///
/// ```
/// use redeliver::prelude::*;
///
/// #[derive(Serialize, Deserialize)]
/// struct OrderPlaced {
///     order: u64,
/// }
///
/// impl Message for OrderPlaced {
///     const NAME: &'static str = "order-placed";
///     // Messages about one order are handled in the order of sending.
///     fn key(&self) -> Key {
///         Key::of(&self.order)
///     }
/// }
/// impl Event for OrderPlaced {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    note = "implement `redeliver::Message` for it, with its wire name, and `Event`, `Command` or `Query`"
)]
pub trait Message: Serialize + DeserializeOwned + Send + 'static {
    /// The wire name: identity of the message in stored data and between services.
    const NAME: &'static str;
    /// Schema version of the body that this program writes.
    const VERSION: u16 = 1;
    /// Wire names under which stored data may still hold this message.
    const FORMERLY: &'static [&'static str] = &[];

    /// The ordering key. Default: unordered.
    fn key(&self) -> Key {
        Key::None
    }

    /// Reads a body of an older version; `None` for versions this program does not know.
    fn upgrade(version: u16, body: Body<'_>) -> Option<Result<Self, CodecError>> {
        let _ = (version, body);
        None
    }
}

/// A fact, for every service that subscribes to it.
pub trait Event: Message {}

/// A request to one service.
pub trait Command: Message {
    /// What the service answers.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
}

/// A question that changes nothing.
pub trait Query: Message {
    /// What the service answers.
    type Answer: Serialize + DeserializeOwned + Send + 'static;
}

/// A unit of ownership and supervision: a name, its tables, its handlers, its outbox and inbox.
///
/// Handlers are synchronous and decide; they perform no I/O. A handler that panics is a bug: its
/// message is tried again and finally becomes a dead letter, the service goes on.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service",
    note = "implement `redeliver::Service` for it"
)]
pub trait Service: Sized + Send + Sync + 'static {
    /// Identity of the service in stored data, routes, logs and metrics.
    const NAME: &'static str;
    /// Names under which stored data may still know this service.
    const FORMERLY: &'static [&'static str] = &[];

    /// Lists the service's tables, handlers and published messages.
    fn handlers(on: &mut Handlers<Self>);
}

/// The answer to a command that a service sent to another.
#[derive(Debug, Clone)]
pub struct Replied<C: Command> {
    /// What the receiver decided.
    pub result: Result<C::Reply, Rejection>,
}
