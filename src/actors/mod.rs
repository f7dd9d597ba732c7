//! Actors: the supervision tree, thin around decisions made elsewhere.
//!
//! ```text
//! root
//! └─ service supervisor, one per service          restart decisions: restart.rs
//!    ├─ service actor    takes turns              decisions: ../turn.rs
//!    ├─ relay            outbox → receivers       decisions: ../messaging/stream.rs
//!    └─ activity pool    work with the outside    decisions: ../messaging/retry.rs
//! ```
//!
//! What must outlive an actor (the port with its queues, the relay's positions, the status) is in
//! [`cell::Member`], which all of them share. The only door to ractor.

pub(crate) mod cell;
pub(crate) mod pool;
pub(crate) mod port;
pub(crate) mod relay;
pub(crate) mod restart;
pub(crate) mod root;
pub(crate) mod service_actor;
pub(crate) mod supervisor;
#[cfg(test)]
mod tests;
