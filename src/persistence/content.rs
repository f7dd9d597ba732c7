//! The content of a snapshot in an operator's words: rows by service, and what is under way.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::catalog::Catalog;
use super::format::Malformed;
use super::spill::SpillFile;
use super::streams::{read_stream_key, read_stream_row};
use super::tables::{CATALOG, FIRST_TABLE, OUTBOX, STREAMS};
use crate::commit::{Sequence, StreamId, TableId};
use crate::parked::{DEAD, PARKED};
use crate::turn::{PLANS, TIMERS};

/// What a snapshot or a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Content {
    /// The services, and how many rows the tables that they declare have.
    pub services: Vec<ServiceContent>,
    /// Messages on their way between services.
    pub messages: u64,
    /// Timers that are set.
    pub timers: u64,
    /// Activities without a recorded result. After a restore their outcome is *unknown*: it is
    /// reconciled before anything is run again.
    pub activities: u64,
    /// Messages that wait for another attempt.
    pub parked: u64,
    /// Messages given up and kept.
    pub dead_letters: u64,
}

/// What a snapshot or a backup holds of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceContent {
    /// Its name.
    pub name: String,
    /// Rows of its own tables.
    pub rows: u64,
}

/// Counts rows as they are read.
#[derive(Default)]
pub(crate) struct Counting {
    catalog: Catalog,
    rows: BTreeMap<TableId, u64>,
    consumed: HashMap<StreamId, Sequence>,
}

impl Counting {
    pub(crate) fn row(
        &mut self,
        table: TableId,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Malformed> {
        *self.rows.entry(table).or_default() += 1;
        if table == CATALOG {
            self.catalog.apply(key, Some(value))?;
        }
        if table == STREAMS {
            let (_, mark) = read_stream_row(value)?;
            self.consumed.insert(read_stream_key(key)?, mark.consumed);
        }
        Ok(())
    }

    /// What it comes to, with the spilled messages that belong to it.
    pub(crate) fn content(self, spilled: &[SpillFile]) -> Content {
        let waiting = |file: &SpillFile| {
            let consumed = self.consumed.get(&file.stream);
            file.entries_after(consumed.copied().unwrap_or_default())
        };
        let in_files: u64 = spilled.iter().map(waiting).sum();
        let mut content = Content {
            messages: self.rows.get(&OUTBOX).copied().unwrap_or_default() + in_files,
            ..Content::default()
        };
        let mut own: BTreeMap<_, u64> = BTreeMap::new();
        for (table, rows) in &self.rows {
            let Some((service, name)) = self.catalog.tables.get(table) else {
                continue;
            };
            match name.as_str() {
                TIMERS => content.timers += rows,
                PLANS => content.activities += rows,
                PARKED => content.parked += rows,
                DEAD => content.dead_letters += rows,
                name if name.starts_with('~') || *table < FIRST_TABLE => {}
                _ => *own.entry(*service).or_default() += rows,
            }
        }
        content.services = self
            .catalog
            .services
            .iter()
            .map(|(id, (name, _))| ServiceContent {
                name: name.clone(),
                rows: own.get(id).copied().unwrap_or_default(),
            })
            .collect();
        content
    }
}
