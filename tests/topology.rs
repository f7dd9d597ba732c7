//! Programs change between two starts: what does not fit is refused with a sentence, and what was
//! renamed is found.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Log, small, stream};
use redeliver::codec::{Body, CodecError};
use redeliver::prelude::*;
use redeliver::testing::{TestSystem, TransportFaults};
use redeliver::{
    ActivityError, Config, DeadReason, StartError, System, SystemBuilder, TopologyError,
};

messages! {
    Ping = "ping" { n: u64 }
    Pong = "pong" { n: u64 }
    BadName = "bad name" {}
}
impl Event for Ping {}
impl Event for BadName {}
impl Command for Pong {
    type Reply = ();
}
impl Query for Pong {
    type Answer = ();
}

macro_rules! services {
    ($($name:ident = $text:literal [$($former:literal)*] $handlers:expr;)*) => {$(
        struct $name;
        impl Service for $name {
            const NAME: &'static str = $text;
            const FORMERLY: &'static [&'static str] = &[$($former),*];
            fn handlers(on: &mut Handlers<Self>) {
                let list: fn(&mut Handlers<Self>) = $handlers;
                list(on);
            }
        }
    )*};
}

const T: Table<u64, u64> = Table::new("t");

services! {
    Empty = "empty" [] |_| {};
    SameName = "empty" [] |_| {};
    TableTwice = "s" [] |on| { on.table(T).table(T); };
    HandlerTwice = "s" [] |on| { on.event(|_, _: Ping, _| Ok(())).event(|_, _: Ping, _| Ok(())); };
    PublishesTwice = "s" [] |on| { on.publishes_outside::<Ping>().publishes_outside::<Ping>(); };
    QueryTwice = "s" [] |on| { on.query(|_, _: Pong, _| Ok(())).query(|_, _: Pong, _| Ok(())); };
    CommandAndQuery = "s" [] |on| { on.command(|_, _: Pong, _| Ok(())).query(|_, _: Pong, _| Ok(())); };
    SpaceInName = "a service" [] |_| {};
    SpaceInMessage = "s" [] |on| { on.publishes_outside::<BadName>(); };
    Unheard = "s" [] |on| { on.publishes::<Ping>(); };
    Unproduced = "s" [] |on| { on.event(|_, _: Ping, _| Ok(())); };
    Unhandled = "s" [] |on| { on.sends::<Empty, Pong>(); };
    ReplyAlone = "s" [] |on| { on.reply::<Pong>(|_, _, _| Ok(())); };
    FormerlyEmpty = "s" ["empty"] |_| {};
    FormerlyX = "s" ["x"] |_| {};
    FormerlyXToo = "s2" ["x"] |_| {};
}

#[test]
fn what_does_not_fit_together_is_refused_with_one_sentence() {
    let system = || System::open("/nowhere");
    let cases: Vec<(SystemBuilder, &str)> = vec![
        (
            system().service(Empty).service(SameName),
            "two services are called `empty`; give one of them another `NAME`",
        ),
        (
            system().service(TableTwice),
            "service `s` registers table `t` twice; remove one registration",
        ),
        (
            system().service(HandlerTwice),
            "service `s` registers handler for Event `ping` twice; remove one registration",
        ),
        (
            system().service(PublishesTwice),
            "service `s` registers published event `ping` twice; remove one registration",
        ),
        (
            system().service(QueryTwice),
            "service `s` registers query `pong` twice; remove one registration",
        ),
        (
            system().service(CommandAndQuery),
            "service `s` registers command and query `pong` twice; remove one registration",
        ),
        (
            system().service(SpaceInName),
            "`a service` of service `a service` cannot be used as a name; use letters, digits, `-`, `_` and `.`",
        ),
        (
            system().service(SpaceInMessage),
            "`bad name` of service `s` cannot be used as a name; use letters, digits, `-`, `_` and `.`",
        ),
        (
            system().service(Unheard),
            "service `s` publishes `ping` but no service handles it; handle it, or declare it with `publishes_outside`",
        ),
        (
            system().service(Unproduced),
            "service `s` handles `ping` but no service publishes it; add the publisher or remove the handler",
        ),
        (
            system().service(Unhandled).service(Empty),
            "service `s` sends `pong` to `empty`, which does not handle it; register its handler there",
        ),
        (
            system().service(ReplyAlone),
            "service `s` handles replies to `pong` but does not declare that it sends it; add `sends`",
        ),
        (
            system().service(Empty).service(FormerlyEmpty),
            "`empty` is a former name of service `s` and in use elsewhere; stored data would be taken for the wrong service, give the other one a new name",
        ),
        (
            system().service(FormerlyX).service(FormerlyXToo),
            "`x` is a former name of service `s` and in use elsewhere; stored data would be taken for the wrong service, give the other one a new name",
        ),
    ];
    for (system, sentence) in cases {
        let error: TopologyError = system.topology().unwrap_err();
        assert_eq!(error.to_string(), sentence);
    }
}

