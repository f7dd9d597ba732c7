//! Supervised, durable service actors.
pub mod activity;
mod actors;
mod call;
pub mod clock;
pub mod codec;
pub mod commit;
mod config;
mod context;
pub mod envelope;
pub mod error;
mod key;
mod messaging;
mod parked;
pub mod persistence;
pub mod prelude;
mod service;
mod supervision;
mod table;
mod topology;
mod turn;

pub use activity::{
    Activity, ActivityContext, ActivityError, ActivityId, ActivityPolicy, Finished, Outcome, Reconciled,
};
pub use call::{Answered, CallError, IdempotencyKey};
pub use clock::{Timestamp, days, hours, minutes, seconds};
pub use config::Config;
pub use context::{Context, ContextError, SPAN_ROWS_DEFAULT, Span, TimerId, View};
pub use envelope::{Key, MessageId, TraceContext};
pub use error::{OpenError, StoreError};
pub use key::{KeyReader, TableKey};
pub use service::{
    AfterDeadLetter, Command, Declaration, Event, HandledMessage, Handlers, Message, Published, Query, Rejection,
    RejectionKind, Replied, Sent, Service,
};
pub use supervision::{Strategy, Supervision};
pub use table::{Index, Table};
pub use topology::{HandledFrom, PlannedActivity, PublishedMessage, ServiceTopology, Topology, TopologyError};
