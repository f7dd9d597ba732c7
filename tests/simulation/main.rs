//! Simulations: whole systems in virtual time under faults by a seed.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod bank;
mod repeatable;
mod teeth;