/// The programs: a giver that publishes, and takers of several generations on the same data.
mod programs {
    use super::*;

    messages! {
        Give = "give" { n: u64 }
        Given = "given" { n: u64 }
        Later = "later" { n: u64 }
        Rows = "rows" {}
    }
    impl Command for Give {
        type Reply = ();
    }
    impl Event for Given {}
    impl Query for Rows {
        type Answer = Vec<u64>;
    }

    /// Publishes, and asks the taker; the answers go to the log.
    pub struct Giver;
    impl Service for Giver {
        const NAME: &'static str = "giver";
        fn handlers(on: &mut Handlers<Self>) {
            on.command(|_: &Self, give: Give, cx: &mut Context<Self>| {
                cx.publish(Given { n: give.n });
                Ok(())
            })
            .publishes_outside::<Given>();
        }
    }

    pub const ROWS: Table<u64, u64> = Table::new("rows");

    /// The first generation: keeps what it is given, sets a timer and plans an errand for some.
    pub struct Taker(pub Log);
    impl Service for Taker {
        const NAME: &'static str = "taker";
        fn handlers(on: &mut Handlers<Self>) {
            on.table(ROWS)
                .event(|taker: &Self, given: Given, cx: &mut Context<Self>| {
                    taker.0.add(format!("given {}", given.n));
                    assert!(given.n != 13, "13 panics");
                    cx.put(ROWS, &given.n, &given.n)?;
                    match given.n {
                        100 => drop(cx.after(hours(1), Later { n: given.n })),
                        200 => drop(cx.plan(Errand {})),
                        _ => {}
                    }
                    Ok(())
                })
                .timer(|taker: &Self, later: Later, _: &mut Context<Self>| {
                    taker.0.add(format!("later {}", later.n));
                    Ok(())
                })
                .activity::<Errand>(|_: &Self, _, _| Ok(()))
                .query(|_: &Self, _: Rows, view: &View<Self>| {
                    Ok(view
                        .scan(ROWS, &Span::all())?
                        .into_iter()
                        .map(|(_, n)| n)
                        .collect())
                });
        }
    }

    #[derive(Serialize, Deserialize)]
    pub struct Errand {}
    impl Activity<Taker> for Errand {
        const NAME: &'static str = "errand";
        const DESTINATION: &'static str = "town";
        const IDEMPOTENT: bool = true;
        type Output = ();
        async fn run(self, _: Arc<Taker>, _: ActivityContext) -> Result<(), ActivityError> {
            std::future::pending().await
        }
    }

    /// A generation that has forgotten everything.
    pub struct Forgetful;
    impl Service for Forgetful {
        const NAME: &'static str = "taker";
        fn handlers(_: &mut Handlers<Self>) {}
    }

    /// The same under another name.
    pub struct FormerlyTaker;
    impl Service for FormerlyTaker {
        const NAME: &'static str = "newcomer";
        const FORMERLY: &'static [&'static str] = &["taker"];
        fn handlers(_: &mut Handlers<Self>) {}
    }

    /// One that says so.
    pub struct Retired;
    impl Service for Retired {
        const NAME: &'static str = "taker";
        fn handlers(on: &mut Handlers<Self>) {
            on.retired("given").retired("later").retired("errand");
        }
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct Received {
        pub n: u64,
    }
    impl Message for Received {
        const NAME: &'static str = "received";
        const FORMERLY: &'static [&'static str] = &["given"];
    }
    impl Event for Received {}
    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct Eventually {
        pub n: u64,
    }
    impl Message for Eventually {
        const NAME: &'static str = "eventually";
        const FORMERLY: &'static [&'static str] = &["later"];
    }

    pub const KEPT: Table<u64, u64> = Table::new("kept").formerly(&["rows"]);

    /// A generation with other names for everything.
    pub struct Renamed(pub Log);
    impl Service for Renamed {
        const NAME: &'static str = "receiver";
        const FORMERLY: &'static [&'static str] = &["taker"];
        fn handlers(on: &mut Handlers<Self>) {
            on.table(KEPT)
                .event(|taker: &Self, received: Received, cx: &mut Context<Self>| {
                    taker.0.add(format!("received {}", received.n));
                    cx.put(KEPT, &received.n, &received.n)?;
                    Ok(())
                })
                .timer(|taker: &Self, later: Eventually, _: &mut Context<Self>| {
                    taker.0.add(format!("eventually {}", later.n));
                    Ok(())
                })
                .query(|_: &Self, _: Rows, view: &View<Self>| {
                    Ok(view
                        .scan(KEPT, &Span::all())?
                        .into_iter()
                        .map(|(_, n)| n)
                        .collect())
                });
        }
    }
    /// The giver that goes with it.
    pub struct RenamedGiver;
    impl Service for RenamedGiver {
        const NAME: &'static str = "giver";
        fn handlers(on: &mut Handlers<Self>) {
            on.publishes::<Received>();
        }
    }
}
use programs::*;

