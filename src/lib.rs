//! Supervised, durable service actors: persisted state, outbox, sagas and activities in one process
//! and one data directory.
//!
//! # Hello
//!
//! A service is a struct with synchronous handlers. What a handler writes, sends and answers is one
//! commit; the answer comes when that commit is durable.
//!
//! ```
//! use redeliver::System;
//! use redeliver::prelude::*;
//!
//! const GREETED: Table<String, u64> = Table::new("greeted");
//!
//! struct Greeter;
//!
//! impl Service for Greeter {
//!     const NAME: &'static str = "greeter";
//!     fn handlers(on: &mut Handlers<Self>) {
//!         on.table(GREETED).command(Self::greet);
//!     }
//! }
//!
//! impl Greeter {
//!     fn greet(&self, greet: Greet, cx: &mut Context<Self>) -> Result<u64, Rejection> {
//!         let times = cx.get(GREETED, &greet.name)?.unwrap_or(0) + 1;
//!         cx.put(GREETED, &greet.name, &times)?;
//!         Ok(times)
//!     }
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Greet {
//!     name: String,
//! }
//! impl Message for Greet {
//!     const NAME: &'static str = "greet";
//! }
//! impl Command for Greet {
//!     type Reply = u64;
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = std::env::temp_dir().join(format!("redeliver-guide-{}", std::process::id()));
//! let system = System::open(&dir).service(Greeter).start().await?;
//! let times = system.service::<Greeter>().call(Greet { name: "Ada".into() }).await?;
//! assert_eq!(times, 1);
//! system.shutdown(seconds(10)).await?;
//! # std::fs::remove_dir_all(dir)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where to go from here
//!
//! | you want to | look at |
//! |---|---|
//! | list what a service owns, hears and says | [`Service`], [`Handlers`] |
//! | name messages and keep them readable for ever | [`Message`], [`Event`], [`Command`], [`Query`] |
//! | read and write state in a turn | [`Context`], [`Table`], [`Index`], [`Span`] |
//! | wake up later | [`Context::after`] |
//! | call the outside world | [`Activity`], [`ActivityPolicy`] |
//! | undo what several services have done | [`Saga`], [`Steps`] |
//! | talk to a running system | [`System`], [`ServiceHandle`] |
//! | see what it is doing | [`System::report`], [`System::health`] |
//! | serve it over HTTP | [`http`] (feature `http`, on by default) |
//! | test your own services in virtual time | `testing` (feature `testing`) |
//!
//! # What a handler may do
//!
//! Decide, read and plan; nothing else. It gets time, randomness and ids from its [`Context`], so a
//! turn is a pure function of state, message and context. A handler that returns a [`Rejection`] has
//! given a business answer. A handler that panics has a bug: its message is tried again and finally
//! becomes a [`DeadLetter`], while other messages go on.

#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../docs/testing.md")]
struct Testing;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod activity;
mod actors;
mod call;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
pub mod codec;
pub mod commit;
mod config;
mod context;
mod cursor;
mod declaration;
mod draft;
pub mod envelope;
pub mod error;
#[cfg(feature = "failpoints")]
mod failpoints;
mod feed;
mod frugal;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handle;
mod handlers;
mod hosted;
#[cfg(feature = "http")]
pub mod http;
mod json;
mod key;
mod messaging;
mod names;
mod parked;
pub mod persistence;
mod planted;
pub mod prelude;
mod rejection;
mod report;
mod saga;
mod sagas;
mod service;
mod shape;
mod span;
mod startup;
mod supervision;
mod system;
mod table;
pub mod telemetry;
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
pub use commit::EventNumber;
pub use config::Config;
pub use context::{Context, ContextError, TimerId, View};
pub use cursor::{EventCursor, NoEventCursor};
pub use declaration::{
    AfterDeadLetter, Declaration, DeclaredSaga, HandledMessage, Published, Sent,
};
pub use envelope::{Key, MessageId, TraceContext};
pub use error::{OpenError, StoreError};
pub use feed::{EventFeed, FeedItem, FeedPage, Gap, GapReason, PublishedEvent};
pub use handle::{CommandCall, ServiceHandle, Watch};
pub use handlers::Handlers;
pub use key::{KeyReader, TableKey};
pub use parked::DeadReason;
pub use persistence::backup::{BackupError, BackupInfo};
pub use rejection::{Rejection, RejectionKind};
pub use report::{
    ActorReport, Check, DeadLetter, Health, RecoveredReport, ServiceReport, StoreReport,
    StreamReport, SystemReport,
};
pub use saga::{
    Answer, Asking, CancelAnswer, Failure, Orchestrator, Resolve, ResolveAnswer, RetryAnswer, Saga,
    SagaNote, SagaOutcome, SagaProgress, SagaState, Step, StepEffect, StepProgress, Steps,
};
pub use service::{Command, Event, Message, Query, Replied, Service};
pub use span::{SPAN_ROWS_DEFAULT, Span};
pub use supervision::{Strategy, Supervision};
pub use system::{CallOptions, JsonAnswer, ShutdownError, StartError, System, SystemBuilder};
pub use table::{Index, Table};
pub use topology::{
    HandledFrom, PlannedActivity, PublishedMessage, ServiceTopology, Topology, TopologyError,
};
