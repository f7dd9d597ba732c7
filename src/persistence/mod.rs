//! Persistence: the journal is the truth, the engine is the materialised state.

pub mod disk;
pub mod engine;
pub mod sim_engine;
pub mod sled;
