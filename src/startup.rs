//! Before the first turn: numbers for names, orphans, and the messages that took the process down.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::actors::cell::{Cell, Member};
use crate::actors::service_actor::{low_half, read_parked};
use crate::actors::supervisor::charge;
use crate::commit::{Sequence, ServiceId, StreamId, TableId};
use crate::config::Config;
use crate::context::TimerId;
use crate::declaration::Declaration;
use crate::draft::{Reads, Shape, for_each_row};
use crate::envelope::{Envelope, Kind};
use crate::error::StoreError;
use crate::hosted::Hosted;
use crate::key::TableKey;
use crate::parked::{self, DEAD, Origin, PARKED, Why};
use crate::persistence::running::{InHand, Interrupted};
use crate::persistence::store::Store;
use crate::shape::Surroundings;
use crate::system::StartError;
use crate::turn::{ANSWERS, ANSWERS_BY_TIME, Arrived, CHARGES, From, OwnTables, PLANS, TIMERS};

/// Finds or gives the durable numbers of every service and its tables.
pub(crate) fn resolve(
    store: &Store,
    hosted: &[Arc<dyn Hosted>],
    config: &Config,
) -> Result<Vec<Arc<Member>>, StartError> {
    let mut ids = Vec::new();
    for service in hosted {
        let declaration = service.declaration();
        ids.push(store.service(declaration.name, 0, declaration.formerly)?);
    }
    let declarations: Vec<&Declaration> =
        hosted.iter().map(|service| service.declaration()).collect();
    let mut members = Vec::new();
    for (service, id) in hosted.iter().zip(&ids) {
        let mut around = Around {
            store,
            declarations: &declarations,
            ids: &ids,
            own: *id,
            failed: None,
        };
        let mut shape = Shape::of(service.as_ref(), *id, &mut around);
        shape.planted = store.planted();
        if let Some(error) = around.failed {
            return Err(error.into());
        }
        let own = |name: &'static str| store.table(*id, name, &[]);
        let own = OwnTables {
            timers: own(TIMERS)?,
            plans: own(PLANS)?,
            parked: own(PARKED)?,
            dead: own(DEAD)?,
            charges: own(CHARGES)?,
            answers: own(ANSWERS)?,
            answers_by_time: own(ANSWERS_BY_TIME)?,
        };
        members.push(Arc::new(Member::new(
            service.clone(),
            shape,
            own,
            config,
            store,
        )));
    }
    Ok(members)
}

struct Around<'a> {
    store: &'a Store,
    declarations: &'a [&'a Declaration],
    ids: &'a [ServiceId],
    own: ServiceId,
    failed: Option<StoreError>,
}

impl Surroundings for Around<'_> {
    fn table(&mut self, name: &'static str) -> TableId {
        let own = self
            .declarations
            .iter()
            .zip(self.ids)
            .find(|(_, id)| **id == self.own);
        let tables = own
            .map(|(declaration, _)| declaration.tables.as_slice())
            .unwrap_or_default();
        let formerly = tables
            .iter()
            .find(|(table, _)| *table == name)
            .map(|(_, formerly)| *formerly)
            .unwrap_or_default();
        self.store
            .table(self.own, name, formerly)
            .unwrap_or_else(|error| {
                self.failed.get_or_insert(error);
                TableId(0)
            })
    }

    fn subscribers(&self, event: &'static str) -> Vec<ServiceId> {
        let hears = |declaration: &&Declaration| {
            declaration
                .handles
                .iter()
                .any(|handled| handled.kind == Kind::Event && handled.message == event)
        };
        self.declarations
            .iter()
            .zip(self.ids)
            .filter(|(declaration, _)| hears(declaration))
            .map(|(_, id)| *id)
            .collect()
    }

    fn service(&self, name: &'static str) -> Option<ServiceId> {
        self.declarations
            .iter()
            .zip(self.ids)
            .find(|(declaration, _)| declaration.name == name)
            .map(|(_, id)| *id)
    }
}

