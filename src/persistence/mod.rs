//! Persistence: the journal is the truth, the engine is the materialised state.
//!
//! ```text
//! Store   queue ──► memory tables, streams, pending ──► journal ──► outputs
//!         get, scan ◄── memory tables ◄── engine ◄── checkpoint
//! Disk    journal, CHECKPOINT, snapshots, events, spill       Engine   materialised rows
//! ```
//!
//! Everything above sees only [`store::Store`].

mod backlog;
pub mod backup;
mod catalog;
mod checkpoint;
pub mod content;
#[cfg(test)]
mod crash_tests;
pub(crate) mod digest;
pub mod disk;
pub mod engine;
pub mod events;
pub mod format;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod journal;
mod lineage;
#[cfg(any(test, feature = "fuzzing"))]
#[allow(clippy::unwrap_used)]
pub(crate) mod memory_disk;
pub mod open;
#[cfg(feature = "http")]
pub(crate) mod open_files;
pub mod options;
mod outbox;
pub(crate) mod pace;
mod published;
pub mod real_disk;
mod recovery;
pub mod restore;
pub mod running;
pub mod sim_disk;
pub mod sim_engine;
pub mod sled;
pub(crate) mod sled_log;
pub mod snapshot;
mod snapshots;
mod space;
pub mod spill;
#[cfg(test)]
mod spill_tests;
mod state;
pub mod store;
#[cfg(test)]
mod store_tests;
pub mod streams;
mod tables;
pub mod verify;
mod writing;