/// A system whose program is chosen by a number at every start.
async fn start(
    log: &Log,
    build: fn(SystemBuilder, u64, &Log) -> SystemBuilder,
) -> (TestSystem, Arc<AtomicU64>) {
    start_with(small(), log, build).await
}

async fn start_with(
    config: Config,
    log: &Log,
    build: fn(SystemBuilder, u64, &Log) -> SystemBuilder,
) -> (TestSystem, Arc<AtomicU64>) {
    let program = Arc::new(AtomicU64::new(1));
    let (log, chosen) = (log.clone(), program.clone());
    let test = TestSystem::start(1, move |system| {
        let program = chosen.load(Ordering::Relaxed);
        build(system.config(config.clone()), program, &log)
    })
    .await
    .unwrap();
    test.quiet().await;
    (test, program)
}

fn generations(system: SystemBuilder, program: u64, log: &Log) -> SystemBuilder {
    match program {
        1 => system.service(Giver).service(Taker(log.clone())),
        2 => system.service(Giver).service(Forgetful),
        3 => system.service(Giver).service(Retired),
        6 => system.service(Giver).service(FormerlyTaker),
        4 => system.service(RenamedGiver).service(Renamed(log.clone())),
        _ => system.service(Giver),
    }
}

async fn give(test: &TestSystem, n: u64) {
    test.system()
        .service::<Giver>()
        .call(Give { n })
        .await
        .unwrap();
}

/// Leaves work of every kind behind: `n` decides which.
async fn leave(n: u64) -> (TestSystem, Arc<AtomicU64>, Log) {
    let log = Log::default();
    let config = Config {
        // All that waits goes to disk.
        outbox_memory_bytes_max: if n == 8 { 0 } else { 1 << 20 },
        ..small()
    };
    let (mut test, program) = start_with(config, &log, generations).await;
    give(&test, 1).await;
    test.quiet().await;
    match n {
        // Waiting in the outbox.
        7 | 8 => {
            test.transport_with(TransportFaults {
                loss: 1.0,
                ..TransportFaults::default()
            });
            give(&test, n).await;
        }
        _ => {
            give(&test, n).await;
            test.advance(std::time::Duration::from_millis(5)).await;
        }
    }
    test.system().shutdown(seconds(1)).await.unwrap();
    test.transport_with(TransportFaults::default());
    test.kill();
    (test, program, log)
}

