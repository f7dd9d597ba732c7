//! Figures that are read at the beginning and at the end of a measurement.

use redeliver::System;

use super::engine_syncs::EngineSyncs;
use super::machine;
use crate::syncs::Syncs;

/// Who knows of which syncs. Together they are all of the process.
#[derive(Debug, Clone, Default)]
pub(super) struct Counted {
    /// Those of the shop beside its system; none where there is no shop.
    pub(super) shop: Syncs,
    /// Those that the engine asks for by itself.
    pub(super) engine: EngineSyncs,
}

/// What a system and its process have done so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    pub(super) turns: u64,
    pub(super) commits: u64,
    pub(super) journal_bytes: u64,
    pub(super) syncs: u64,
    pub(super) written_bytes: u64,
    pub(super) rss_kib: u64,
    pub(super) cpu_micros: u64,
}

impl Figures {
    pub(super) fn of(system: &System, counted: &Counted) -> Figures {
        let report = system.report();
        let (written_bytes, rss_kib) = machine::usage(machine::SELF);
        Figures {
            turns: report.services.iter().map(|service| service.turns).sum(),
            commits: report.store.queued,
            journal_bytes: report.store.journal_bytes,
            syncs: report.store.disk_syncs + counted.shop.count() + counted.engine.count(),
            written_bytes,
            rss_kib,
            cpu_micros: machine::cpu_micros(machine::SELF),
        }
    }

    /// What has come since `before`; memory is a state and stays as it is.
    pub(super) fn since(self, before: Figures) -> Figures {
        Figures {
            turns: self.turns.saturating_sub(before.turns),
            commits: self.commits.saturating_sub(before.commits),
            journal_bytes: self.journal_bytes.saturating_sub(before.journal_bytes),
            syncs: self.syncs.saturating_sub(before.syncs),
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
            rss_kib: self.rss_kib,
            cpu_micros: self.cpu_micros.saturating_sub(before.cpu_micros),
        }
    }
}
