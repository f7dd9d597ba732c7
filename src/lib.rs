//! Supervised, durable service actors.
pub mod clock;
pub mod commit;
pub mod error;
pub mod persistence;
