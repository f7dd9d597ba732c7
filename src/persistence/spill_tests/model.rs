//! Random turns, checkpoints, snapshots, faults and deaths, against a model of every position.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;

/// Who sends to whom, by the names of services.
const STREAMS: [(&str, &str); 3] = [("a", "b"), ("a", "c"), ("b", "c")];

/// Per stream what was sent and consumed.
type Counts = [(u64, u64); STREAMS.len()];

/// What every position stands for.
#[derive(Default)]
struct Model {
    counts: Counts,
    history: BTreeMap<Position, Counts>,
    durable: Position,
}

struct Run {
    random: fastrand::Rng,
    office: Office,
    model: Arc<Mutex<Model>>,
}

fn content(stream: usize, number: u64) -> Bytes {
    let length = 20 + (number * 37 + stream as u64 * 11) % 250;
    let mut bytes = (number * 4 + stream as u64).to_le_bytes().to_vec();
    bytes.resize(usize::try_from(length).unwrap(), number as u8);
    bytes.into()
}

fn ids(store: &Store) -> [StreamId; STREAMS.len()] {
    let service = |name| store.service(name, 0, &[]).unwrap();
    STREAMS.map(|(sender, receiver)| StreamId {
        sender: service(sender),
        receiver: service(receiver),
    })
}

/// A turn that takes some messages of a stream and sends some on another.
fn turn(store: &Store, model: &Mutex<Model>, random: &mut fastrand::Rng) {
    let ids = ids(store);
    let service = ids[random.usize(..ids.len())];
    let service = if random.bool() {
        service.sender
    } else {
        service.receiver
    };
    let mut model = model.lock().unwrap();
    let mut counts = model.counts;
    let mut mark = None;
    let incoming: Vec<usize> = (0..ids.len())
        .filter(|nth| ids[*nth].receiver == service)
        .collect();
    if !incoming.is_empty() && random.u8(..3) == 0 {
        let nth = incoming[random.usize(..incoming.len())];
        let (sent, consumed) = counts[nth];
        let most = if random.u8(..4) == 0 {
            sent
        } else {
            sent.min(consumed + 12)
        };
        let upto = random.u64(consumed..=most);
        counts[nth].1 = upto;
        mark = Some(MarkMove {
            sender: ids[nth].sender,
            mark: Mark {
                consumed: Sequence(upto),
                applied: upto,
                ..Mark::default()
            },
        });
    }
    let mut sends = Vec::new();
    for nth in (0..ids.len()).filter(|nth| ids[*nth].sender == service) {
        for _ in 0..random.usize(..8) {
            counts[nth].0 += 1;
            sends.push(Send {
                envelope: content(nth, counts[nth].0),
                to: vec![ids[nth].receiver],
                event: random.u8(..10) == 0,
            });
        }
    }
    let commit = commit(service, mark, sends);
    let epoch = store.take_over(service);
    if let Ok(queued) = store.queue(epoch, commit, Vec::new()) {
        model.counts = counts;
        model.history.insert(queued.position, counts);
    }
    model.durable = model.durable.max(store.durable());
}

