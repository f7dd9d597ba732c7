//! The catalog hears what inventory says and agrees with it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::catalog::tables::{AVAILABILITY, HELD};
use crate::ids::{OrderId, ShipmentId, UserId};
use crate::inventory::{
    AdjustStock, AdjustmentReason, Inventory, InventoryReservationConfirmed, ReleaseCause,
    StockAdjusted, StockOfProduct, StockReleased, Units, tables::RESERVATIONS,
};
use crate::order::{InventoryReservationReleased, InventoryReservationRequested};
use crate::shipping::{ReturnedItem, ShipmentDispatched, ShipmentReturned};

const NOON: Timestamp = Timestamp(1_767_268_800_000_000);

fn order(n: u128) -> OrderId {
    OrderId(Uuid::from_u128(1_000 + n))
}

fn of_mug(quantity: u32) -> Vec<Units> {
    vec![Units {
        product_id: MUG,
        quantity,
    }]
}

fn reserved(n: u128, quantity: u32) -> InventoryReservationConfirmed {
    InventoryReservationConfirmed {
        order_id: order(n),
        lines: of_mug(quantity),
        expires_at: Some(NOON),
        renewed: false,
        at: NOON,
    }
}

fn released(n: u128, quantity: u32) -> StockReleased {
    StockReleased {
        order_id: order(n),
        lines: of_mug(quantity),
        cause: ReleaseCause::Requested,
        at: NOON,
    }
}

fn adjusted(delta: i64, reason: AdjustmentReason, of: Option<u128>) -> StockAdjusted {
    StockAdjusted {
        product_id: MUG,
        delta,
        on_hand: 0,
        available: 0,
        reason,
        order_id: of.map(order),
        at: NOON,
    }
}

fn stocked() -> ServiceKit<Catalog> {
    let mut kit = published();
    kit.event(adjusted(10, AdjustmentReason::Received, None))
        .reply();
    kit
}

fn available(kit: &mut ServiceKit<Catalog>) -> u64 {
    shown(kit).available
}

#[test]
fn goods_that_come_in_can_be_had_and_the_version_stays() {
    let mut kit = published();
    let turn = kit.event(adjusted(10, AdjustmentReason::Received, None));
    assert!(turn.notifies(&MUG) && turn.published_names().is_empty());
    kit.event(adjusted(-3, AdjustmentReason::Damaged, None))
        .reply();
    assert_eq!((available(&mut kit), shown(&mut kit).version), (7, 2));
}

#[test]
fn what_is_reserved_is_not_to_be_had_until_it_is_free_again() {
    let mut kit = stocked();
    kit.event(reserved(1, 4)).reply();
    assert_eq!(available(&mut kit), 6);
    kit.event(released(1, 4)).reply();
    assert_eq!(available(&mut kit), 10);
    assert!(kit.rows(HELD).is_empty());
}

#[test]
fn a_reservation_that_is_confirmed_again_counts_once() {
    let mut kit = stocked();
    kit.event(reserved(1, 4)).reply();
    kit.event(reserved(1, 4)).reply();
    let mut committed = reserved(1, 4);
    committed.expires_at = None;
    kit.event(committed.clone()).reply();
    assert_eq!(available(&mut kit), 6);
    // It has left; that it is confirmed yet again reserves nothing.
    kit.event(adjusted(-4, AdjustmentReason::Deducted, Some(1)))
        .reply();
    kit.event(committed).reply();
    assert_eq!(available(&mut kit), 6);
    assert!(kit.rows(HELD).is_empty());
}

#[test]
fn goods_that_left_without_a_reservation_are_not_held_for_ever() {
    let mut kit = stocked();
    kit.event(adjusted(-4, AdjustmentReason::Deducted, Some(1)))
        .reply();
    kit.event(adjusted(-2, AdjustmentReason::Deducted, Some(2)))
        .reply();
    kit.event(reserved(2, 2)).reply();
    assert_eq!((available(&mut kit), kit.rows(HELD).len()), (4, 1));
    kit.advance(days(32));
    kit.fire_due_timers();
    assert_eq!(available(&mut kit), 4);
    assert!(kit.rows(HELD).is_empty());
}