#[tokio::test(start_paused = true)]
async fn messages_timers_and_activities_without_a_handler_refuse_the_start_until_retired() {
    // In the outbox, in one that is on disk, parked, a timer, an activity.
    for (n, message) in [
        (7, "given"),
        (8, "given"),
        (13, "given"),
        (100, "later"),
        (200, "errand"),
    ] {
        let (mut test, program, _) = leave(n).await;
        program.store(2, Ordering::Relaxed);
        let error = test.reopen().await.unwrap_err();
        let StartError::Orphaned {
            service,
            message: orphan,
        } = &error
        else {
            panic!("{n}: {error}")
        };
        assert_eq!(
            (service.as_str(), orphan.as_str()),
            ("taker", message),
            "{n}"
        );
        // The whole service gone is no different.
        program.store(5, Ordering::Relaxed);
        let error = test.reopen().await.unwrap_err();
        assert!(
            matches!(&error, StartError::Orphaned { service, .. } if service == "taker"),
            "{n}: {error}"
        );
        // Neither is a rename of the service that forgets the message, and it leaves no trace: the
        // retiring program below still finds everything under the old name.
        program.store(6, Ordering::Relaxed);
        let error = test.reopen().await.unwrap_err();
        assert!(
            matches!(&error, StartError::Orphaned { service, .. } if service == "taker"),
            "{n}: {error}"
        );
        // Nothing was changed.
        program.store(3, Ordering::Relaxed);
        test.reopen().await.unwrap();
        test.advance(hours(2)).await;
        test.quiet().await;
        let letters = test.system().dead_letters("taker", 10).unwrap();
        assert_eq!(letters.len(), 1, "{n}");
        assert_eq!(
            (letters[0].reason, letters[0].message.as_str()),
            (DeadReason::Retired, message),
            "{n}"
        );
        let report = test.system().report();
        assert_eq!(
            (
                report.services[1].timers,
                report.services[1].activities,
                report.services[1].parked
            ),
            (0, 0, 0)
        );
        // And nothing refuses the start any more.
        program.store(2, Ordering::Relaxed);
        test.reopen().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn renamed_services_tables_messages_and_timers_keep_their_data() {
    for n in [7, 13, 100] {
        let (mut test, program, log) = leave(n).await;
        program.store(4, Ordering::Relaxed);
        test.reopen().await.unwrap();
        test.advance(hours(2)).await;
        test.quiet().await;
        let rows = test
            .system()
            .service::<Renamed>()
            .query(Rows {})
            .await
            .unwrap();
        assert_eq!(rows, [1, n], "{n}");
        let expected = if n == 100 {
            "eventually 100".to_owned()
        } else {
            format!("received {n}")
        };
        assert_eq!(log.count(&expected), 1, "{:?}", log.lines());
        assert_eq!(stream(test.system(), "giver", "receiver").applied, 2);
        // Under the new names also the third time.
        test.crash();
        test.reopen().await.unwrap();
        let rows = test
            .system()
            .service::<Renamed>()
            .query(Rows {})
            .await
            .unwrap();
        assert_eq!(rows, [1, n]);
    }
}

/// A command and its reply, renamed while they are under way.
mod asking {
    use super::*;

    macro_rules! generation {
        ($module:ident, $name:literal, $former:expr, $panics:literal) => {
            pub mod $module {
                use super::*;
                #[derive(Debug, Clone, Serialize, Deserialize)]
                pub struct Query {
                    pub n: u64,
                }
                impl Message for Query {
                    const NAME: &'static str = $name;
                    const FORMERLY: &'static [&'static str] = $former;
                }
                impl Command for Query {
                    type Reply = u64;
                }
                pub struct Asker(pub Log);
                impl Service for Asker {
                    const NAME: &'static str = "asker";
                    fn handlers(on: &mut Handlers<Self>) {
                        on.command(|_: &Self, give: Give, cx: &mut Context<Self>| {
                            cx.send::<Answerer, _>(Query { n: give.n });
                            Ok(())
                        })
                        .reply::<Query>(|asker: &Self, replied, _| {
                            assert!(!$panics, "no reply is welcome");
                            asker
                                .0
                                .add(format!("{:?}", replied.result.map_err(|r| r.code)));
                            Ok(())
                        })
                        .sends::<Answerer, Query>();
                    }
                }
                pub struct Answerer;
                impl Service for Answerer {
                    const NAME: &'static str = "answerer";
                    fn handlers(on: &mut Handlers<Self>) {
                        on.command(|_: &Self, query: Query, _: &mut Context<Self>| {
                            if query.n == 0 {
                                return Err(Rejection::invalid("zero", "zero"));
                            }
                            Ok(query.n * 10)
                        });
                    }
                }
            }
        };
    }
    // The old program panics over replies, which parks them.
    generation!(old, "ask", &[], true);
    generation!(new, "inquire", &["ask"], false);
}

#[tokio::test(start_paused = true)]
async fn a_command_renamed_while_it_or_its_reply_is_under_way_is_answered() {
    let build = |system: SystemBuilder, program: u64, log: &Log| match program {
        1 => system
            .service(asking::old::Asker(log.clone()))
            .service(asking::old::Answerer),
        _ => system
            .service(asking::new::Asker(log.clone()))
            .service(asking::new::Answerer),
    };
    for reply_under_way in [false, true] {
        let log = Log::default();
        let (mut test, program) = start(&log, build).await;
        if !reply_under_way {
            test.transport_with(TransportFaults {
                loss: 1.0,
                ..TransportFaults::default()
            });
        }
        for n in [0, 4] {
            test.system()
                .service::<asking::old::Asker>()
                .call(Give { n })
                .await
                .unwrap();
        }
        test.advance(std::time::Duration::from_millis(20)).await;
        let parked = test.system().report().services[0].parked;
        assert_eq!(parked, if reply_under_way { 2 } else { 0 });
        test.system().shutdown(seconds(1)).await.unwrap();
        test.transport_with(TransportFaults::default());
        program.store(2, Ordering::Relaxed);
        test.reopen().await.unwrap();
        test.quiet().await;
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines, ["Err(\"zero\")", "Ok(40)"]);
        assert!(
            test.system()
                .report()
                .services
                .iter()
                .all(|service| service.parked == 0)
        );
    }
}

