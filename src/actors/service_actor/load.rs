//! What a service actor begins with, from its rows and marks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use ractor::ActorProcessingErr;

use super::ServiceState;
use super::alarm::Alarm;
use crate::actors::cell::{Cell, Member};
use crate::clock::Timestamp;
use crate::commit::TableId;
use crate::context::TimerId;
use crate::draft::{Reads, for_each_row};
use crate::envelope::{Envelope, Key};
use crate::key::TableKey;
use crate::parked::{self, Origin, Parked, ParkedRow, Why};
use crate::planted::PlantedBug;

impl ServiceState {
    pub(super) fn load(
        cell: Arc<Cell>,
        member: Arc<Member>,
    ) -> Result<ServiceState, ActorProcessingErr> {
        cell.faults.before_load(member.name());
        let epoch = cell.store.take_over(member.id());
        // After that no predecessor can add anything.
        let newest = cell.store.queued();
        let mut parked = Parked::default();
        for_each_row::<ActorProcessingErr>(&cell.store, member.own.parked, |key, value| {
            let (Some(origin), mut row) =
                (Origin::from_bytes(&key), parked::open_parked(&key, &value)?)
            else {
                return Err(
                    format!("parked message of {} has an unreadable key", member.name()).into(),
                );
            };
            if row.why == Why::Unreadable && !member.cannot_read(&origin) {
                // A new start may be a new program that can read it.
                row.why = Why::Failed;
                row.next_at = Timestamp::default();
            }
            let key = ordering_key(&row.envelope);
            parked.insert(origin, &row, key);
            Ok(())
        })?;
        let mut timers = BTreeSet::new();
        for_each_row::<ActorProcessingErr>(&cell.store, member.own.timers, |key, _| {
            timers.insert(TimerId::from_key(&key).ok_or("a timer has an unreadable key")?);
            Ok(())
        })?;
        if cell.store.planted().is(PlantedBug::TimerDroppedOnRestart) {
            timers.pop_first();
        }
        let mut planned = 0;
        for_each_row::<ActorProcessingErr>(&cell.store, member.own.plans, |_, _| {
            planned += 1;
            Ok(())
        })?;
        member.status.activities.store(planned, Ordering::Relaxed);
        let incoming = cell.store.incoming(member.id());
        let marks = incoming
            .into_iter()
            .map(|stream| (stream.sender, cell.store.mark(stream)))
            .collect();
        let alarm = Alarm::of(member.clone(), cell.clone());
        member
            .status
            .parked
            .store(parked.len() as u64, Ordering::Relaxed);
        member
            .status
            .timers
            .store(timers.len() as u64, Ordering::Relaxed);
        Ok(ServiceState {
            epoch,
            newest,
            parked,
            timers,
            marks,
            running: cell.store.running(member.id()),
            calls: 0,
            random: fastrand::Rng::with_seed(cell.clock.entropy()),
            acks: BTreeMap::new(),
            alarm,
            cell,
            member,
        })
    }
}

/// The ordering key of an encoded envelope.
pub(crate) fn ordering_key(envelope: &[u8]) -> Option<Bytes> {
    match Envelope::decode(&Bytes::copy_from_slice(envelope))
        .ok()?
        .key
    {
        Key::None => None,
        Key::Of(key) => Some(key),
    }
}

/// A parked row, for those that only need it whole.
pub(crate) fn read_parked(
    cell: &Cell,
    table: TableId,
    origin: &Origin,
) -> Result<Option<ParkedRow>, ActorProcessingErr> {
    let key = origin.to_bytes();
    match Reads::get(&cell.store, table, &key)? {
        Some(stored) => Ok(Some(parked::open_parked(&key, &stored)?)),
        None => Ok(None),
    }
}
