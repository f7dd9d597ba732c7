//! Sizes of what the shop keeps on its disk, for who has a small one, or wants to see everything
//! that happens to a disk within minutes.

use redeliver::Config as SystemConfig;
use serde::{Deserialize, Serialize};

use super::ConfigError;

const LEAST: u64 = 64 << 10;
const MOST: u64 = 1 << 40;

/// Sizes of what is kept on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// Size of a segment of the journal, in bytes.
    pub segment_bytes: u64,
    /// Bytes of the journal after which a checkpoint begins.
    pub checkpoint_after_bytes: u64,
    /// Bytes of the journal after which a snapshot begins.
    pub snapshot_after_bytes: u64,
    /// Bytes of messages on their way that are kept in memory; what is beyond waits on disk.
    pub outbox_memory_bytes: u64,
    /// Free bytes below which commands are refused.
    pub space_low_bytes: u64,
    /// Bytes kept aside to make space with when the disk is full; 0 for none.
    pub space_reserve_bytes: u64,
}

impl Default for StorageConfig {
    fn default() -> StorageConfig {
        let usual = SystemConfig::default();
        StorageConfig {
            segment_bytes: usual.journal_segment_bytes,
            checkpoint_after_bytes: usual.checkpoint_after_bytes,
            snapshot_after_bytes: usual.snapshot_after_bytes,
            outbox_memory_bytes: usual.outbox_memory_bytes_max,
            space_low_bytes: usual.space_low_bytes,
            space_reserve_bytes: usual.space_reserve_bytes,
        }
    }
}

impl StorageConfig {
    /// The limits as the system takes them.
    pub fn system(&self) -> SystemConfig {
        let usual = SystemConfig::default();
        SystemConfig {
            journal_segment_bytes: self.segment_bytes,
            checkpoint_after_bytes: self.checkpoint_after_bytes,
            // Edges must not refuse before a checkpoint could have been taken.
            uncheckpointed_bytes_max: usual
                .uncheckpointed_bytes_max
                .max(self.checkpoint_after_bytes.saturating_mul(4)),
            snapshot_after_bytes: self.snapshot_after_bytes,
            outbox_memory_bytes_max: self.outbox_memory_bytes,
            space_low_bytes: self.space_low_bytes,
            space_reserve_bytes: self.space_reserve_bytes,
            ..usual
        }
    }

    /// A segment that holds nothing, or a checkpoint after each commit, is a mistake.
    pub(super) fn check_ranges(&self, origin: &str) -> Result<(), ConfigError> {
        for (name, value, least) in [
            ("segment_bytes", self.segment_bytes, LEAST),
            ("checkpoint_after_bytes", self.checkpoint_after_bytes, LEAST),
            ("snapshot_after_bytes", self.snapshot_after_bytes, LEAST),
            ("outbox_memory_bytes", self.outbox_memory_bytes, 0),
            ("space_low_bytes", self.space_low_bytes, 0),
            ("space_reserve_bytes", self.space_reserve_bytes, 0),
        ] {
            if !(least..=MOST).contains(&value) {
                return Err(ConfigError::Value {
                    origin: origin.to_owned(),
                    detail: format!("storage.{name} is {value}; use {least} to {MOST}"),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Config;

    #[test]
    fn without_a_word_about_it_the_system_is_as_it_is_by_default() {
        assert_eq!(StorageConfig::default().system(), SystemConfig::default());
    }

    #[test]
    fn sizes_come_from_the_environment_and_those_that_hold_nothing_are_refused() {
        let variable = |bytes: &'static str| {
            move |name: &str| {
                (name == "COMMERCE_STORAGE_CHECKPOINT_AFTER_BYTES").then(|| bytes.to_owned())
            }
        };
        let config = Config::load(toml::Table::new(), None, variable("65536")).unwrap();
        assert_eq!(config.storage.system().checkpoint_after_bytes, 65_536);
        let error = Config::load(toml::Table::new(), None, variable("10")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("storage.checkpoint_after_bytes is 10"),
            "{error}"
        );
    }
}
