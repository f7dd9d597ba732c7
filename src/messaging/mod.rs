//! Messaging: how promised messages reach their receivers, in order and once.
//!
//! ```text
//! sender's turn ─ commit ─▶ outbox ─ Outgoing ─ Transport ─ Incoming ─▶ receiver's turn ─ mark
//!                              ▲                                │
//!                              └──── acknowledge / resume ◀─────┘
//! ```
//!
//! The outbox is the queue; everything between it and the mark is a hint that may be lost,
//! doubled or reordered without harm. The state machines here are pure; actors drive them.

pub(crate) mod local;
pub(crate) mod retry;
pub(crate) mod stream;
pub(crate) mod transport;
