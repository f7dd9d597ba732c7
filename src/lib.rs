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
#[cfg(feature = "failpoints")]
mod failpoints;
mod handle;
#[cfg(feature = "http")]
pub mod http;
mod key;
mod messaging;
mod parked;
pub mod persistence;
pub mod prelude;
mod report;
mod saga;
mod sagas;
mod service;
mod shape;
mod startup;
mod supervision;
mod system;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod topology;
mod turn;

pub use activity::{
    Activity, ActivityContext, ActivityError, ActivityId, ActivityPolicy, Finished, Outcome,
    Reconciled,
};
pub use call::{Answered, CallError, IdempotencyKey};
pub use clock::{Timestamp, days, hours, minutes, seconds};
pub use config::Config;
pub use context::{Context, ContextError, SPAN_ROWS_DEFAULT, Span, TimerId, View};
pub use envelope::{Key, MessageId, TraceContext};
pub use error::{OpenError, StoreError};
pub use handle::{CommandCall, ServiceHandle, Watch};
pub use key::{KeyReader, TableKey};
pub use parked::DeadReason;
pub use report::{
    Check, DeadLetter, Health, RecoveredReport, ServiceReport, StoreReport, StreamReport,
    SystemReport,
};
pub use saga::{
    Answer, Asking, CancelAnswer, Failure, Orchestrator, Resolve, ResolveAnswer, RetryAnswer, Saga,
    SagaNote, SagaOutcome, SagaProgress, SagaState, Step, StepEffect, StepProgress, Steps,
};
pub use service::{
    AfterDeadLetter, Command, Declaration, DeclaredSaga, Event, HandledMessage, Handlers, Message,
    Published, Query, Rejection, RejectionKind, Replied, Sent, Service,
};
pub use supervision::{Strategy, Supervision};
pub use system::{CallOptions, JsonAnswer, ShutdownError, StartError, System, SystemBuilder};
pub use table::{Index, Table};
pub use topology::{
    HandledFrom, PlannedActivity, PublishedMessage, ServiceTopology, Topology, TopologyError,
};
