//! Supervised, durable service actors.
pub mod activity;
pub mod clock;
pub mod codec;
pub mod commit;
mod context;
pub mod envelope;
pub mod error;
mod key;
pub mod persistence;
pub mod prelude;
mod service;
mod shape;
mod supervision;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use activity::{
    Activity, ActivityContext, ActivityError, ActivityId, ActivityPolicy, Finished, Outcome,
    Reconciled,
};
pub use clock::{Timestamp, days, hours, minutes, seconds};
pub use context::{Context, ContextError, SPAN_ROWS_DEFAULT, Span, TimerId, View};
pub use envelope::{Key, MessageId, TraceContext};
pub use error::{OpenError, StoreError};
pub use key::{KeyReader, TableKey};
pub use service::{
    AfterDeadLetter, Command, Declaration, Event, HandledMessage, Handlers, Message, Published,
    Query, Rejection, RejectionKind, Replied, Sent, Service,
};
pub use supervision::{Strategy, Supervision};
pub use table::{Index, Table};
