//! The ceiling: the store's journal without actors, handlers or messages before it.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redeliver::StoreError;
use redeliver::clock::{Clock, SystemClock};
use redeliver::commit::{Cause, Commit, Epoch, Output, ServiceId, TableId, Write};
use redeliver::persistence::options::{Driving, StoreOptions};
use redeliver::persistence::real_disk::RealDisk;
use redeliver::persistence::sled::SledFactory;
use redeliver::persistence::store::Store;

/// What a record has beside the value that we put into it.
const RECORD_OVERHEAD_BYTES: usize = 72;
const KEYS: u32 = 1_000;

/// What one operation leaves in the journal.
#[derive(Debug, Clone, Copy)]
pub struct Footprint {
    /// Commits of an operation.
    pub commits: usize,
    /// Bytes of a commit's record.
    pub bytes: usize,
}

/// A store and the one service that writes to it.
pub struct BareJournal {
    store: Store,
    service: ServiceId,
    epoch: Epoch,
    table: TableId,
}

impl BareJournal {
    /// Opens a store in a data directory of its own.
    pub fn open(dir: &Path) -> Result<BareJournal, Box<dyn Error + Send + Sync>> {
        let options = StoreOptions::new(dir);
        let engines = Arc::new(SledFactory {
            dir: options.cell_dir().join("sled"),
            cache_bytes: options.cache_bytes,
        });
        let disk = Arc::new(RealDisk::default());
        let clock = Arc::new(SystemClock);
        let (store, _) = Store::open(options, disk, engines, clock, Driving::Threads)?;
        let service = store.service("ceiling", 0, &[])?;
        let table = store.table(service, "rows", &[])?;
        let epoch = store.take_over(service);
        Ok(BareJournal {
            store,
            service,
            epoch,
            table,
        })
    }

    /// Does `ops` operations, always `outstanding` at a time, and waits for each to be durable;
    /// how long that took.
    pub fn run(
        &self,
        ops: u64,
        outstanding: usize,
        footprint: Footprint,
    ) -> Result<Duration, StoreError> {
        let value = vec![7; footprint.bytes.saturating_sub(RECORD_OVERHEAD_BYTES)];
        let value = Bytes::from(value);
        let (done, durable) = mpsc::channel();
        let began = Instant::now();
        let (mut begun, mut ended) = (0, 0);
        while ended < ops {
            while begun < ops && begun - ended < outstanding as u64 {
                self.queue(begun, footprint.commits, &value, &done)?;
                begun += 1;
            }
            // The sender lives in this function, so the channel cannot be closed.
            if let Ok(outcome) = durable.recv() {
                outcome?;
                ended += 1;
            }
            for outcome in durable.try_iter() {
                outcome?;
                ended += 1;
            }
        }
        Ok(began.elapsed())
    }

    fn queue(
        &self,
        op: u64,
        commits: usize,
        value: &Bytes,
        done: &mpsc::Sender<Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        for nth in 1..=commits {
            let row = (op % u64::from(KEYS)) as u32;
            let commit = Commit {
                service: self.service,
                at: SystemClock.wall(),
                seed: op,
                cause: Cause::System {
                    note: String::new(),
                },
                mark: None,
                writes: vec![Write {
                    table: self.table,
                    key: Bytes::copy_from_slice(&row.to_be_bytes()),
                    value: Some(value.clone()),
                }],
                sends: Vec::new(),
            };
            let mut outputs: Vec<Output> = Vec::new();
            if nth == commits {
                let done = done.clone();
                outputs.push(Box::new(move |outcome| {
                    // Nobody listens any more once another operation has failed.
                    let _ = done.send(outcome.map(|_| ()));
                }));
            }
            self.store.queue(self.epoch, commit, outputs)?;
        }
        Ok(())
    }

    /// Bytes of a commit's record, on the average of all so far.
    pub fn record_bytes(&self) -> u64 {
        let usage = self.store.usage();
        usage.journal_bytes / usage.queued.0.max(1)
    }

    /// Closes the store in good order.
    pub fn close(self) -> Result<(), StoreError> {
        self.store.close()
    }
}
