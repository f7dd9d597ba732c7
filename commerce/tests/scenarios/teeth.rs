//! The scenarios themselves: trouble comes, and the checks see what is wrong.

use commerce::ids::OrderId;
use commerce::money::{Currency, Money};
use commerce::payment::PaymentProvider;
use commerce::payment::provider::Order;
use redeliver::clock::Clock;
use redeliver::prelude::*;

use super::checks;
use super::play::play;
use super::world::{MUG, World};

/// Opens a world with one confirmed order, does something wrong to it, and checks.
fn after(harm: impl AsyncFn(&mut World, OrderId)) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(async {
            let mut world = World::open(0).await;
            let order = world.place("tok_ok").await;
            world.check().await;
            harm(&mut world, order).await;
            world.check().await;
        });
}

#[test]
#[should_panic(expected = "payment and provider disagree")]
fn a_charge_that_the_shop_does_not_know_of_is_seen() {
    after(async |world, order_id| {
        let charge = Order {
            key: format!("{order_id}-1-capture-7"),
            order_id,
            amount: Money::new(6_948, Currency::EUR),
            at: world.test.clock().wall(),
        };
        world.provider.capture(charge, String::new()).await.unwrap();
    });
}

#[test]
#[should_panic(expected = "ProductStock")]
fn a_unit_that_is_lost_is_seen() {
    after(async |world, _| *world.received.entry(MUG).or_default() += 1);
}

#[test]
#[should_panic(expected = "orders acknowledged and orders there")]
fn an_order_that_was_acknowledged_and_is_not_there_is_seen() {
    after(async |world, _| world.orders.push(OrderId(uuid::Uuid::from_u128(5))));
}

#[test]
#[should_panic(expected = "waits for nobody")]
fn an_order_that_goes_nowhere_is_seen() {
    after(async |world, _| {
        let order = world.place("tok_slow").await;
        world.advance(seconds(1)).await;
        checks::business(world).await;
        panic!("{order} is not seen");
    });
}

#[test]
fn a_seed_above_zero_brings_trouble() {
    play("teeth::a_seed_above_zero_brings_trouble", async |seed| {
        let mut world = World::open(seed).await;
        let mut panics = 0;
        for _ in 0..12 {
            world
                .place_for(super::world::ADA, "tok_ok", &[(MUG, 1)])
                .await;
            world.rest().await;
            let report = world.test.system().report();
            panics += report
                .services
                .iter()
                .map(|service| service.panics)
                .sum::<u64>();
        }
        // What each seed brings, see `Trouble::of`.
        assert_eq!(
            world.falls > 0,
            seed > 0 && matches!(seed % 4, 1 | 2),
            "seed {seed}"
        );
        assert_eq!(panics > 0, seed % 4 == 1 || seed % 4 == 3, "seed {seed}");
        world.close().await;
    });
}
