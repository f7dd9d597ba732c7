//! Every step: the same story once for each thing that happens in it, interrupted there.
//!
//! Method: an order is stepped thing by thing (a turn, an operation of the disk, a commit) until
//! nothing more happens; before each of them, in a world of its own, somebody cancels, the system
//! dies, the customer leaves, or a price changes.

use std::time::Duration;

use commerce::ids::OrderId;
use commerce::order::OrderStatus;
use commerce::payment::simulated::Pace;

use super::play::play;
use super::world::{ADA, BOB, MUG, World};

/// Virtual milliseconds in which something must happen, or the story is over.
const PATIENCE_MS: u64 = 60;

/// Plays `begin` in a new world, lets `n` things happen and then plays `then`, for each n until
/// fewer than that happen. Under faults only every so many n are played, others for each seed.
fn at_every_step<T>(
    name: &str,
    begin: impl AsyncFn(&mut World) -> T,
    then: impl AsyncFn(&mut World, T, u64),
) {
    play(name, async |seed| each_step(seed, &begin, &then).await);
}

async fn each_step<T>(
    seed: u64,
    begin: impl AsyncFn(&mut World) -> T,
    then: impl AsyncFn(&mut World, T, u64),
) {
    let stride = if seed == 0 { 1 } else { 9 };
    let mut n = seed % stride;
    loop {
        let pace = Pace {
            no_answer: Duration::from_millis(40),
            ..Pace::default()
        };
        let mut world = World::open_with(seed, pace, |_| {}).await;
        let begun = begin(&mut world).await;
        world.slow_down();
        let mut happened = 0;
        while happened < n && world.step(PATIENCE_MS).await {
            happened += 1;
        }
        let over = happened < n;
        world.trouble_begins();
        then(&mut world, begun, n).await;
        world.check().await;
        if over {
            if seed == 0 {
                assert!(n > 15, "{n} things are no story");
            }
            return;
        }
        n += stride;
    }
}

async fn ends(world: &mut World, order: OrderId, status: OrderStatus, n: u64) {
    assert_eq!(world.status(order).await, status, "step {n}");
}

#[test]
fn an_order_that_is_cancelled_at_any_step_leaves_nothing_behind() {
    at_every_step(
        "every_step::an_order_that_is_cancelled_at_any_step_leaves_nothing_behind",
        async |world| world.place("tok_ok").await,
        async |world, order, n| {
            world.cancel(order).await.unwrap();
            world.check().await;
            ends(world, order, OrderStatus::Cancelled, n).await;
            assert_eq!(world.stock(MUG).await.available, 20, "step {n}");
        },
    );
}

#[test]
fn an_order_whose_payment_is_unknown_can_be_cancelled_at_any_step() {
    at_every_step(
        "every_step::an_order_whose_payment_is_unknown_can_be_cancelled_at_any_step",
        async |world| world.place("tok_timeout_charged").await,
        async |world, order, n| {
            world.cancel(order).await.unwrap();
            world.check().await;
            ends(world, order, OrderStatus::Cancelled, n).await;
        },
    );
}

/// Method: dispatch and cancellation are asked for at the same time; the story is that of the
/// dispatch, or of the cancellation.
#[test]
fn cancelling_at_the_moment_of_dispatch_is_refused_or_keeps_the_parcel_back() {
    at_every_step(
        "every_step::cancelling_at_the_moment_of_dispatch_is_refused_or_keeps_the_parcel_back",
        async |world| {
            let order = world.place("tok_ok").await;
            world.check().await;
            let shipment_id = world.order(order).await.shipment_id.unwrap();
            let shipping = world
                .test
                .system()
                .service::<commerce::shipping::Shipping>();
            // Its answer is not waited for.
            tokio::spawn(async move {
                let dispatch = commerce::shipping::Dispatch {
                    shipment_id,
                    carrier: None,
                    tracking_number: None,
                };
                let _ = shipping.call(dispatch).await;
            });
            order
        },
        async |world, order, n| {
            let refused = world.cancel(order).await.is_err();
            world.check().await;
            let status = world.status(order).await;
            if refused {
                assert_eq!(status, OrderStatus::Shipped, "step {n}");
            } else {
                let ends = [OrderStatus::Cancelled, OrderStatus::Shipped];
                assert!(ends.contains(&status), "step {n}: {status}");
            }
        },
    );
}

#[test]
fn a_dispatch_while_an_order_is_cancelled_ends_in_one_way_for_all() {
    at_every_step(
        "every_step::a_dispatch_while_an_order_is_cancelled_ends_in_one_way_for_all",
        async |world| {
            let order = world.place("tok_ok").await;
            world.check().await;
            world.cancel(order).await.unwrap();
            order
        },
        async |world, order, n| {
            let dispatched = world.dispatch(order).await.is_ok();
            world.check().await;
            let status = match dispatched {
                true => OrderStatus::Shipped,
                false => OrderStatus::Cancelled,
            };
            ends(world, order, status, n).await;
        },
    );
}

#[test]
fn an_order_goes_on_after_a_restart_at_any_step() {
    at_every_step(
        "every_step::an_order_goes_on_after_a_restart_at_any_step",
        async |world| world.place("tok_timeout_charged").await,
        async |world, order, n| {
            world.restart(n + world.seed).await;
            world.check().await;
            ends(world, order, OrderStatus::Confirmed, n).await;
            world.dispatch(order).await.unwrap();
            world.deliver(order).await;
            world.check().await;
            ends(world, order, OrderStatus::Delivered, n).await;
        },
    );
}

#[test]
fn an_order_is_cancelled_to_the_end_over_a_restart_at_any_step_of_it() {
    at_every_step(
        "every_step::an_order_is_cancelled_to_the_end_over_a_restart_at_any_step_of_it",
        async |world| {
            let order = world.place("tok_ok").await;
            world.check().await;
            world.cancel(order).await.unwrap();
            order
        },
        async |world, order, n| {
            world.restart(n + world.seed).await;
            world.check().await;
            ends(world, order, OrderStatus::Cancelled, n).await;
        },
    );
}

#[test]
fn a_customer_who_leaves_at_any_step_is_not_charged_and_others_are_not_disturbed() {
    at_every_step(
        "every_step::a_customer_who_leaves_at_any_step_is_not_charged_and_others_are_not_disturbed",
        async |world| {
            let order = world.place("tok_ok").await;
            let other = world.place_for(BOB, "tok_ok", &[(MUG, 1)]).await;
            (order, other)
        },
        async |world, (order, other), n| {
            world.delete_user(ADA).await;
            world.check().await;
            ends(world, order, OrderStatus::Cancelled, n).await;
            ends(world, other, OrderStatus::Confirmed, n).await;
        },
    );
}

#[test]
fn a_price_that_changes_at_any_step_changes_no_order_that_was_placed() {
    at_every_step(
        "every_step::a_price_that_changes_at_any_step_changes_no_order_that_was_placed",
        async |world| world.place("tok_ok").await,
        async |world, order, n| {
            world.change_price(MUG, 1_500).await;
            let old_or_new = world.place_for(BOB, "tok_ok", &[(MUG, 1)]).await;
            world.check().await;
            let new = world.place_for(BOB, "tok_ok", &[(MUG, 1)]).await;
            world.dispatch(order).await.unwrap();
            world.check().await;
            let payment = world.payment(order).await.unwrap();
            assert_eq!(payment.captured.amount, 6_948, "step {n}");
            let total = world.order(old_or_new).await.total.amount;
            assert!([999, 1_500].contains(&total), "step {n}: {total}");
            assert_eq!(world.order(new).await.total.amount, 1_500, "step {n}");
        },
    );
}
