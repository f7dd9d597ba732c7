//! The real stack in two forms: in virtual time on a simulated disk, which may lose power anywhere,
//! and on sled in a directory, which is restarted or left to itself and opened again.

use std::time::Duration;

use redeliver::clock::{Clock, SystemClock};
use redeliver::prelude::*;
use redeliver::testing::{TestSystem, TransportFaults};
use redeliver::{Config, OpenError, StartError, System, SystemBuilder};
use tempfile::TempDir;

use crate::common::small;
use crate::services::{Ledger, Shelves};

pub trait Stack {
    fn system(&self) -> &System;
    /// Microseconds since 1970, as the system sees them.
    fn now(&self) -> i64;
    /// Lets what is under way come to its end.
    async fn settle(&mut self);
    /// Lets time pass, where it can be passed.
    async fn advance(&mut self, time: Duration);
    /// Shuts down in good order and opens again.
    async fn restart(&mut self);
    /// The process is gone without a word, and opened again.
    async fn kill(&mut self);
    /// So is what was not synced.
    async fn lose_power(&mut self);
    /// Loses power at this operation of the disk from now, where that can be done.
    fn lose_power_at(&mut self, operation: u64);
    /// How bad the way between the services is: 0 is not bad at all.
    fn disturb(&mut self, how: u8);
    async fn end(self);
}

fn services(system: SystemBuilder) -> SystemBuilder {
    // So small that a few operations checkpoint, begin a segment and spill.
    let config = Config {
        journal_segment_bytes: 64 * 1024,
        checkpoint_after_bytes: 2 * 1024,
        outbox_memory_bytes_max: 512,
        ..small()
    };
    system.config(config).service(Shelves).service(Ledger)
}

pub struct Simulated(TestSystem);

impl Simulated {
    pub async fn start(seed: u64) -> Simulated {
        Simulated(TestSystem::start(seed, services).await.unwrap())
    }

    /// Opens what has survived. A power loss that was asked for may come only now; it comes once.
    async fn open(&mut self) {
        let opened = self.0.reopen().await;
        self.0.disk().clear_faults();
        if opened.is_err() || self.0.disk().is_down() {
            self.0.crash();
            self.0.reopen().await.unwrap();
        }
    }
}

impl Stack for Simulated {
    fn system(&self) -> &System {
        self.0.system()
    }

    fn now(&self) -> i64 {
        self.0.clock().wall().0
    }

    async fn settle(&mut self) {
        // So that whatever is due now has its turn.
        self.0.advance(Duration::from_millis(2)).await;
        self.0.quiet().await;
    }

    async fn advance(&mut self, time: Duration) {
        self.0.advance(time).await;
    }

    async fn restart(&mut self) {
        self.open().await;
    }

    async fn kill(&mut self) {
        self.0.kill();
        self.open().await;
    }

    async fn lose_power(&mut self) {
        self.0.crash();
        self.open().await;
    }

    fn lose_power_at(&mut self, operation: u64) {
        self.0.crash_at(operation);
    }

    fn disturb(&mut self, how: u8) {
        let part = f64::from(how) / 10.0;
        self.0.transport_with(TransportFaults {
            loss: part,
            duplication: part,
            delay_max: Duration::from_millis(u64::from(how) * 20),
        });
    }

    async fn end(self) {}
}

pub struct Real {
    dir: TempDir,
    system: Option<System>,
}

impl Real {
    pub async fn start() -> Real {
        let dir = tempfile::tempdir().unwrap();
        let mut real = Real { dir, system: None };
        real.open().await;
        real
    }

    async fn open(&mut self) {
        self.system = None;
        loop {
            match services(System::open(self.dir.path())).start().await {
                Ok(system) => {
                    self.system = Some(system);
                    return;
                }
                // A system that was dropped ends in its own time.
                Err(StartError::Open(OpenError::InUse { .. })) => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Stack for Real {
    fn system(&self) -> &System {
        self.system.as_ref().unwrap()
    }

    fn now(&self) -> i64 {
        SystemClock.wall().0
    }

    async fn settle(&mut self) {
        let is_settled = |system: &System| {
            let report = system.report();
            report.streams.iter().all(|stream| stream.waiting == 0)
        };
        while !is_settled(self.system()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Real time passes by itself.
    async fn advance(&mut self, _: Duration) {}

    async fn restart(&mut self) {
        self.system().shutdown(seconds(20)).await.unwrap();
        self.open().await;
    }

    /// What was in memory is gone; files keep what was written.
    async fn kill(&mut self) {
        self.open().await;
    }

    async fn lose_power(&mut self) {
        self.open().await;
    }

    fn lose_power_at(&mut self, _: u64) {}

    fn disturb(&mut self, _: u8) {}

    async fn end(self) {
        if let Some(system) = &self.system {
            system.shutdown(seconds(20)).await.unwrap();
        }
    }
}
