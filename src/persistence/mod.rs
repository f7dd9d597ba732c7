//! Persistence: the journal is the truth, the engine is the materialised state.

pub mod disk;
pub mod engine;
pub mod events;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod memory_disk;
pub mod sim_engine;
pub mod sled;
pub mod snapshot;