/// Reads every outbox and compares it with the model.
fn check(store: &Store, model: &Mutex<Model>, random: &mut fastrand::Rng, what: &str) {
    let counts = model.lock().unwrap().counts;
    let states = store.streams();
    for (nth, stream) in ids(store).into_iter().enumerate() {
        let (sent, consumed) = counts[nth];
        assert_eq!(store.sent(stream).0, sent, "{what}");
        assert_eq!(store.mark(stream).consumed.0, consumed, "{what}");
        let mut after = consumed;
        let entries = random.usize(1..60);
        loop {
            let run = store
                .outbox(stream, Sequence(after), entries, 4_000)
                .unwrap();
            if run.is_empty() {
                break;
            }
            for (sequence, envelope) in run {
                after += 1;
                assert_eq!(
                    (sequence.0, envelope),
                    (after, content(nth, after)),
                    "{what}"
                );
            }
        }
        assert_eq!(after, sent, "{what}: {stream:?}");
        if let Some(state) = states.iter().find(|state| state.id == stream) {
            assert_eq!(state.backlog_entries, sent - consumed, "{what}");
        }
    }
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut office = Office::new(seed);
        office.options.outbox_memory_bytes = random.choice([0, 1_000, 10_000]).unwrap();
        office.options.spill_file_bytes = random.choice([1, 700, 5_000]).unwrap();
        office.options.segment_bytes = 16 << 10;
        office.options.first_segment_bytes = 4 << 10;
        let mut run = Run {
            random,
            office: office.opened(),
            model: Arc::default(),
        };
        run.begin();
        run
    }

    /// What an opening has found counts from now on.
    fn begin(&mut self) {
        let store = self.office.store();
        let mut model = self.model.lock().unwrap();
        let (durable, found) = (model.durable, store.queued());
        assert!(
            found >= durable,
            "{durable:?} was durable, {found:?} is there"
        );
        let last = model.history.range(..=found).next_back();
        model.counts = last.map_or(Counts::default(), |(_, counts)| *counts);
        model.history.retain(|position, _| *position <= found);
        drop(model);
        store.service("c", 0, &[]).unwrap();
        check(self.office.store(), &self.model, &mut self.random, "opened");
    }

    fn step(&mut self) {
        if self.random.u8(..6) == 0 {
            let at = self.office.disk.operations() + self.random.u64(1..40);
            let fault = [Fault::Crash, Fault::Eio, Fault::Enospc, Fault::FailedSync];
            self.office
                .disk
                .fail_at(at, self.random.choice(fault).unwrap());
        }
        if self.random.u8(..12) == 0 {
            let more = self.random.u64(..20_000);
            self.office
                .disk
                .set_capacity(Some(self.office.disk.used() + more));
        } else if self.random.bool() {
            self.office.disk.set_capacity(None);
        }
        // Turns also in the midst of what follows.
        let (store, model) = (self.office.store().clone(), self.model.clone());
        let mut random = self.random.fork();
        let odds = random.u8(1..40);
        self.office.watch.set(move |_, _| {
            if random.u8(..odds) == 0 && store.usage().state == CellState::Open {
                turn(&store, &model, &mut random);
            }
            Ok(())
        });
        let store = self.office.store().clone();
        match self.random.u8(..12) {
            0..=5 => {
                for _ in 0..self.random.u8(..20) {
                    turn(&store, &self.model, &mut self.random);
                }
            }
            6 => drop(store.write_group()),
            7 | 8 => drop(store.checkpoint_now()),
            9 => drop(store.snapshot_now()),
            10 => drop(store.maintain()),
            _ => {
                if self.random.u8(..4) == 0 && store.close().is_ok() {
                    self.reopen(false);
                    return;
                }
            }
        }
        {
            let mut model = self.model.lock().unwrap();
            model.durable = model.durable.max(store.durable());
        }
        self.office.watch.clear();
        let is_open = store.usage().state == CellState::Open && !self.office.disk.is_down();
        match is_open {
            true if self.random.u8(..4) == 0 => {
                check(&store, &self.model, &mut self.random, "running");
            }
            true if self.random.u8(..15) > 0 => {}
            _ => self.reopen(true),
        }
    }

    fn reopen(&mut self, dies: bool) {
        {
            let mut model = self.model.lock().unwrap();
            model.durable = model.durable.max(self.office.store().durable());
        }
        self.office.watch.clear();
        if dies {
            match self.office.disk.is_down() || self.random.bool() {
                true => self.office.crash(),
                false => self.office.kill(),
            }
            if self.random.u8(..5) == 0 {
                self.office.engine.destroy();
            }
        }
        self.office.disk.clear_faults();
        self.office.disk.set_capacity(None);
        // It may die again on the way.
        if self.random.u8(..4) == 0 {
            let at = self.office.disk.operations() + self.random.u64(1..30);
            self.office.disk.fail_at(at, Fault::Crash);
            let _ = self.office.open();
            self.office.crash();
            self.office.disk.clear_faults();
        }
        self.office.open().unwrap();
        self.begin();
    }
}

#[test]
fn whatever_happens_every_outbox_has_what_its_position_says() {
    for seed in 0..80 {
        let mut run = Run::new(seed);
        for _ in 0..60 {
            run.step();
        }
        run.office.watch.clear();
        run.reopen(true);
    }
}
