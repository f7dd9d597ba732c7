//! The catalog: the durable numbers of services and tables, and their names.
//!
//! ```text
//! 's' | service id (4, big-endian)  →  format 1 | slot | name
//! 't' | table id (4, big-endian)    →  format 1 | service id | name
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;

use super::format::{Decoder, Malformed, put_slice, put_varint};
use super::tables::{CATALOG, FIRST_TABLE};
use crate::commit::{ServiceId, TableId, Write};

/// Names by number.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) services: BTreeMap<ServiceId, (String, u16)>,
    pub(crate) tables: BTreeMap<TableId, (ServiceId, String)>,
}

impl Catalog {
    /// Takes over a row, live or in recovery.
    pub(crate) fn apply(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Malformed> {
        let mut from = Decoder::new(key);
        let kind = from.u8()?;
        let id: [u8; 4] = from
            .take(4)?
            .try_into()
            .map_err(|_| Malformed("its key is cut"))?;
        from.finish()?;
        let id = u32::from_be_bytes(id);
        let Some(value) = value else {
            return Err(Malformed("a catalog row was removed"));
        };
        let mut from = Decoder::new(value);
        if from.u8()? != 1 {
            return Err(Malformed("its format is unknown"));
        }
        match kind {
            b's' => {
                let slot = u16::try_from(from.varint()?)
                    .map_err(|_| Malformed("its slot is too large"))?;
                let name = from.string()?;
                self.services.insert(ServiceId(id), (name, slot));
            }
            b't' => {
                let service = ServiceId(from.id()?);
                let name = from.string()?;
                self.tables.insert(TableId(id), (service, name));
            }
            _ => return Err(Malformed("its kind is unknown")),
        }
        from.finish()
    }

    /// The service with this name, or the row that gives it one.
    pub(crate) fn service(
        &self,
        name: &str,
        slot: u16,
        formerly: &[&str],
    ) -> (ServiceId, Option<Write>) {
        let find = |wanted: &str| {
            self.services
                .iter()
                .find(|(_, (name, its_slot))| name == wanted && *its_slot == slot)
                .map(|(id, _)| *id)
        };
        if let Some(id) = find(name) {
            return (id, None);
        }
        let id = formerly.iter().find_map(|former| find(former));
        // Number 0 is the library itself.
        let next = self
            .services
            .last_key_value()
            .map_or(1, |(last, _)| last.0 + 1);
        let id = id.unwrap_or(ServiceId(next));
        let mut value = vec![1];
        put_varint(&mut value, u64::from(slot));
        put_slice(&mut value, name.as_bytes());
        (id, Some(row(b's', id.0, value)))
    }

    /// The table with this name, or the row that gives it one.
    pub(crate) fn table(
        &self,
        service: ServiceId,
        name: &str,
        formerly: &[&str],
    ) -> (TableId, Option<Write>) {
        let find = |wanted: &str| {
            self.tables
                .iter()
                .find(|(_, (owner, name))| *owner == service && name == wanted)
                .map(|(id, _)| *id)
        };
        if let Some(id) = find(name) {
            return (id, None);
        }
        let id = formerly.iter().find_map(|former| find(former));
        let next = self
            .tables
            .last_key_value()
            .map_or(FIRST_TABLE.0, |(last, _)| last.0 + 1);
        let id = id.unwrap_or(TableId(next));
        let mut value = vec![1];
        put_varint(&mut value, u64::from(service.0));
        put_slice(&mut value, name.as_bytes());
        (id, Some(row(b't', id.0, value)))
    }
}

fn row(kind: u8, id: u32, value: Vec<u8>) -> Write {
    let mut key = vec![kind];
    key.extend_from_slice(&id.to_be_bytes());
    Write {
        table: CATALOG,
        key: Bytes::from(key),
        value: Some(Bytes::from(value)),
    }
}
