//! Streams: every message taken once and in order, whatever the transport does; bounded queues;
//! fairness; replies.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Log, service, small, stream};
use redeliver::prelude::*;
use redeliver::testing::{TestSystem, TransportFaults};
use redeliver::{CallError, Config, SystemBuilder};

messages! {
    Ask = "ask" { n: u64 }
    Tell = "tell" { n: u64 }
    Check = "check" { n: u64 }
    Checked = "checked" { n: u64 }
    Echo = "echo" { n: u64 }
    Outside = "outside" { n: u64 }
    Blob = "blob" { bytes: Vec<u8> }
    Many = "many" { n: u64 }
}
impl Command for Ask {
    type Reply = ();
}
impl Command for Tell {
    type Reply = ();
}
impl Command for Check {
    type Reply = u64;
}
impl Event for Checked {}
impl Event for Echo {}
impl Event for Blob {}
impl Command for Outside {
    type Reply = ();
}
impl Command for Many {
    type Reply = ();
}

/// Asks the clerk to check numbers, and hears itself.
struct Desk(Log);
/// Checks numbers: odd ones are refused. Broken while `broken` is set.
struct Clerk {
    log: Log,
    poison: Arc<Mutex<BTreeSet<u64>>>,
}
/// Hears what was checked, in the background.
struct Archive(Log);

impl Service for Desk {
    const NAME: &'static str = "desk";
    fn handlers(on: &mut Handlers<Self>) {
        on.command(Self::ask)
            .command(Self::many)
            .command(Self::tell)
            .event(Self::echo)
            .reply::<Check>(Self::checked)
            .sends::<Clerk, Check>()
            .publishes::<Echo>();
    }
}

impl Desk {
    fn ask(&self, ask: Ask, cx: &mut Context<Self>) -> Result<(), Rejection> {
        cx.send::<Clerk, _>(Check { n: ask.n });
        Ok(())
    }
    fn many(&self, many: Many, cx: &mut Context<Self>) -> Result<(), Rejection> {
        for n in 1..=many.n {
            cx.send::<Clerk, _>(Check { n: 2 * n });
        }
        Ok(())
    }
    fn tell(&self, tell: Tell, cx: &mut Context<Self>) -> Result<(), Rejection> {
        cx.publish(Echo { n: tell.n });
        Ok(())
    }
    fn echo(&self, echo: Echo, cx: &mut Context<Self>) -> Result<(), Rejection> {
        self.0.add(format!("echo {}", echo.n));
        if echo.n > 0 {
            cx.publish(Echo { n: echo.n - 1 });
        }
        Ok(())
    }
    fn checked(&self, replied: Replied<Check>, cx: &mut Context<Self>) -> Result<(), Rejection> {
        self.0.add(format!("reply id {}", cx.message_id()));
        match replied.result {
            Ok(n) => self.0.add(format!("reply {n}")),
            Err(rejection) => self.0.add(format!(
                "refused {} {:?}",
                rejection.code, rejection.details
            )),
        }
        Ok(())
    }
}

impl Service for Clerk {
    const NAME: &'static str = "clerk";
    fn handlers(on: &mut Handlers<Self>) {
        on.command(Self::check)
            .command(Self::outside)
            .publishes::<Checked>();
    }
}

impl Clerk {
    fn check(&self, check: Check, cx: &mut Context<Self>) -> Result<u64, Rejection> {
        self.log.add(format!("check {}", check.n));
        assert!(
            !self.poison.lock().unwrap().contains(&check.n),
            "{} is poison",
            check.n
        );
        if check.n % 2 == 1 {
            return Err(Rejection::conflict("odd", "odd numbers are refused").with("n", check.n));
        }
        cx.publish(Checked { n: check.n });
        Ok(check.n)
    }
    fn outside(&self, outside: Outside, _: &mut Context<Self>) -> Result<(), Rejection> {
        self.log.add(format!("outside {}", outside.n));
        Ok(())
    }
}

