//! What happens around orders: customers who leave, events that cannot be counted, restarts while
//! people are waited for.

use commerce::analytics::{Analytics, ConversionFunnel, Range};
use commerce::catalog::{Catalog, NoteView};
use commerce::order::OrderStatus;
use redeliver::testing::TransportFaults;
use std::time::Duration;

use super::checks;
use super::play::play_in;
use super::world::{ADA, BOB, LAMP, MUG, World};

#[test]
fn a_customer_who_leaves_is_let_go_whatever_state_their_orders_are_in() {
    play_in(
        "surroundings::a_customer_who_leaves_is_let_go_whatever_state_their_orders_are_in",
        async |world| {
            let delivered = world.place("tok_ok").await;
            let shipped = world.place("tok_ok").await;
            let confirmed = world.place("tok_ok").await;
            let failed = world.place("tok_insufficient_funds").await;
            world.check().await;
            for order in [delivered, shipped] {
                world.dispatch(order).await.unwrap();
            }
            world.rest().await;
            world.deliver(delivered).await;
            world.rest().await;
            let under_way = world.place("tok_slow").await;
            let other = world.place_for(BOB, "tok_ok", &[(MUG, 1)]).await;
            world.delete_user(ADA).await;
            world.check().await;
            for order in [confirmed, failed, under_way] {
                let order = world.order(order).await;
                assert_eq!(order.status, OrderStatus::Cancelled);
                assert_eq!(order.cancel_reason.as_deref(), Some("customer_deleted"));
            }
            assert_eq!(world.status(delivered).await, OrderStatus::Delivered);
            assert_eq!(world.status(shipped).await, OrderStatus::Shipped);
            assert_eq!(world.status(other).await, OrderStatus::Confirmed);
            world.send_back(delivered).await;
            world.deliver(shipped).await;
            world.check().await;
            assert_eq!(world.status(delivered).await, OrderStatus::Returned);
            assert_eq!(world.status(shipped).await, OrderStatus::Delivered);
            assert!(!world.keyring.has(ADA));
        },
    );
}

/// Method: every order is brought to rest in another state; then the system goes down, in one of
/// three ways, and each order goes on to its end, with further restarts on the way.
#[test]
fn orders_go_on_after_a_restart_from_every_state_in_which_they_wait() {
    play_in(
        "surroundings::orders_go_on_after_a_restart_from_every_state_in_which_they_wait",
        async |world| {
            for how in 0..3 {
                let confirmed = world.place_for(ADA, "tok_ok", &[(MUG, 1)]).await;
                let failed = world
                    .place_for(ADA, "tok_insufficient_funds", &[(MUG, 1)])
                    .await;
                let cancelled = world.place_for(BOB, "tok_declined", &[(LAMP, 1)]).await;
                let review = world
                    .place_for(BOB, "tok_capture_fails", &[(LAMP, 1)])
                    .await;
                let shipped = world.place_for(BOB, "tok_ok", &[(LAMP, 1)]).await;
                let delivered = world.place_for(ADA, "tok_ok", &[(LAMP, 1)]).await;
                world.rest().await;
                for order in [review, shipped, delivered] {
                    world.dispatch(order).await.unwrap();
                }
                world.rest().await;
                world.deliver(delivered).await;
                world.restart(how).await;
                world.check().await;
                for (order, status) in [
                    (confirmed, OrderStatus::Confirmed),
                    (failed, OrderStatus::PaymentFailed),
                    (cancelled, OrderStatus::Cancelled),
                    (review, OrderStatus::ManualReview),
                    (shipped, OrderStatus::Shipped),
                    (delivered, OrderStatus::Delivered),
                ] {
                    assert_eq!(world.status(order).await, status);
                }
                world.retry(failed, "tok_ok").await.unwrap();
                world.restart(how + 1).await;
                world.rest().await;
                for order in [confirmed, failed] {
                    world.dispatch(order).await.unwrap();
                }
                world.resolve(review, redeliver::Resolve::Cancel).await;
                world.send_back(delivered).await;
                world.restart(how + 2).await;
                world.check().await;
                for order in [confirmed, failed, shipped] {
                    world.deliver(order).await;
                }
                world.restart(how).await;
                world.check().await;
                for (order, status) in [
                    (confirmed, OrderStatus::Delivered),
                    (failed, OrderStatus::Delivered),
                    (review, OrderStatus::Cancelled),
                    (shipped, OrderStatus::Delivered),
                    (delivered, OrderStatus::Returned),
                ] {
                    assert_eq!(world.status(order).await, status);
                }
            }
        },
    );
}

fn panics(world: &World) -> u64 {
    let report = world.test.system().report();
    let analytics = report.services.iter().find(|of| of.name == "analytics");
    analytics.unwrap().panics
}

fn dead(world: &World) -> Vec<redeliver::DeadLetter> {
    world.test.system().dead_letters("analytics", 10).unwrap()
}

async fn viewed(world: &mut World) -> u64 {
    let ask = ConversionFunnel { range: Range::ALL };
    world.ask::<Analytics, _>(ask).await.unwrap().viewed
}

/// Method: only analytics hears that somebody looks at a product, so while nothing else is on its
/// way, a time in which handlers panic hits that event alone. It is held back until such a time,
/// and between two of them the shop does its work, and may be restarted.
#[test]
fn an_event_that_analytics_cannot_count_is_set_aside_and_the_shop_goes_on() {
    play_in(
        "surroundings::an_event_that_analytics_cannot_count_is_set_aside_and_the_shop_goes_on",
        async |world| {
            world.check().await;
            world.peace();
            let lost = TransportFaults {
                loss: 1.0,
                ..TransportFaults::default()
            };
            world.test.transport_with(lost);
            let view = NoteView {
                product_id: MUG,
                user_id: Some(BOB),
            };
            world.act::<Catalog, _>(view.clone()).await.unwrap();
            world.test.transport_with(TransportFaults::default());
            let mut orders = Vec::new();
            while dead(world).is_empty() {
                let before = panics(world);
                world.test.panic_with(1.0);
                for _ in 0..60_000 {
                    if panics(world) > before {
                        break;
                    }
                    world.advance(Duration::from_millis(1)).await;
                }
                assert!(panics(world) > before, "it was counted after all");
                world.test.panic_with(0.0);
                // One view after another would wait behind it; orders do not.
                let order = world.place_for(ADA, "tok_ok", &[(MUG, 1)]).await;
                orders.push(order);
                while world.status(order).await != OrderStatus::Confirmed {
                    world.advance(Duration::from_millis(1)).await;
                }
                // Its letters are sent.
                world.advance(Duration::from_millis(20)).await;
            }
            world.rest().await;
            // What was set aside stays so.
            world.restart(world.seed).await;
            world.rest().await;
            checks::business(world).await;
            let letters = dead(world);
            assert_eq!(letters.len(), 1);
            assert_eq!(letters[0].message, "product-viewed");
            for order in orders {
                assert_eq!(world.status(order).await, OrderStatus::Confirmed);
            }
            world.act::<Catalog, _>(view).await.unwrap();
            world.rest().await;
            assert_eq!(viewed(world).await, 1);
            // Somebody has found the bug and lets it be counted after all.
            let redriven = world
                .test
                .system()
                .redrive("analytics", &letters[0].id)
                .await;
            assert!(redriven.unwrap());
            world.check().await;
            assert_eq!(viewed(world).await, 2);
        },
    );
}
