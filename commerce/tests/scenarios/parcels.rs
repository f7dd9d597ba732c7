//! What becomes of parcels: sent, delivered, missed, returned; and of goods that are short.

use commerce::inventory::{AdjustmentReason, Inventory};
use commerce::order::OrderStatus;
use commerce::payment::PaymentStatus;
use redeliver::prelude::*;
use redeliver::testing::TransportFaults;

use super::play::play_in;
use super::world::{ADA, BOB, LAMP, MUG, World};

#[test]
fn an_order_goes_all_the_way_to_its_buyer() {
    play_in(
        "parcels::an_order_goes_all_the_way_to_its_buyer",
        async |world| {
            let order = world.place("tok_ok").await;
            world.check().await;
            assert_eq!(world.status(order).await, OrderStatus::Confirmed);
            world.dispatch(order).await.unwrap();
            world.check().await;
            assert_eq!(world.status(order).await, OrderStatus::Shipped);
            world.deliver(order).await;
            world.check().await;
            assert_eq!(world.status(order).await, OrderStatus::Delivered);
            let payment = world.payment(order).await.unwrap();
            assert_eq!(
                (payment.status, payment.captured.amount),
                (PaymentStatus::Captured, 6_948)
            );
            let refused = world.cancel(order).await.unwrap_err();
            assert_eq!(refused.code, "already_shipped");
            world.refund(order, 999).await.unwrap();
            world.check().await;
            let refused = world.refund(order, 6_948).await;
            assert!(refused.is_err(), "{refused:?}");
            world.refund(order, 5_949).await.unwrap();
            world.check().await;
            assert_eq!(world.status(order).await, OrderStatus::Delivered);
        },
    );
}

#[test]
fn an_order_that_is_short_names_what_is_short_and_leaves_nothing_reserved() {
    play_in(
        "parcels::an_order_that_is_short_names_what_is_short_and_leaves_nothing_reserved",
        async |world| {
            let order = world
                .place_for(ADA, "tok_ok", &[(MUG, 21), (LAMP, 1)])
                .await;
            let other = world.place_for(BOB, "tok_ok", &[(LAMP, 20)]).await;
            world.check().await;
            let short = world.order(order).await;
            assert_eq!(short.status, OrderStatus::Cancelled);
            let reason = short.cancel_reason.unwrap();
            assert_eq!(reason, "out_of_stock: 21 of mug wanted, 20 there");
            assert_eq!(world.payment(order).await, None);
            assert_eq!(world.status(other).await, OrderStatus::Confirmed);
            world.adjust(MUG, 1, AdjustmentReason::Received).await;
            let again = world.place_for(ADA, "tok_ok", &[(MUG, 21)]).await;
            world.check().await;
            assert_eq!(world.status(again).await, OrderStatus::Confirmed);
        },
    );
}

#[test]
fn a_parcel_that_nobody_takes_three_times_comes_back_and_so_does_the_money() {
    play_in(
        "parcels::a_parcel_that_nobody_takes_three_times_comes_back_and_so_does_the_money",
        async |world| {
            let order = shipped(world).await;
            for attempt in 1..=3 {
                assert_eq!(world.status(order).await, OrderStatus::Shipped, "{attempt}");
                world.fail_delivery(order).await;
                world.check().await;
            }
            came_back(world, order).await;
        },
    );
}

#[test]
fn a_parcel_that_was_missed_once_can_still_arrive() {
    play_in(
        "parcels::a_parcel_that_was_missed_once_can_still_arrive",
        async |world| {
            let order = shipped(world).await;
            world.fail_delivery(order).await;
            world.deliver(order).await;
            world.check().await;
            assert_eq!(world.status(order).await, OrderStatus::Delivered);
        },
    );
}

#[test]
fn a_delivered_parcel_that_is_sent_back_is_restocked_and_paid_back() {
    play_in(
        "parcels::a_delivered_parcel_that_is_sent_back_is_restocked_and_paid_back",
        async |world| {
            let order = shipped(world).await;
            world.deliver(order).await;
            world.check().await;
            world.refund(order, 999).await.unwrap();
            world.rest().await;
            world.send_back(order).await;
            world.check().await;
            came_back(world, order).await;
        },
    );
}

async fn shipped(world: &mut World) -> commerce::ids::OrderId {
    let order = world.place("tok_ok").await;
    world.rest().await;
    world.dispatch(order).await.unwrap();
    world.check().await;
    order
}

async fn came_back(world: &mut World, order: commerce::ids::OrderId) {
    assert_eq!(world.status(order).await, OrderStatus::Returned);
    assert_eq!(
        world.payment(order).await.unwrap().status,
        PaymentStatus::Refunded
    );
    assert_eq!(world.stock(MUG).await.available, 20);
    assert_eq!(world.stock(LAMP).await.available, 20);
}

/// Method: nothing that is said arrives until the order is cancelled, so that the reservation and
/// its release come to inventory together, after panics and falls in either order of attempts.
#[test]
fn an_order_that_is_cancelled_before_inventory_heard_of_it_reserves_nothing() {
    play_in(
        "parcels::an_order_that_is_cancelled_before_inventory_heard_of_it_reserves_nothing",
        async |world| {
            let lost = TransportFaults {
                loss: 1.0,
                ..TransportFaults::default()
            };
            for round in 0..5u64 {
                world.test.transport_with(lost);
                let order = world.place("tok_ok").await;
                if round % 2 == 1 {
                    world.restart(round).await;
                }
                world.cancel(order).await.unwrap();
                world.advance(seconds(2 * round)).await;
                world.trouble_begins();
                world.check().await;
                assert_eq!(world.status(order).await, OrderStatus::Cancelled);
                let name = Inventory::NAME;
                assert_eq!(
                    world.stock(MUG).await.reserved,
                    0,
                    "{name} in round {round}"
                );
            }
        },
    );
}
