//! One run of the host by a seed: clients that try again, a network that loses, handlers that
//! panic, a disk that fails, a clock that jumps, lives that end at any moment; then healing, and the checks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redeliver::prelude::*;
use redeliver::testing::{Corruption, Fault, PlantedBug, TestSystem, TransportFaults};
use redeliver::{CallError, IdempotencyKey, SystemReport};

use crate::check::{Violation, check_end, violated};
use crate::host::{Account, Copies, Desk, Stock, Take, Tokens, host, is_refused};

/// What clients have been told.
#[derive(Debug, Default)]
pub struct Told {
    /// Orders that were accepted, with the token of their answer.
    pub accepted: BTreeMap<u64, u64>,
    pub refused: BTreeSet<u64>,
    /// Tokens that queries have shown.
    pub seen: BTreeMap<u64, u64>,
    /// Orders asked for, with their customer.
    pub asked: BTreeMap<u64, u64>,
}

impl Told {
    fn pending(&self) -> Vec<u64> {
        let told =
            |order: &&u64| !self.accepted.contains_key(order) && !self.refused.contains(order);
        self.asked.keys().filter(told).copied().collect()
    }

    fn answered(&mut self, order: u64, answer: Result<u64, CallError>) -> Result<(), Violation> {
        match answer {
            Ok(token) => match self.accepted.insert(order, token) {
                Some(before) if before != token => violated(
                    "same key, same answer",
                    format!("order {order} was answered {before}, then {token}"),
                ),
                _ => Ok(()),
            },
            Err(CallError::Rejected(no) | CallError::RejectedBefore(no)) => {
                self.refused.insert(order);
                match is_refused(order) {
                    true => Ok(()),
                    false => violated("answers", format!("order {order} was refused: {no}")),
                }
            }
            Err(CallError::Malformed(why)) => violated("answers", why),
            // It is asked for again.
            Err(_) => Ok(()),
        }
    }

    /// What was answered or shown must be there, also after a crash.
    fn shown(&mut self, tokens: &[(u64, u64)]) -> Result<(), Violation> {
        let rows: BTreeMap<u64, u64> = tokens.iter().copied().collect();
        for (order, token) in self.accepted.iter().chain(&self.seen) {
            if rows.get(order) != Some(token) {
                let now = rows.get(order);
                return violated(
                    "what was told stays",
                    format!("order {order} had token {token}, now {now:?}"),
                );
            }
        }
        self.seen.extend(tokens.iter().copied());
        Ok(())
    }
}

/// The system under test, and what goes wrong by the seed.
pub struct Run {
    pub test: TestSystem,
    random: fastrand::Rng,
    pub told: Told,
    pub account: Account,
    next_order: u64,
    /// By how many microseconds the wall clock is wrong, and the most it ever was ahead.
    ahead: i64,
    ahead_max: i64,
}

/// How far the wall clock jumps.
const DAY_MICROS: i64 = 86_400_000_000;

/// Runs the host by a seed, with a mistake planted or without. The error is what a checker says.
pub async fn run(seed: u64, bug: Option<PlantedBug>) -> Result<(), Violation> {
    let account = Account::default();
    let mut test = TestSystem::prepare(seed, host(&account));
    test.snapshot_after(8 * 1024);
    if let Some(bug) = bug {
        test.plant(bug);
    }
    let mut run = Run {
        test,
        random: fastrand::Rng::with_seed(seed ^ 0x5eed),
        told: Told::default(),
        account,
        next_order: 1,
        ahead: 0,
        ahead_max: 0,
    };
    run.open().await?;
    for _ in 0..run.random.u32(3..=5) {
        run.live().await?;
        run.die();
        run.open().await?;
        run.look().await?;
    }
    run.heal().await?;
    check_end(&run).await
}

impl Run {
    /// Opens until it works. Only what was planned as a fault may keep it from that.
    async fn open(&mut self) -> Result<(), Violation> {
        for _ in 0..4 {
            let faulty = self.test.disk().has_faults();
            match self.test.reopen().await {
                Ok(()) => return Ok(()),
                Err(_) if faulty || self.test.disk().is_down() => self.test.disk().clear_faults(),
                Err(error) => return violated("it opens", error.to_string()),
            }
        }
        violated("it opens", "four openings failed".to_owned())
    }

    /// One life: faults, orders, queries.
    async fn live(&mut self) -> Result<(), Violation> {
        let random = &mut self.random;
        let mut some = |max: f64| match random.bool() {
            true => max * random.f64(),
            false => 0.0,
        };
        self.test.transport_with(TransportFaults {
            loss: some(0.2),
            duplication: some(0.2),
            delay_max: Duration::from_secs_f64(some(0.02)),
        });
        self.test.panic_with(some(0.1));
        let slow = Duration::from_secs_f64(some(0.004));
        self.test.disk().slow_down(slow);
        if self.random.u8(..4) > 0 {
            let fault = match self.random.u8(..8) {
                0 => Fault::Eio,
                1 => Fault::Enospc,
                2 => Fault::FailedSync,
                _ => Fault::Crash,
            };
            let at = self.test.disk().operations() + self.random.u64(1..=60);
            self.test.disk().fail_at(at, fault);
        }
        match self.random.u8(..8) {
            0 => self.jump(DAY_MICROS),
            1 => self.jump(-DAY_MICROS),
            _ => {}
        }
        let mut orders = self.told.pending();
        let known: Vec<u64> = self.told.accepted.keys().copied().collect();
        orders.extend(self.random.choice(known));
        for _ in 0..self.random.u64(5..=10) {
            orders.push(self.next_order);
            self.next_order += 1;
        }
        self.ask(orders).await
    }