/// Refuses to start over stored messages that nobody would handle any more.
///
/// Comes before anything is written, names included: after a refusal the earlier program must find
/// everything as it left it.
pub(crate) fn check_orphans(store: &Store, hosted: &[Arc<dyn Hosted>]) -> Result<(), StartError> {
    let known = store.services();
    let heir = |stored: &str| {
        hosted
            .iter()
            .find(|service| service.declaration().name == stored)
            .or_else(|| {
                let former = |service: &&Arc<dyn Hosted>| {
                    let declaration = service.declaration();
                    // Under its present name it has data of its own.
                    !known.iter().any(|(_, name, _)| name == declaration.name)
                        && declaration.formerly.contains(&stored)
                };
                hosted.iter().find(former)
            })
            .map(Arc::as_ref)
    };
    let mut orphans = Orphans::new();
    for (id, name, _) in &known {
        let heir = heir(name);
        for (table, own) in store.tables(*id) {
            if own == TIMERS || own == PLANS {
                for_each_row::<StartError>(store, table, |_, bytes| {
                    note_orphan(name, heir, &bytes, &mut orphans)
                })?;
            } else if own == PARKED {
                for_each_row::<StartError>(store, table, |key, value| {
                    let row =
                        parked::open_parked(&key, &value).map_err(|error| damaged(name, &error))?;
                    if row.why == Why::Held {
                        return Ok(());
                    }
                    note_orphan(name, heir, &Bytes::from(row.envelope), &mut orphans)
                })?;
            }
        }
        for stream in store.incoming(*id) {
            let mut after = store.mark(stream).consumed;
            // What waits on disk may be gigabytes; its names stand at the end of its files.
            let spilled = store.spilled_names(stream)?;
            loop {
                let told = spilled.as_ref().filter(|told| told.last > after);
                if let Some(told) = told.filter(|told| told.first.0 <= after.0 + 1) {
                    for named in &told.names {
                        let message = std::str::from_utf8(&named.name).unwrap_or("?");
                        note_unhandled(name, heir, named.kind, message, &mut orphans);
                    }
                    after = told.last;
                }
                let before = told.map_or(u64::MAX, |told| told.first.0 - 1);
                let entries = before.saturating_sub(after.0).clamp(1, 256) as usize;
                let run = store.outbox(stream, after, entries, 4 * 1024 * 1024)?;
                let Some((last, _)) = run.last() else { break };
                after = *last;
                for (_, bytes) in &run {
                    note_orphan(name, heir, bytes, &mut orphans)?;
                }
            }
        }
    }
    match orphans.into_iter().next() {
        Some((service, message)) => Err(StartError::Orphaned { service, message }),
        None => Ok(()),
    }
}

/// Services and the messages of theirs that nobody would handle.
type Orphans = BTreeSet<(String, String)>;

/// Notes a stored message of a service if its heir, the service that now answers to the name, would
/// not handle it.
fn note_orphan(
    service: &str,
    heir: Option<&dyn Hosted>,
    bytes: &Bytes,
    orphans: &mut Orphans,
) -> Result<(), StartError> {
    let envelope = Envelope::decode(bytes).map_err(|error| damaged(service, &error))?;
    note_unhandled(service, heir, envelope.kind, envelope.name(), orphans);
    Ok(())
}

/// The same for a message of which only kind and name are known.
fn note_unhandled(
    service: &str,
    heir: Option<&dyn Hosted>,
    kind: Kind,
    name: &str,
    orphans: &mut Orphans,
) {
    let handled = heir.is_some_and(|heir| {
        let known = match kind {
            Kind::Activity => heir.activity_policy(name).is_some(),
            Kind::Event | Kind::Command | Kind::Reply | Kind::Timer => {
                heir.current_name(kind, name).is_some()
            }
        };
        known || heir.declaration().retired.contains(&name)
    });
    if !handled {
        orphans.insert((service.to_owned(), name.to_owned()));
    }
}

fn damaged(service: &str, error: &dyn std::fmt::Display) -> StartError {
    StartError::Store(StoreError::Damaged {
        what: format!("a stored message of {service}"),
        detail: error.to_string(),
    })
}

/// Counts the dead letters kept from earlier.
pub(crate) fn count_dead_letters(cell: &Cell) -> Result<(), StartError> {
    for member in &cell.members {
        let mut dead = 0;
        for_each_row::<StartError>(&cell.store, member.own.dead, |_, _| {
            dead += 1;
            Ok(())
        })?;
        member
            .status
            .dead_letters
            .store(dead, std::sync::atomic::Ordering::Relaxed);
    }
    Ok(())
}

/// What a process that ended uncleanly had in hand gets one more attempt counted. What cannot be
/// found was only speculative, or came from outside: its stream or edge runs suspect.
pub(crate) fn charge_interrupted(
    cell: &Cell,
    interrupted: &[Interrupted],
) -> Result<(), StartError> {
    for case in interrupted {
        let Some(member) = cell.member(case.service) else {
            continue;
        };
        match find(cell, member, case.what)? {
            Found::Arrived(arrived) => {
                tracing::warn!(
                    service = member.name(),
                    message = arrived.envelope.name(),
                    attempt = arrived.attempt(),
                    "the process ended while this message was in hand; an attempt is counted"
                );
                charge(
                    cell,
                    member,
                    &arrived,
                    "the process ended while it was in hand".to_owned(),
                )
                .map_err(|stop| StartError::Recovery {
                    detail: stop.to_string(),
                })?;
            }
            Found::Suspect => {
                let mut suspects = member
                    .suspects
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                suspects.since = cell.store.queued();
                match case.what {
                    InHand::Message { sender, .. } => suspects.senders.push(sender),
                    InHand::Timer { .. } => suspects.timers = true,
                    InHand::Command { .. } | InHand::Activity { .. } => suspects.edge = true,
                }
                tracing::warn!(service = member.name(), what = ?case.what, "what was in hand is not found; its way in runs suspect");
            }
            Found::Activity(id) => {
                let key = Origin::Activity(id).to_bytes();
                let before = Reads::get(&cell.store, member.own.charges, &key)?;
                let attempts = before
                    .and_then(|bytes| u32::from_bytes(&bytes))
                    .unwrap_or(0)
                    + 1;
                let commit = crate::commit::Commit {
                    service: member.id(),
                    at: cell.now(),
                    seed: 0,
                    cause: crate::commit::Cause::System {
                        note: "an activity's end took the process down".to_owned(),
                    },
                    mark: None,
                    writes: vec![crate::commit::Write {
                        table: member.own.charges,
                        key,
                        value: Some(attempts.to_bytes()),
                    }],
                    sends: Vec::new(),
                };
                let epoch = cell.store.take_over(member.id());
                cell.store.queue(epoch, commit, Vec::new())?;
            }
            Found::Done => {}
        }
    }
    Ok(())
}