/// A message whose second version the first program cannot read.
mod versions {
    use super::*;

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct V1 {
        pub n: u64,
    }
    impl Message for V1 {
        const NAME: &'static str = "fact";
        fn key(&self) -> Key {
            Key::of(&(self.n / 10))
        }
    }
    impl Event for V1 {}
    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct V2 {
        pub n: u64,
        pub unit: String,
    }
    impl Message for V2 {
        const NAME: &'static str = "fact";
        const VERSION: u16 = 2;
        fn key(&self) -> Key {
            Key::of(&(self.n / 10))
        }
        fn upgrade(version: u16, body: Body<'_>) -> Option<Result<Self, CodecError>> {
            (version == 1).then(|| {
                body.decode::<V1>().map(|fact| V2 {
                    n: fact.n,
                    unit: "old".into(),
                })
            })
        }
    }
    impl Event for V2 {}

    pub struct NewGiver;
    impl Service for NewGiver {
        const NAME: &'static str = "giver";
        fn handlers(on: &mut Handlers<Self>) {
            on.command(|_: &Self, give: Give, cx: &mut Context<Self>| {
                if give.n >= 1_000 {
                    cx.publish(V1 { n: give.n - 1_000 });
                } else {
                    cx.publish(V2 {
                        n: give.n,
                        unit: "new".into(),
                    });
                }
                Ok(())
            })
            .publishes::<V2>();
        }
    }
    pub struct OldReader(pub Log);
    impl Service for OldReader {
        const NAME: &'static str = "reader";
        fn handlers(on: &mut Handlers<Self>) {
            on.event(|reader: &Self, fact: V1, _: &mut Context<Self>| {
                reader.0.add(format!("old {}", fact.n));
                Ok(())
            });
        }
    }
    pub struct NewReader(pub Log);
    impl Service for NewReader {
        const NAME: &'static str = "reader";
        fn handlers(on: &mut Handlers<Self>) {
            on.event(|reader: &Self, fact: V2, cx: &mut Context<Self>| {
                assert!(fact.n != 11 || cx.attempt() > 1, "11 panics once");
                reader.0.add(format!("{} {}", fact.unit, fact.n));
                Ok(())
            });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_parked_without_attempts_and_read_by_the_next_program_that_can() {
    use versions::{NewGiver, NewReader, OldReader};
    let log = Log::default();
    let build = |system: SystemBuilder, program: u64, log: &Log| match program {
        1 => system.service(NewGiver).service(OldReader(log.clone())),
        _ => system.service(NewGiver).service(NewReader(log.clone())),
    };
    let (mut test, program) = start(&log, build).await;
    // Of version 2, and one of version 1 under the key of 21; another under a key of its own.
    for n in [11, 12, 21, 1_022, 1_031] {
        test.system()
            .service::<NewGiver>()
            .call(Give { n })
            .await
            .unwrap();
    }
    test.quiet().await;
    assert_eq!(log.lines(), ["old 31"], "its own key is not held up");
    for _ in 0..8 {
        test.crash();
        test.reopen().await.unwrap();
        test.quiet().await;
    }
    let report = stream(test.system(), "giver", "reader");
    assert_eq!(
        (report.parked, report.dead, report.applied),
        (4, 0, 1),
        "no attempts are used up"
    );
    program.store(2, Ordering::Relaxed);
    test.reopen().await.unwrap();
    test.quiet().await;
    let lines = log.lines();
    let place = |line: &str| {
        lines
            .iter()
            .position(|other| other == line)
            .unwrap_or_else(|| panic!("{line}: {lines:?}"))
    };
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(place("new 11") < place("new 12"), "{lines:?}");
    assert!(place("new 21") < place("old 22"), "{lines:?}");
}