    /// The wall clock is put wrong, or right.
    fn jump(&mut self, micros: i64) {
        self.test.clock().jump(micros);
        self.ahead += micros;
        self.ahead_max = self.ahead_max.max(self.ahead);
    }

    /// Asks for these orders at about the same time, and meanwhile looks at them.
    async fn ask(&mut self, orders: Vec<u64>) -> Result<(), Violation> {
        let (mut calls, mut looks) = (Vec::new(), Vec::new());
        for order in orders {
            let customer = *self.told.asked.entry(order).or_insert(order % 2);
            let desk = self.test.system().service::<Desk>();
            let call = desk.command(Take { order, customer });
            let key = IdempotencyKey::new("client", order.to_string(), b"take");
            calls.push((order, tokio::spawn(call.idempotency(Some(key)).send())));
            if self.random.bool() {
                looks.push(tokio::spawn(
                    async move { desk.query(Tokens { salt: 0 }).await },
                ));
            }
            let pause = Duration::from_micros(self.random.u64(..20_000));
            self.test.advance(pause).await;
        }
        self.test
            .advance(Duration::from_millis(self.random.u64(..400)))
            .await;
        if self.test.disk().is_down() {
            // Those who wait are told that the process has gone.
            self.test.crash();
        }
        for (order, call) in calls {
            if call.is_finished() {
                let answer = call.await.map_err(|error| Violation {
                    checker: "answers",
                    detail: error.to_string(),
                })?;
                self.told
                    .answered(order, answer.map(|answer| answer.reply))?;
            } else {
                call.abort();
            }
        }
        for look in looks {
            if look.is_finished()
                && let Ok(Ok(tokens)) = look.await
            {
                self.told.seen.extend(tokens);
            }
        }
        Ok(())
    }

    /// The end of a life.
    fn die(&mut self) {
        match self.random.u8(..4) {
            0 => self.test.kill(),
            1 | 2 => self.test.crash(),
            _ if self.test.disk().is_down() => {}
            // Goes on until the next opening shuts it down in good order.
            _ => return,
        }
        if self.random.u8(..4) == 0 {
            let how = match self.random.bool() {
                true => Corruption::OpensEmpty,
                false => Corruption::RefusesToOpen,
            };
            self.test.engine().corrupt(how);
        }
    }

    /// Looks at the state right after an opening, before anybody asks again.
    async fn look(&mut self) -> Result<(), Violation> {
        match self
            .test
            .system()
            .service::<Desk>()
            .query(Tokens { salt: 1 })
            .await
        {
            Ok(tokens) => self.told.shown(&tokens),
            // A fault that was still to come has come.
            Err(_) => Ok(()),
        }
    }

    /// No more faults: every client gets its answer, the system comes to rest, and stays as it is
    /// through two more openings.
    async fn heal(&mut self) -> Result<(), Violation> {
        self.test.disk().clear_faults();
        self.test.disk().slow_down(Duration::ZERO);
        self.test.transport_with(TransportFaults::default());
        self.test.panic_with(0.0);
        if self.test.disk().is_down() {
            self.test.crash();
        }
        // Time stands still as long as the clock is behind where it was.
        self.jump(self.ahead_max - self.ahead);
        self.open().await?;
        self.look().await?;
        let news = self.next_order..self.next_order + 10;
        self.next_order = news.end;
        let mut orders = self.told.pending();
        orders.extend(news);
        self.ask(orders).await?;
        for _ in 0..3 {
            let pending = self.told.pending();
            self.ask(pending).await?;
            self.test.advance(seconds(1)).await;
        }
        if let Some(order) = self.told.pending().first() {
            return violated("answers", format!("order {order} gets none"));
        }
        self.rest().await?;
        // The deadlines.
        self.test.advance(seconds(20)).await;
        self.rest().await?;
        self.open().await?;
        self.look().await?;
        self.test.advance(seconds(2)).await;
        self.rest().await?;
        self.test.crash();
        self.open().await?;
        self.look().await?;
        self.test.advance(seconds(2)).await;
        self.rest().await
    }

    /// Waits until nothing is left to do.
    async fn rest(&self) -> Result<(), Violation> {
        for _ in 0..120 {
            self.test.advance(seconds(1)).await;
            if unrest(&self.test.system().report()).is_none() {
                return Ok(());
            }
        }
        let why = unrest(&self.test.system().report()).unwrap_or_default();
        violated("it comes to rest", why)
    }

    /// How often each service has heard of each order.
    pub async fn copies(&self) -> Result<[Vec<(u64, u32)>; 2], CallError> {
        let system = self.test.system();
        let stock = system.service::<Stock>().query(Copies { salt: 0 }).await?;
        let carrier = system.service::<crate::host::Carrier>();
        Ok([stock, carrier.query(Copies { salt: 0 }).await?])
    }
}

/// What keeps a system from resting.
fn unrest(report: &SystemReport) -> Option<String> {
    for stream in &report.streams {
        if stream.waiting > 0 || stream.parked > 0 {
            let state = |service: &redeliver::ServiceReport| {
                format!("{} {} {:?}", service.name, service.state, service.reason)
            };
            let states: Vec<String> = report.services.iter().map(state).collect();
            return Some(format!("{stream:?} {states:?}"));
        }
    }
    let busy = |service: &&redeliver::ServiceReport| {
        service.state != "running" || service.activities > 0 || service.parked > 0
    };
    let service = report.services.iter().find(busy)?;
    Some(format!("{service:?}"))
}
