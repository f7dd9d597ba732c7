//! The service in a running system: virtual time, a simulated disk, faults on the way.

use std::time::Duration;

use redeliver::prelude::*;
use redeliver::testing::{TestSystem, TransportFaults};

use super::super::{
    ConversionFunnel, LifetimeValue, OrdersSummary, Range, Rebuild, RebuildProgress, SummaryView,
};
use super::folding::Told;
use super::*;

/// Says what the other services would say.
struct Desk;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Say(Vec<Told>);

impl Message for Say {
    const NAME: &'static str = "say";
}

impl Command for Say {
    type Reply = ();
}

impl Service for Desk {
    const NAME: &'static str = "desk";

    fn handlers(on: &mut Handlers<Self>) {
        on.command(Self::say);
        on.publishes::<OrderCreated>()
            .publishes::<OrderConfirmed>()
            .publishes::<OrderCancelled>()
            .publishes::<OrderDelivered>()
            .publishes::<PaymentCompleted>()
            .publishes::<PaymentRefunded>()
            .publishes::<ProductViewed>()
            .publishes::<ProductAddedToCart>()
            .publishes::<ProductPurchased>()
            .publishes::<StockAdjusted>();
    }
}

impl Desk {
    fn say(&self, say: Say, cx: &mut Context<Self>) -> Result<(), Rejection> {
        for told in say.0 {
            match told {
                Told::Created(event) => cx.publish(event),
                Told::Confirmed(event) => cx.publish(event),
                Told::Cancelled(event) => cx.publish(event),
                Told::Delivered(event) => cx.publish(event),
                Told::Captured(event) => cx.publish(event),
                Told::Refunded(event) => cx.publish(event),
                Told::Viewed(event) => cx.publish(event),
                Told::Added(event) => cx.publish(event),
                Told::Purchased(event) => cx.publish(event),
                Told::Adjusted(event) => cx.publish(event),
            }
        }
        Ok(())
    }
}

async fn start(seed: u64) -> TestSystem {
    let build =
        |system: redeliver::SystemBuilder| system.service(Desk).service(Analytics::default());
    TestSystem::start(seed, build).await.unwrap()
}

async fn say(test: &TestSystem, events: Vec<Told>) {
    test.system()
        .service::<Desk>()
        .call(Say(events))
        .await
        .unwrap();
}

async fn summary(test: &TestSystem) -> SummaryView {
    let ask = OrdersSummary { range: Range::ALL };
    test.system()
        .service::<Analytics>()
        .query(ask)
        .await
        .unwrap()
}

async fn views(test: &TestSystem) -> u64 {
    let ask = ConversionFunnel { range: Range::ALL };
    let analytics = test.system().service::<Analytics>();
    analytics.query(ask).await.unwrap().viewed
}

fn paid(n: u128) -> Told {
    let mut paid = captured(n, eur(10), NOON);
    paid.order_id = order(n);
    Told::Captured(paid)
}

fn panics(test: &TestSystem) -> u64 {
    let report = test.system().report();
    let analytics = report.services.iter().find(|of| of.name == "analytics");
    analytics.unwrap().panics
}

fn dead(test: &TestSystem) -> Vec<String> {
    let letters = test.system().dead_letters("analytics", 100).unwrap();
    letters.into_iter().map(|letter| letter.message).collect()
}

/// Method: the poison is held back on its way while its sender takes its turn, and every attempt
/// at it falls into a time in which handlers panic. Between two attempts they do not.
#[tokio::test(start_paused = true)]
async fn an_event_that_panics_becomes_a_dead_letter_and_stops_no_other() {
    let test = start(1).await;
    let lost = TransportFaults {
        loss: 1.0,
        ..TransportFaults::default()
    };
    test.transport_with(lost);
    say(&test, vec![paid(1)]).await;
    test.transport_with(TransportFaults::default());
    let mut others = 0;
    while dead(&test).is_empty() {
        let before = panics(&test);
        test.panic_with(1.0);
        while panics(&test) == before {
            test.advance(Duration::from_millis(1)).await;
        }
        test.panic_with(0.0);
        say(&test, vec![Told::Viewed(viewed(1, NOON))]).await;
        others += 1;
        test.advance(Duration::from_millis(1)).await;
        assert_eq!(views(&test).await, others);
    }
    test.quiet().await;
    assert_eq!(dead(&test), ["payment-completed"]);
    assert_eq!((panics(&test), others), (5, 5));
    assert_eq!(summary(&test).await.revenue, eur(0));
    // An operator finds the bug and lets it be handled again: it is counted then, once.
    let letter = test
        .system()
        .dead_letters("analytics", 1)
        .unwrap()
        .remove(0);
    test.system()
        .redrive("analytics", &letter.id)
        .await
        .unwrap();
    test.quiet().await;
    assert_eq!(summary(&test).await.revenue, eur(10));
}