impl Service for Archive {
    const NAME: &'static str = "archive";
    fn handlers(on: &mut Handlers<Self>) {
        on.in_background().event(Self::checked);
    }
}

impl Archive {
    fn checked(&self, checked: Checked, cx: &mut Context<Self>) -> Result<(), Rejection> {
        self.0.add(format!("event id {}", cx.message_id()));
        self.0.add(format!("archive {}", checked.n));
        Ok(())
    }
}

#[derive(Default, Clone)]
struct Office {
    log: Log,
    poison: Arc<Mutex<BTreeSet<u64>>>,
}

impl Office {
    fn build(
        &self,
        config: Config,
    ) -> impl Fn(SystemBuilder) -> SystemBuilder + Send + Sync + 'static {
        let office = self.clone();
        move |system| {
            system
                .config(config.clone())
                .service(Desk(office.log.clone()))
                .service(Clerk {
                    log: office.log.clone(),
                    poison: office.poison.clone(),
                })
                .service(Archive(office.log.clone()))
        }
    }
    fn numbers(&self, prefix: &str) -> Vec<u64> {
        let lines = self.log.lines();
        let numbers = lines.iter().filter_map(|line| line.strip_prefix(prefix));
        numbers.filter_map(|n| n.parse().ok()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_transport_that_loses_doubles_delays_and_reorders_delivers_each_message_once_in_order() {
    for seed in 0..10 {
        let office = Office::default();
        let config = Config {
            stream_window: 8,
            ..small()
        };
        let mut test = TestSystem::start(seed, office.build(config)).await.unwrap();
        test.transport_with(TransportFaults {
            loss: 0.2,
            duplication: 0.2,
            delay_max: Duration::from_millis(if seed % 2 == 0 { 0 } else { 5 }),
        });
        for n in 1..=60u64 {
            test.system()
                .service::<Desk>()
                .call(Ask { n: 2 * n })
                .await
                .unwrap();
            if n == 30 {
                test.crash();
                test.reopen().await.unwrap();
            }
        }
        test.quiet().await;
        let even: Vec<u64> = (1..=60).map(|n| 2 * n).collect();
        let report = stream(test.system(), "desk", "clerk");
        assert_eq!((report.sent, report.applied), (60, 60), "seed {seed}");
        // What a crash has taken back is handled again; apart from that, once and in order.
        let mut archived = office.numbers("archive ");
        if let Some(at) = (1..archived.len()).find(|at| archived[*at] <= archived[*at - 1]) {
            let again = archived[at];
            let from = archived.iter().position(|n| *n == again).unwrap();
            archived.drain(from..at);
        }
        assert_eq!(archived, even, "seed {seed}");
        for (from, to) in [("clerk", "desk"), ("clerk", "archive")] {
            let report = stream(test.system(), from, to);
            assert_eq!(
                (report.sent, report.applied),
                (60, 60),
                "seed {seed}: {from} to {to}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_message_is_noticed_by_the_next_one_and_sent_again() {
    let office = Office::default();
    let test = TestSystem::start(1, office.build(small())).await.unwrap();
    let desk = test.system().service::<Desk>();
    desk.call(Ask { n: 2 }).await.unwrap();
    test.quiet().await;
    test.transport_with(TransportFaults {
        loss: 1.0,
        ..TransportFaults::default()
    });
    desk.call(Ask { n: 4 }).await.unwrap();
    test.transport_with(TransportFaults::default());
    desk.call(Ask { n: 6 }).await.unwrap();
    // Long before the relay greets.
    test.advance(Duration::from_millis(50)).await;
    assert_eq!(office.numbers("check "), [2, 4, 6]);
}

#[tokio::test(start_paused = true)]
async fn a_message_lost_with_none_after_it_is_sent_again_within_a_second() {
    let office = Office::default();
    let test = TestSystem::start(1, office.build(small())).await.unwrap();
    test.transport_with(TransportFaults {
        loss: 1.0,
        ..TransportFaults::default()
    });
    test.system()
        .service::<Desk>()
        .call(Ask { n: 4 })
        .await
        .unwrap();
    test.transport_with(TransportFaults::default());
    test.advance(Duration::from_millis(1_100)).await;
    assert_eq!(office.numbers("check "), [4]);
}

#[tokio::test(start_paused = true)]
async fn replies_and_rejections_come_back_to_the_sender_under_ids_of_their_own() {
    let office = Office::default();
    let test = TestSystem::start(2, office.build(small())).await.unwrap();
    let desk = test.system().service::<Desk>();
    desk.call(Ask { n: 2 }).await.unwrap();
    desk.call(Ask { n: 3 }).await.unwrap();
    test.quiet().await;
    let lines = office.log.lines();
    assert!(lines.contains(&"reply 2".to_owned()), "{lines:?}");
    assert!(
        lines.contains(&"refused odd [(\"n\", \"3\")]".to_owned()),
        "{lines:?}"
    );
    let ids: Vec<&str> = lines
        .iter()
        .filter_map(|line| {
            line.strip_prefix("reply id ")
                .or(line.strip_prefix("event id "))
        })
        .collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3, "{ids:?}");
    let report = stream(test.system(), "desk", "clerk");
    assert_eq!((report.applied, report.rejected), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_service_sends_itself_arrives_in_order() {
    let office = Office::default();
    let test = TestSystem::start(3, office.build(small())).await.unwrap();
    test.system()
        .service::<Desk>()
        .call(Tell { n: 20 })
        .await
        .unwrap();
    test.quiet().await;
    assert_eq!(office.numbers("echo "), (0..=20).rev().collect::<Vec<_>>());
    assert_eq!(stream(test.system(), "desk", "desk").applied, 21);
}

/// Fails the clerk: twenty different messages in a row panic.
async fn fail_the_clerk(test: &TestSystem, office: &Office) {
    office
        .poison
        .lock()
        .unwrap()
        .extend((1..=20).map(|n| 1_000 + 2 * n));
    for n in 1..=20 {
        test.system()
            .service::<Desk>()
            .call(Ask { n: 1_000 + 2 * n })
            .await
            .unwrap();
    }
    while service(test.system(), "clerk").state != "failed" {
        test.advance(Duration::from_millis(1)).await;
    }
    office.poison.lock().unwrap().clear();
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_stands_still_bounds_what_is_under_way_and_gets_it_all_later() {
    let office = Office::default();
    let config = Config {
        stream_window: 16,
        ..small()
    };
    let test = TestSystem::start(4, office.build(config)).await.unwrap();
    fail_the_clerk(&test, &office).await;
    office.log.clear();
    test.system()
        .service::<Desk>()
        .call(Many { n: 500 })
        .await
        .unwrap();
    test.quiet().await;
    let clerk = service(test.system(), "clerk");
    assert!(clerk.messages_waiting <= 16, "{}", clerk.messages_waiting);
    assert_eq!(stream(test.system(), "desk", "clerk").waiting, 500);
    assert!(test.system().revive("clerk"));
    test.advance(Duration::from_millis(1)).await;
    test.quiet().await;
    let expected: Vec<u64> = (1..=500).map(|n| 2 * n).collect();
    let checked: Vec<u64> = office
        .numbers("check ")
        .into_iter()
        .filter(|n| *n <= 1_000)
        .collect();
    assert_eq!(checked, expected);
    let report = stream(test.system(), "desk", "clerk");
    assert_eq!((report.waiting, report.parked), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_failed_receiver_is_on_disk_and_arrives_once_and_in_order() {
    for (seed, ends) in [
        (1, "revived"),
        (2, "restarted"),
        (3, "crashed"),
        (4, "killed"),
    ] {
        let office = Office::default();
        let config = Config {
            outbox_memory_bytes_max: 2_000,
            checkpoint_after_bytes: 8_000,
            stream_window: 16,
            ..small()
        };
        let mut test = TestSystem::start(seed, office.build(config)).await.unwrap();
        fail_the_clerk(&test, &office).await;
        office.log.clear();
        let many = async |test: &TestSystem, n| {
            let desk = test.system().service::<Desk>();
            desk.call(Many { n }).await.unwrap();
            test.advance(Duration::from_millis(5)).await;
        };
        for _ in 0..10 {
            many(&test, 50).await;
        }
        let report = stream(test.system(), "desk", "clerk");
        assert_eq!(report.waiting, 500, "{ends}");
        assert_eq!(report.sent, report.waiting + report.accepted, "{ends}");
        assert!(report.spilled > 300, "{ends}: {report:?}");
        let store = test.system().report().store;
        // The budget, and what came since the last checkpoint.
        assert!(store.outbox_memory_bytes < 40_000, "{ends}: {store:?}");
        assert!(store.outbox_spilled_bytes > 25_000, "{ends}: {store:?}");
        // The others are not held up by it.
        let desk = test.system().service::<Desk>();
        desk.call(Tell { n: 3 }).await.unwrap();
        test.quiet().await;
        assert_eq!(office.numbers("echo "), [3, 2, 1, 0], "{ends}");
        match ends {
            "revived" => assert!(test.system().revive("clerk")),
            "restarted" => test.reopen().await.unwrap(),
            "crashed" => {
                test.crash();
                test.reopen().await.unwrap();
            }
            _ => {
                test.kill();
                test.reopen().await.unwrap();
            }
        }
        // More comes while it drains.
        many(&test, 50).await;
        test.advance(Duration::from_millis(10)).await;
        test.quiet().await;
        let once: Vec<u64> = (1..=50).map(|n| 2 * n).collect();
        let checked: Vec<u64> = office
            .numbers("check ")
            .into_iter()
            .filter(|n| *n <= 1_000)
            .collect();
        assert_eq!(checked, once.repeat(11), "{ends}");
        let report = stream(test.system(), "desk", "clerk");
        let left = (report.waiting, report.spilled, report.parked);
        assert_eq!(left, (0, 0, 0), "{ends}");
        test.system()
            .shutdown(Duration::from_secs(1))
            .await
            .unwrap();
        let files = test.disk().files();
        let spilled = files.iter().filter(|(path, _)| {
            path.extension()
                .is_some_and(|extension| extension == "spill")
        });
        assert_eq!(spilled.count(), 0, "{ends}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_spilled_message_that_cannot_be_read_closes_the_cell_and_says_which_file() {
    let office = Office::default();
    let config = Config {
        outbox_memory_bytes_max: 0,
        checkpoint_after_bytes: 8_000,
        stream_window: 16,
        ..small()
    };
    let mut test = TestSystem::start(5, office.build(config)).await.unwrap();
    fail_the_clerk(&test, &office).await;
    let desk = test.system().service::<Desk>();
    desk.call(Many { n: 500 }).await.unwrap();
    test.advance(Duration::from_millis(5)).await;
    assert!(stream(test.system(), "desk", "clerk").spilled > 400);
    let is_spilled = |path: &std::path::Path| path.extension().is_some_and(|end| end == "spill");
    let mut files = test.disk().files();
    files.retain(|(path, _)| is_spilled(path));
    let (file, size) = files.pop().unwrap();
    // Half of a file: past what was handed on before.
    assert!(test.disk().flip(&file, size / 2, 1));
    office.log.clear();
    test.system().revive("clerk");
    let closed = test.system().closed().await.to_string();
    assert!(closed.contains("does not match its checksum"), "{closed}");
    assert!(closed.contains(file.to_str().unwrap()), "{closed}");
    assert!(!test.system().health().ready);
    // Repaired, everything is there.
    test.kill();
    assert!(test.disk().flip(&file, size / 2, 1));
    test.reopen().await.unwrap();
    test.quiet().await;
    let report = stream(test.system(), "desk", "clerk");
    assert_eq!((report.sent, report.waiting), (520, 0));
    let checked: BTreeSet<u64> = office.numbers("check ").into_iter().collect();
    assert!((1..=500).all(|n| checked.contains(&(2 * n))));
}

#[tokio::test(start_paused = true)]
async fn commands_to_the_sender_of_an_overfull_stream_are_refused_and_only_those() {
    let office = Office::default();
    let config = Config {
        stream_backlog_bytes_max: 20_000,
        ..small()
    };
    let test = TestSystem::start(5, office.build(config)).await.unwrap();
    fail_the_clerk(&test, &office).await;
    let desk = test.system().service::<Desk>();
    let mut accepted = 0;
    let refused = loop {
        match desk.call(Ask { n: 2 }).await {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
        test.advance(Duration::from_millis(6)).await;
        assert!(accepted < 1_000);
    };
    assert!(
        matches!(&refused, CallError::Overloaded { .. }),
        "{refused}"
    );
    assert!(accepted > 50, "{accepted}");
    test.system().revive("clerk");
    test.advance(Duration::from_millis(1)).await;
    // The clerk feeds no stream that is too long: it takes commands while the desk does not.
    let outside = test
        .system()
        .service::<Clerk>()
        .call(Outside { n: 1 })
        .await;
    test.quiet().await;
    test.advance(Duration::from_millis(10)).await;
    desk.call(Ask { n: 2 }).await.unwrap();
    outside.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_stream_does_not_refuse_commands_to_services_that_do_not_feed_it() {
    let office = Office::default();
    let config = Config {
        stream_backlog_bytes_max: 20_000,
        ..small()
    };
    let build = office.build(config);
    let test = TestSystem::start(5, move |system| build(system).service(Bystander))
        .await
        .unwrap();
    fail_the_clerk(&test, &office).await;
    let desk = test.system().service::<Desk>();
    desk.call(Many { n: 1_000 }).await.unwrap();
    test.advance(Duration::from_millis(10)).await;
    let refused = desk.call(Ask { n: 2 }).await.unwrap_err();
    assert!(
        matches!(&refused, CallError::Overloaded { .. }),
        "{refused}"
    );
    test.system()
        .service::<Bystander>()
        .call(Stand {})
        .await
        .unwrap();
}

messages! { Stand = "stand" {} }
impl Command for Stand {
    type Reply = ();
}
struct Bystander;
impl Service for Bystander {
    const NAME: &'static str = "bystander";
    fn handlers(on: &mut Handlers<Self>) {
        on.command(|_: &Self, _: Stand, _: &mut Context<Self>| Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_limit_are_refused_at_once() {
    let office = Office::default();
    let config = Config {
        requests_waiting_max: 10,
        ..small()
    };
    let test = TestSystem::start(6, office.build(config)).await.unwrap();
    test.quiet().await;
    let calls: Vec<_> = (0..30)
        .map(|n| {
            let clerk = test.system().service::<Clerk>();
            tokio::spawn(async move { clerk.call(Outside { n }).await })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    let refused = answers
        .iter()
        .filter(|answer| matches!(answer, Err(CallError::Overloaded { .. })))
        .count();
    let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(refused + accepted, 30, "{answers:?}");
    assert!(
        accepted >= 10 && refused > 0,
        "{accepted} accepted, {refused} refused"
    );
    assert_eq!(office.numbers("outside ").len(), accepted);
}

#[tokio::test(start_paused = true)]
async fn internal_messages_go_before_commands_from_outside() {
    let office = Office::default();
    let config = Config {
        turns_per_batch: 4,
        ..small()
    };
    let test = TestSystem::start(7, office.build(config)).await.unwrap();
    test.system()
        .service::<Desk>()
        .call(Ask { n: 2 })
        .await
        .unwrap();
    test.quiet().await;
    office.log.clear();
    let clerk = test.system().service::<Clerk>();
    let outside: Vec<_> = (0..5)
        .map(|n| {
            let clerk = clerk.clone();
            tokio::spawn(async move { clerk.call(Outside { n }).await })
        })
        .collect();
    let desk = test.system().service::<Desk>();
    let many = tokio::spawn(async move { desk.call(Many { n: 50 }).await });
    many.await.unwrap().unwrap();
    for call in outside {
        call.await.unwrap().unwrap();
    }
    test.quiet().await;
    let lines = office.log.lines();
    let first_check = lines
        .iter()
        .position(|line| line.starts_with("check"))
        .unwrap();
    let last_check = lines
        .iter()
        .rposition(|line| line.starts_with("check"))
        .unwrap();
    let between = lines[first_check..last_check]
        .iter()
        .filter(|line| line.starts_with("outside"))
        .count();
    assert_eq!(between, 0, "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn too_many_parked_messages_pause_their_stream_and_no_other() {
    let office = Office::default();
    let config = Config {
        parked_max: 5,
        ..small()
    };
    let test = TestSystem::start(8, office.build(config)).await.unwrap();
    office.poison.lock().unwrap().extend((1..=5).map(|n| 2 * n));
    let desk = test.system().service::<Desk>();
    desk.call(Many { n: 12 }).await.unwrap();
    test.advance(Duration::from_millis(20)).await;
    let report = stream(test.system(), "desk", "clerk");
    assert_eq!((report.parked, report.applied, report.accepted), (5, 0, 5));
    // Commands from outside and the desk itself go on.
    test.system()
        .service::<Clerk>()
        .call(Outside { n: 9 })
        .await
        .unwrap();
    desk.call(Tell { n: 1 }).await.unwrap();
    test.quiet().await;
    let report = stream(test.system(), "desk", "clerk");
    assert_eq!((report.parked, report.applied, report.dead), (0, 7, 5));
}

/// One of many that talk to the clerk.
struct Talker<const N: u8>;
impl<const N: u8> Service for Talker<N> {
    const NAME: &'static str = match N {
        0 => "talker-0",
        1 => "talker-1",
        _ => "talker-2",
    };
    fn handlers(on: &mut Handlers<Self>) {
        on.command(|_: &Self, many: Many, cx: &mut Context<Self>| {
            for n in 0..many.n {
                cx.send::<Clerk, _>(Check {
                    n: 10_000 * (u64::from(N) + 1) + 2 * n,
                });
            }
            Ok(())
        })
        .sends::<Clerk, Check>();
    }
}

#[tokio::test(start_paused = true)]
async fn streams_into_one_receiver_are_served_in_turns() {
    let office = Office::default();
    let build = office.build(small());
    let test = TestSystem::start(9, move |system| {
        build(system)
            .service(Talker::<0>)
            .service(Talker::<1>)
            .service(Talker::<2>)
    })
    .await
    .unwrap();
    fail_the_clerk(&test, &office).await;
    // The first has far more to say than the others.
    test.system()
        .service::<Talker<0>>()
        .call(Many { n: 400 })
        .await
        .unwrap();
    test.system()
        .service::<Talker<1>>()
        .call(Many { n: 10 })
        .await
        .unwrap();
    test.system()
        .service::<Talker<2>>()
        .call(Many { n: 10 })
        .await
        .unwrap();
    office.log.clear();
    test.system().revive("clerk");
    test.advance(Duration::from_millis(1)).await;
    test.quiet().await;
    let checked: Vec<u64> = office
        .numbers("check ")
        .into_iter()
        .filter(|n| *n >= 10_000)
        .collect();
    assert_eq!(checked.len(), 420);
    let last_of_the_others = checked.iter().rposition(|n| *n >= 20_000).unwrap();
    assert!(last_of_the_others < 40, "{last_of_the_others}");
}