enum Found {
    Arrived(Box<Arrived>),
    Activity(uuid::Uuid),
    Suspect,
    Done,
}

fn find(cell: &Cell, member: &Member, what: InHand) -> Result<Found, StartError> {
    match what {
        InHand::Message { sender, sequence } => find_message(cell, member, sender, sequence),
        InHand::Timer { hash } => {
            let mut found = None;
            for_each_row::<StartError>(&cell.store, member.own.timers, |key, value| {
                let timer = TimerId::from_key(&key).filter(|timer| low_half(timer.id) == hash);
                if let Some(timer) = timer {
                    found = Some((timer, value));
                }
                Ok(())
            })?;
            if let Some((timer, bytes)) = found {
                let envelope =
                    Envelope::decode(&bytes).map_err(|error| damaged(member.name(), &error))?;
                return Ok(Found::Arrived(Box::new(Arrived {
                    envelope,
                    bytes,
                    from: From::Timer(timer),
                })));
            }
            let parked = find_parked(
                cell,
                member,
                |origin| matches!(origin, Origin::Timer(timer) if low_half(timer.id) == hash),
            )?;
            Ok(match parked {
                // The turn that had set it was lost: it will be set again, under another id.
                Found::Done => Found::Suspect,
                found => found,
            })
        }
        InHand::Activity { hash } => {
            let mut found = None;
            for_each_row::<StartError>(&cell.store, member.own.plans, |key, _| {
                found = found
                    .or(<uuid::Uuid as TableKey>::from_bytes(&key)
                        .filter(|id| low_half(*id) == hash));
                Ok(())
            })?;
            if let Some(id) = found {
                return Ok(Found::Activity(id));
            }
            find_parked(
                cell,
                member,
                |origin| matches!(origin, Origin::Activity(id) if low_half(*id) == hash),
            )
        }
        InHand::Command { .. } => Ok(Found::Suspect),
    }
}

fn find_message(
    cell: &Cell,
    member: &Member,
    sender: ServiceId,
    sequence: Sequence,
) -> Result<Found, StartError> {
    let stream = StreamId {
        sender,
        receiver: member.id(),
    };
    let mark = cell.store.mark(stream);
    if sequence.0 <= mark.consumed.0 {
        return find_parked(cell, member, |origin| {
            *origin == Origin::Message { sender, sequence }
        });
    }
    if sequence.0 == mark.consumed.0 + 1
        && let Some((found, bytes)) = cell
            .store
            .outbox(stream, mark.consumed, 1, usize::MAX)?
            .into_iter()
            .next()
        && found == sequence
    {
        let envelope = Envelope::decode(&bytes).map_err(|error| damaged(member.name(), &error))?;
        return Ok(Found::Arrived(Box::new(Arrived {
            envelope,
            bytes,
            from: From::Stream { sender, sequence },
        })));
    }
    Ok(Found::Suspect)
}

fn find_parked(
    cell: &Cell,
    member: &Member,
    is_it: impl Fn(&Origin) -> bool,
) -> Result<Found, StartError> {
    let mut found = None;
    for_each_row::<StartError>(&cell.store, member.own.parked, |key, _| {
        found = found.or(Origin::from_bytes(&key).filter(|origin| is_it(origin)));
        Ok(())
    })?;
    let Some(origin) = found else {
        return Ok(Found::Done);
    };
    let row =
        read_parked(cell, member.own.parked, &origin).map_err(|error| StartError::Recovery {
            detail: error.to_string(),
        })?;
    let Some(row) = row.filter(|row| row.why != Why::Held) else {
        return Ok(Found::Done);
    };
    let bytes = Bytes::from(row.envelope.clone());
    let envelope = Envelope::decode(&bytes).map_err(|error| damaged(member.name(), &error))?;
    Ok(Found::Arrived(Box::new(Arrived {
        envelope,
        bytes,
        from: From::Parked { origin, row },
    })))
}