#[test]
fn an_expired_reservation_that_comes_back_counts_again() {
    let mut kit = stocked();
    kit.event(reserved(1, 4)).reply();
    kit.event(released(1, 4)).reply();
    let mut renewed = reserved(1, 4);
    (renewed.expires_at, renewed.renewed) = (None, true);
    kit.event(renewed).reply();
    assert_eq!(available(&mut kit), 6);
}

#[test]
fn a_release_of_nothing_frees_nothing() {
    let mut kit = stocked();
    let mut nothing = released(1, 1);
    nothing.lines.clear();
    assert!(kit.event(nothing).is_quiet());
    assert_eq!(available(&mut kit), 10);
}

#[test]
fn what_leaves_was_reserved_already_and_what_comes_back_can_be_had() {
    let mut kit = stocked();
    kit.event(reserved(1, 4)).reply();
    kit.event(adjusted(-4, AdjustmentReason::Deducted, Some(1)))
        .reply();
    assert_eq!(available(&mut kit), 6);
    kit.event(adjusted(3, AdjustmentReason::Returned, Some(1)))
        .reply();
    assert_eq!(available(&mut kit), 9);
    assert!(kit.rows(HELD).is_empty());
}

#[test]
fn what_leaves_without_a_reservation_is_gone_and_a_late_word_of_it_counts_once() {
    let mut kit = stocked();
    kit.event(adjusted(-4, AdjustmentReason::Deducted, Some(1)))
        .reply();
    assert_eq!(available(&mut kit), 6);
    // The two come in no order that is promised.
    kit.event(reserved(1, 4)).reply();
    assert_eq!(available(&mut kit), 6);
    assert!(kit.rows(HELD).is_empty());
}

#[test]
fn less_than_nothing_is_shown_as_nothing() {
    let mut kit = published();
    kit.event(reserved(1, 4)).reply();
    assert_eq!(available(&mut kit), 0);
    kit.event(adjusted(10, AdjustmentReason::Received, None))
        .reply();
    assert_eq!(available(&mut kit), 6);
}

/// What can happen to inventory.
#[derive(Debug, Clone)]
enum Act {
    Request(u128, u32),
    Release(u128),
    Dispatch(u128, u32),
    Return(u128, u32),
    Adjust(i64),
    Wait(u64),
    /// The catalog hears so many of the keys that wait.
    Hear(usize),
}

fn acts() -> impl Strategy<Value = Act> {
    let orders = 1..5u128;
    prop_oneof![
        4 => (orders.clone(), 1..5u32).prop_map(|(order, quantity)| Act::Request(order, quantity)),
        2 => orders.clone().prop_map(Act::Release),
        2 => (orders.clone(), 1..5u32).prop_map(|(order, quantity)| Act::Dispatch(order, quantity)),
        1 => (orders, 1..4u32).prop_map(|(order, quantity)| Act::Return(order, quantity)),
        2 => (-8..8i64).prop_map(Act::Adjust),
        1 => (1..20u64).prop_map(Act::Wait),
        3 => (0..6usize).prop_map(Act::Hear),
    ]
}

enum Said {
    Reserved(InventoryReservationConfirmed),
    Released(StockReleased),
    Adjusted(StockAdjusted),
}

