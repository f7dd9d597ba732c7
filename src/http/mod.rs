//! HTTP: a server that survives bad clients, and routes that any host can mount.
//!
//! The server takes warp routes and gives every request a body cap, a request id, a span and
//! problem+json for whatever goes wrong. The facade turns the commands and queries of a system
//! into routes; health and administration are routes of their own. A host mounts what it wants:
//!
//! ```
//! # use redeliver::System;
//! # use redeliver::http::{self, ServerConfig};
//! # use warp::Filter;
//! # async fn run(system: System, stop: impl Future<Output = ()>) -> std::io::Result<()> {
//! let routes = http::facade(system.clone())
//!     .or(http::health(system.clone()))
//!     .or(http::admin(system));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! let served = http::serve(listener, routes, ServerConfig::default(), stop).await;
//! println!("{} requests answered", served.requests);
//! # Ok(())
//! # }
//! ```
//!
//! What a request passes on its way:
//!
//! ```text
//! accept ─ slot ─ connection ─ exchange ─ routes ─ recover ─ exchange
//!          cap    header,      id, span,  the       problem   id on the problem,
//!                 idle and     body cap,  host's    for every  413/408 for a bad body,
//!                 write        panic      filters   rejection  Allow, guard on the answer
//!                 time-outs
//! ```
//!
//! warp and hyper are known only here.

mod admin;
mod backups;
mod body;
mod busy;
mod connection;
mod dashboard;
mod events;
mod exchange;
mod extract;
mod facade;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod health;
mod host;
mod idempotency;
mod metrics;
mod problem;
mod recover;
mod refusal;
mod server;
mod stall;

pub use admin::admin;
pub use backups::backups;
pub use dashboard::{Dashboard, dashboard};
pub use events::{
    EventStreams, EventStreamsConfig, EventView, EveryEvent, Show, Shown, events, every_event,
    resume_after,
};
pub use extract::{Draining, RequestId, draining, head_only, method, peer, request_id};
pub use facade::{Principal, facade, facade_for};
pub use health::health;
pub use host::Host;
pub use idempotency::idempotency_key;
pub use metrics::{MetricFamily, MetricKind, MetricsText, metrics, metrics_and};
pub use problem::{PROBLEMS, Problem};
pub use recover::recover;
pub use server::{Served, ServerConfig, serve};