#[tokio::test(start_paused = true)]
async fn an_event_in_a_foreign_currency_is_set_aside_and_stops_no_other() {
    let test = start(2).await;
    let foreign = Told::Captured(captured(1, pounds(10), NOON));
    say(&test, vec![foreign, paid(2), paid(3)]).await;
    test.quiet().await;
    assert_eq!(dead(&test), ["payment-completed"]);
    assert_eq!(summary(&test).await.revenue, eur(20));
}

/// Panics, losses, doubles, delays, power losses, and a rebuild in the midst of them.
#[tokio::test(start_paused = true)]
async fn every_event_is_counted_once_whatever_happens_on_the_way_and_during_a_rebuild() {
    for seed in 1..=8 {
        let mut test = start(seed).await;
        let faults = TransportFaults {
            loss: 0.2,
            duplication: 0.3,
            delay_max: Duration::from_millis(40),
        };
        let mut said = 0;
        for round in 0..12u128 {
            test.transport_with(faults);
            let events: Vec<Told> = (0..40).map(|n| paid(100 * round + n)).collect();
            said += events.len();
            say(&test, events).await;
            test.panic_with(0.05);
            if round % 5 == 2 {
                let ask = Rebuild { restart: false };
                // It may panic too.
                let _ = test.system().service::<Analytics>().call(ask).await;
            }
            test.advance(Duration::from_millis(70)).await;
            test.panic_with(0.0);
            if round % 4 == 3 {
                test.crash();
                test.reopen().await.unwrap();
            }
        }
        test.transport_with(TransportFaults::default());
        test.advance(minutes(5)).await;
        test.quiet().await;
        assert!(dead(&test).is_empty(), "seed {seed}");
        let counted = summary(&test).await;
        assert_eq!(counted.revenue, eur(10 * said as i64), "seed {seed}");
        let analytics = test.system().service::<Analytics>();
        let one = LifetimeValue {
            customer_id: customer(1_105),
        };
        assert_eq!(analytics.query(one).await.unwrap().orders, 1, "seed {seed}");
        let rebuilt = analytics.query(RebuildProgress {}).await.unwrap();
        assert_eq!(rebuilt.facts, said as u64, "seed {seed}");
        assert!(!rebuilt.running && !rebuilt.clearing && rebuilt.generation > 0);
        analytics.call(Rebuild { restart: false }).await.unwrap();
        test.advance(minutes(1)).await;
        assert_eq!(summary(&test).await, counted, "seed {seed}");
    }
}

/// Other turns go on between two steps: an event that comes then is counted before the rebuild is
/// over, not after it.
#[tokio::test(start_paused = true)]
async fn a_rebuild_keeps_nobody_waiting() {
    let test = start(3).await;
    for round in 0..10u128 {
        let events = (0..100).map(|n| paid(100 * round + n)).collect();
        say(&test, events).await;
    }
    test.quiet().await;
    let analytics = test.system().service::<Analytics>();
    analytics.call(Rebuild { restart: false }).await.unwrap();
    let mut counted_while_running = 0;
    while analytics.query(RebuildProgress {}).await.unwrap().running {
        say(&test, vec![Told::Viewed(viewed(1, NOON))]).await;
        test.advance(Duration::from_millis(5)).await;
        if analytics.query(RebuildProgress {}).await.unwrap().running {
            counted_while_running = views(&test).await;
        }
    }
    assert!(counted_while_running >= 3, "{counted_while_running}");
    assert_eq!(summary(&test).await.revenue, eur(10_000));
}