/// Method: inventory does whatever it is told; what it says waits by key, and the catalog hears
/// the keys in any order, each key's messages in theirs. When all is heard, both agree. An order
/// asks once, as the order service does.
fn check(acts: Vec<Act>) {
    let mut inventory = ServiceKit::of(Inventory::default());
    let mut catalog = published();
    let created = ProductCreated {
        product_id: MUG,
        sku: "MUG".to_owned(),
        name: "mug".to_owned(),
        price: None,
        category_id: None,
        at: NOON,
    };
    inventory.event(created).reply();
    let mut waiting: BTreeMap<Uuid, Vec<Said>> = BTreeMap::new();
    let hear =
        |catalog: &mut ServiceKit<Catalog>, waiting: &mut BTreeMap<Uuid, Vec<Said>>, nth: usize| {
            let Some(key) = waiting.keys().nth(nth).copied() else {
                return;
            };
            for said in waiting.remove(&key).unwrap() {
                match said {
                    Said::Reserved(event) => catalog.event(event).reply(),
                    Said::Released(event) => catalog.event(event).reply(),
                    Said::Adjusted(event) => catalog.event(event).reply(),
                };
            }
        };
    let mut asked = BTreeSet::new();
    for act in acts {
        let mut turns: Vec<Decided<Inventory>> = Vec::new();
        match act {
            Act::Request(n, _) if !asked.insert(n) => {}
            Act::Request(n, quantity) => {
                turns.push(inventory.event(InventoryReservationRequested {
                    order_id: order(n),
                    lines: of_mug(quantity),
                    at: NOON,
                }));
            }
            Act::Release(n) => turns.push(inventory.event(InventoryReservationReleased {
                order_id: order(n),
                reason: "cancelled".to_owned(),
                at: NOON,
            })),
            Act::Dispatch(n, quantity) => turns.push(inventory.event(ShipmentDispatched {
                order_id: order(n),
                shipment_id: ShipmentId(Uuid::from_u128(9)),
                customer_id: UserId(Uuid::from_u128(7)),
                carrier: "c".to_owned(),
                tracking_number: "t".to_owned(),
                lines: of_mug(quantity),
                at: NOON,
            })),
            Act::Return(n, quantity) => turns.push(inventory.event(ShipmentReturned {
                order_id: order(n),
                shipment_id: ShipmentId(Uuid::from_u128(9)),
                customer_id: UserId(Uuid::from_u128(7)),
                items: vec![ReturnedItem {
                    product_id: MUG,
                    quantity,
                    restock: true,
                }],
                at: NOON,
            })),
            Act::Adjust(delta) => {
                let turn = inventory.command(AdjustStock {
                    product_id: MUG,
                    delta,
                    reason: AdjustmentReason::Corrected,
                });
                for event in turn.published::<StockAdjusted>() {
                    waiting
                        .entry(MUG.0)
                        .or_default()
                        .push(Said::Adjusted(event));
                }
            }
            Act::Wait(m) => inventory.advance(minutes(m)),
            Act::Hear(nth) => hear(&mut catalog, &mut waiting, nth),
        }
        turns.extend(inventory.fire_due_timers());
        for turn in turns {
            for event in turn.published::<InventoryReservationConfirmed>() {
                let key = event.order_id.0;
                waiting.entry(key).or_default().push(Said::Reserved(event));
            }
            for event in turn.published::<StockReleased>() {
                let key = event.order_id.0;
                waiting.entry(key).or_default().push(Said::Released(event));
            }
            for event in turn.published::<StockAdjusted>() {
                waiting
                    .entry(MUG.0)
                    .or_default()
                    .push(Said::Adjusted(event));
            }
        }
    }
    while !waiting.is_empty() {
        hear(&mut catalog, &mut waiting, 0);
    }
    let there = inventory.query(StockOfProduct { product_id: MUG });
    let there = i64::try_from(there.unwrap().available).unwrap();
    assert_eq!(catalog.get(AVAILABILITY, &MUG).unwrap_or(0), there);
    // Long after, only what is reserved is still held, and as many can be had.
    catalog.advance(days(32));
    catalog.fire_due_timers();
    assert_eq!(catalog.get(AVAILABILITY, &MUG).unwrap_or(0), there);
    for (order, lines) in catalog.rows(HELD) {
        let reservation = inventory.get(RESERVATIONS, &order).unwrap();
        assert!(reservation.holds(), "{order}: {lines:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn the_catalog_agrees_with_inventory_once_everything_is_heard(
        acts in prop::collection::vec(acts(), 1..60)
    ) {
        check(acts);
    }
}
