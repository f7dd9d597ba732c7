//! Each handler: given stock, when a message comes, then stock and messages.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use redeliver::testing::ServiceKit;
use redeliver::{Timestamp, days, minutes};
use uuid::Uuid;

use super::tables::{RESERVATIONS, RESERVED_OF_PRODUCT, STOCK, STOCK_LEDGER};
use super::*;
use crate::catalog::{ProductCreated, ProductUpdated};
use crate::ids::{PaymentId, ShipmentId, UserId};
use crate::money::{Currency, Money};
use crate::order::{
    Address, InventoryReservationReleased, InventoryReservationRequested, OrderConfirmed,
};
use crate::page::Page;
use crate::privacy::{Keyring, Sealed};
use crate::shipping::{ReturnedItem, ShipmentDispatched};

const AT: Timestamp = Timestamp(1_767_268_800_000_000);

fn product(n: u128) -> ProductId {
    ProductId(Uuid::from_u128(n))
}

fn order(n: u128) -> OrderId {
    OrderId(Uuid::from_u128(1_000 + n))
}

fn line(n: u128, quantity: u32) -> Units {
    Units {
        product_id: product(n),
        quantity,
    }
}

fn requested(order_id: OrderId, lines: &[Units]) -> InventoryReservationRequested {
    InventoryReservationRequested {
        order_id,
        lines: lines.to_vec(),
        at: AT,
    }
}

fn released(order_id: OrderId) -> InventoryReservationReleased {
    InventoryReservationReleased {
        order_id,
        reason: "cancelled".into(),
        at: AT,
    }
}

/// Of no interest here, but there.
fn sealed_address() -> Sealed<Address> {
    let customer = UserId(Uuid::from_u128(7));
    let keyring = Keyring::in_memory(1);
    keyring.create(customer).unwrap();
    let address = Address {
        recipient: "A".into(),
        line1: "B".into(),
        line2: None,
        city: "C".into(),
        region: None,
        postal_code: "1".into(),
        country: "DE".into(),
    };
    keyring.seal(customer, &address).unwrap()
}

fn confirmed(order_id: OrderId, lines: &[Units]) -> OrderConfirmed {
    OrderConfirmed {
        order_id,
        customer_id: UserId(Uuid::from_u128(7)),
        lines: lines.to_vec(),
        total: Money::new(100, Currency::EUR),
        payment_id: PaymentId(Uuid::from_u128(8)),
        ship_to: sealed_address(),
        at: AT,
    }
}

fn dispatched(order_id: OrderId, lines: &[Units]) -> ShipmentDispatched {
    ShipmentDispatched {
        order_id,
        shipment_id: ShipmentId(Uuid::from_u128(9)),
        customer_id: UserId(Uuid::from_u128(7)),
        carrier: "c".into(),
        tracking_number: "t".into(),
        lines: lines.to_vec(),
        at: AT,
    }
}

fn returned(order_id: OrderId, items: &[(u128, u32, bool)]) -> ShipmentReturned {
    ShipmentReturned {
        order_id,
        shipment_id: ShipmentId(Uuid::from_u128(9)),
        customer_id: UserId(Uuid::from_u128(7)),
        items: items
            .iter()
            .map(|(n, quantity, restock)| ReturnedItem {
                product_id: product(*n),
                quantity: *quantity,
                restock: *restock,
            })
            .collect(),
        at: AT,
    }
}

fn created(n: u128) -> ProductCreated {
    ProductCreated {
        product_id: product(n),
        sku: format!("SKU-{n}"),
        name: format!("Product {n}"),
        price: None,
        category_id: None,
        at: AT,
    }
}

fn level(n: u128, reorder_level: u64) -> SetReorderLevel {
    SetReorderLevel {
        product_id: product(n),
        reorder_level,
    }
}

/// A new product of the catalog, and so many of it.
fn stock(kit: &mut ServiceKit<Inventory>, n: u128, on_hand: i64, reorder_level: u64) {
    kit.event(created(n)).reply();
    kit.command(level(n, 0)).reply();
    let received = AdjustStock {
        product_id: product(n),
        delta: on_hand,
        reason: AdjustmentReason::Received,
    };
    kit.command(received).reply();
    kit.command(level(n, reorder_level)).reply();
}

/// Ten of product 1 and three of product 2.
fn kit() -> ServiceKit<Inventory> {
    let mut kit = ServiceKit::of(Inventory::default());
    stock(&mut kit, 1, 10, 2);
    stock(&mut kit, 2, 3, 0);
    kit
}

fn numbers(kit: &mut ServiceKit<Inventory>, n: u128) -> (u64, u64) {
    let stock = kit.get(STOCK, &product(n)).unwrap();
    (stock.on_hand, stock.reserved)
}

fn status(kit: &mut ServiceKit<Inventory>, n: u128) -> ReservationStatus {
    kit.get(RESERVATIONS, &order(n)).unwrap().status
}

#[test]
fn all_lines_of_an_order_are_reserved_until_its_time_is_up() {
    let mut kit = kit();
    let turn = kit.event(requested(order(1), &[line(1, 4), line(2, 3)]));
    let answer = &turn.published::<InventoryReservationConfirmed>()[0];
    assert_eq!(answer.expires_at, Some(kit.now().plus(minutes(15))));
    assert!(!answer.renewed);
    assert_eq!(numbers(&mut kit, 1), (10, 4));
    assert_eq!(numbers(&mut kit, 2), (3, 3));
    assert_eq!(turn.timers::<ReservationTimeUp>().len(), 1);
}

#[test]
fn a_shortfall_names_every_short_line_and_reserves_nothing() {
    let mut kit = kit();
    let turn = kit.event(requested(order(1), &[line(1, 4), line(2, 4), line(3, 1)]));
    let failed = &turn.published::<InventoryReservationFailed>()[0];
    assert_eq!(failed.reason, ReservationFailure::Short);
    assert_eq!(
        failed.short,
        [
            Shortfall {
                product_id: product(2),
                requested: 4,
                available: 3
            },
            Shortfall {
                product_id: product(3),
                requested: 1,
                available: 0
            },
        ]
    );
    assert_eq!(numbers(&mut kit, 1), (10, 0));
    assert!(kit.get(RESERVATIONS, &order(1)).is_none());
    assert!(turn.timer_names().is_empty());
}

#[test]
fn a_request_that_comes_twice_reserves_once_and_is_answered_twice() {
    let mut kit = kit();
    kit.event(requested(order(1), &[line(1, 4)]));
    let again = kit.event(requested(order(1), &[line(1, 4)]));
    assert_eq!(again.published_names(), ["inventory-reservation-confirmed"]);
    assert!(again.timer_names().is_empty());
    assert_eq!(numbers(&mut kit, 1), (10, 4));
}

#[test]
fn a_request_without_lines_is_refused_as_invalid() {
    let mut kit = kit();
    for lines in [
        vec![],
        vec![line(1, 0)],
        vec![line(1, u32::MAX), line(1, 1)],
    ] {
        let turn = kit.event(requested(order(1), &lines));
        let failed = &turn.published::<InventoryReservationFailed>()[0];
        assert_eq!(failed.reason, ReservationFailure::Invalid);
    }
}

#[test]
fn a_release_frees_what_was_reserved_and_stops_the_clock() {
    let mut kit = kit();
    kit.event(requested(order(1), &[line(1, 4)]));
    let turn = kit.event(released(order(1)));
    let answer = &turn.published::<StockReleased>()[0];
    assert_eq!(
        (answer.cause, answer.lines.as_slice()),
        (ReleaseCause::Requested, &[line(1, 4)][..])
    );
    assert_eq!(turn.timers_cancelled(), 1);
    assert_eq!(numbers(&mut kit, 1), (10, 0));
    assert_eq!(status(&mut kit, 1), ReservationStatus::Released);
}

#[test]
fn a_release_before_its_request_refuses_the_late_request() {
    let mut kit = kit();
    let early = kit.event(released(order(1)));
    assert_eq!(early.published::<StockReleased>()[0].lines, []);
    let late = kit.event(requested(order(1), &[line(1, 4)]));
    let failed = &late.published::<InventoryReservationFailed>()[0];
    assert_eq!(failed.reason, ReservationFailure::Released);
    assert_eq!(numbers(&mut kit, 1), (10, 0));
    kit.advance(days(30));
    kit.fire_due_timers();
    assert!(kit.get(RESERVATIONS, &order(1)).is_none(), "forgotten");
}

#[test]
fn an_expired_reservation_that_is_given_up_stays_expired_and_is_never_made_again() {
    let mut kit = kit();
    kit.event(requested(order(1), &[line(1, 4)]));
    kit.advance(minutes(15));
    kit.fire_due_timers();
    for _ in 0..2 {
        let turn = kit.event(released(order(1)));
        let answer = &turn.published::<StockReleased>()[0];
        assert_eq!(
            (answer.cause, answer.lines.as_slice()),
            (ReleaseCause::Requested, &[][..])
        );
        assert_eq!(status(&mut kit, 1), ReservationStatus::Expired);
    }
    let asked = kit.event(requested(order(1), &[line(1, 4)]));
    let confirmed = kit.event(confirmed(order(1), &[line(1, 4)]));
    for turn in [asked, confirmed] {
        let failed = &turn.published::<InventoryReservationFailed>()[0];
        assert_eq!(failed.reason, ReservationFailure::Released);
    }
    assert_eq!(status(&mut kit, 1), ReservationStatus::Expired);
    assert_eq!(numbers(&mut kit, 1), (10, 0));
    kit.advance(days(31));
    kit.fire_due_timers();
    assert!(kit.get(RESERVATIONS, &order(1)).is_none(), "forgotten");
}

#[test]
fn every_release_is_answered_and_frees_once() {
    let mut kit = kit();
    kit.event(requested(order(1), &[line(1, 4)]));
    kit.event(requested(order(2), &[line(1, 5)]));
    kit.event(released(order(1)));
    let again = kit.event(released(order(1)));
    assert_eq!(again.published::<StockReleased>()[0].lines, []);
    assert_eq!(numbers(&mut kit, 1), (10, 5));
}

#[test]
fn a_confirmed_order_no_longer_expires() {
    let mut kit = kit();
    kit.event(requested(order(1), &[line(1, 4)]));
    let turn = kit.event(confirmed(order(1), &[line(1, 4)]));
    assert!(turn.published_names().is_empty());
    kit.advance(minutes(16));
    assert!(kit.fire_due_timers().is_empty());
    assert_eq!(status(&mut kit, 1), ReservationStatus::Committed);
    assert_eq!(numbers(&mut kit, 1), (10, 4));
}

#[test]
fn an_expired_reservation_frees_its_stock_and_says_so() {
    let mut kit = kit();
    kit.event(requested(order(1), &[line(1, 4)]));
    kit.advance(minutes(15));
    let turns = kit.fire_due_timers();
    assert_eq!(
        turns[0].published_names(),
        ["stock-released", "inventory-reservation-expired"]
    );
    let freed = &turns[0].published::<StockReleased>()[0];
    assert_eq!(freed.cause, ReleaseCause::Expired);
    assert_eq!(numbers(&mut kit, 1), (10, 0));
}

#[test]
fn a_confirmed_order_gets_its_expired_reservation_back_while_there_is_stock() {
    let mut kit = kit();
    kit.event(requested(order(1), &[line(1, 4)]));
    kit.advance(minutes(15));
    kit.fire_due_timers();
    let turn = kit.event(confirmed(order(1), &[line(1, 4)]));
    assert!(turn.published::<InventoryReservationConfirmed>()[0].renewed);
    assert_eq!(status(&mut kit, 1), ReservationStatus::Committed);
    assert_eq!(numbers(&mut kit, 1), (10, 4));
}

#[test]
fn a_confirmed_order_whose_stock_went_to_others_is_told() {
    let mut kit = kit();
    kit.event(requested(order(1), &[line(1, 4)]));
    kit.advance(minutes(15));
    kit.fire_due_timers();
    kit.event(requested(order(2), &[line(1, 7)]));
    let turn = kit.event(confirmed(order(1), &[line(1, 4)]));
    let failed = &turn.published::<InventoryReservationFailed>()[0];
    assert_eq!(
        (failed.short[0].requested, failed.short[0].available),
        (4, 3)
    );
    assert_eq!(numbers(&mut kit, 1), (10, 7));
}

#[test]
fn an_old_timer_does_not_end_a_newer_reservation() {
    let mut kit = kit();
    let first = kit.event(requested(order(1), &[line(1, 4)]));
    let (_, old) = first.timers::<ReservationTimeUp>().remove(0);
    kit.advance(minutes(15));
    kit.fire_due_timers();
    kit.event(requested(order(1), &[line(1, 4)]));
    assert!(kit.timer(old).is_quiet());
    assert_eq!(status(&mut kit, 1), ReservationStatus::Active);
}

#[test]
fn dispatch_takes_the_reserved_goods_away_and_says_why() {
    let mut kit = kit();
    kit.event(requested(order(1), &[line(1, 4), line(2, 1)]));
    kit.event(confirmed(order(1), &[line(1, 4), line(2, 1)]));
    let turn = kit.event(dispatched(order(1), &[line(1, 4), line(2, 1)]));
    let adjusted: Vec<_> = turn
        .published::<StockAdjusted>()
        .iter()
        .map(|change| (change.delta, change.on_hand, change.reason))
        .collect();
    assert_eq!(
        adjusted,
        [
            (-4, 6, AdjustmentReason::Deducted),
            (-1, 2, AdjustmentReason::Deducted)
        ]
    );
    assert_eq!(turn.published::<StockDeducted>().len(), 1);
    assert_eq!(numbers(&mut kit, 1), (6, 0));
    let twice = kit.event(dispatched(order(1), &[line(1, 4), line(2, 1)]));
    assert!(twice.is_quiet());
}

#[test]
fn dispatch_known_before_its_confirmation_deducts_once() {
    let mut kit = kit();
    kit.event(requested(order(1), &[line(1, 4)]));
    kit.event(dispatched(order(1), &[line(1, 4)]));
    assert!(kit.event(confirmed(order(1), &[line(1, 4)])).is_quiet());
    assert_eq!(numbers(&mut kit, 1), (6, 0));
}

#[test]
fn an_unreserved_dispatch_never_takes_what_others_have_reserved() {
    let mut kit = kit();
    kit.event(requested(order(2), &[line(1, 8)]));
    let turn = kit.event(dispatched(order(1), &[line(1, 4)]));
    assert_eq!(turn.published::<StockAdjusted>()[0].delta, -2);
    assert_eq!(numbers(&mut kit, 1), (8, 8));
}

#[test]
fn a_release_after_dispatch_is_answered_and_frees_nothing() {
    let mut kit = kit();
    kit.event(requested(order(1), &[line(1, 4)]));
    kit.event(dispatched(order(1), &[line(1, 4)]));
    let turn = kit.event(released(order(1)));
    assert_eq!(turn.published::<StockReleased>()[0].lines, []);
    assert_eq!(status(&mut kit, 1), ReservationStatus::Deducted);
    assert_eq!(numbers(&mut kit, 1), (6, 0));
}

#[test]
fn only_what_can_be_sold_again_goes_back_on_the_shelf() {
    let mut kit = kit();
    let turn = kit.event(returned(
        order(1),
        &[(1, 2, true), (2, 1, false), (9, 1, true)],
    ));
    let back = turn.published::<StockAdjusted>();
    assert_eq!(back.len(), 1);
    assert_eq!(
        (back[0].delta, back[0].on_hand, back[0].reason),
        (2, 12, AdjustmentReason::Returned)
    );
}

#[test]
fn running_low_is_said_once_per_crossing() {
    let mut kit = kit();
    let alerts = |kit: &mut ServiceKit<Inventory>, n, quantity| {
        let turn = kit.event(requested(order(n), &[line(1, quantity)]));
        turn.published::<LowStockAlert>().len()
    };
    assert_eq!(alerts(&mut kit, 1, 7), 0);
    assert_eq!(alerts(&mut kit, 2, 1), 1);
    assert_eq!(alerts(&mut kit, 3, 1), 0, "already said");
    let low = kit
        .query(LowStock {
            page: Page::default(),
        })
        .unwrap();
    assert_eq!(low.items.len(), 1);
    kit.event(released(order(1)));
    assert_eq!(alerts(&mut kit, 4, 6), 1, "low again");
}

#[test]
fn adjusting_stock_keeps_reservations_whole_and_writes_the_ledger() {
    let mut kit = kit();
    kit.event(requested(order(1), &[line(1, 4)]));
    let adjust = |delta, reason| AdjustStock {
        product_id: product(1),
        delta,
        reason,
    };
    let short = kit.command(adjust(-7, AdjustmentReason::Damaged));
    assert_eq!(short.rejection().code, "stock_reserved");
    let turn = kit.command(adjust(-6, AdjustmentReason::Damaged));
    assert_eq!((turn.reply().on_hand, turn.reply().available), (4, 0));
    assert_eq!(turn.published::<StockAdjusted>()[0].delta, -6);
    for (delta, reason, code) in [
        (0, AdjustmentReason::Corrected, "no_change"),
        (-1, AdjustmentReason::Received, "reason_does_not_fit"),
        (1, AdjustmentReason::Deducted, "reason_does_not_fit"),
        (i64::MAX, AdjustmentReason::Received, "too_many_units"),
    ] {
        assert_eq!(kit.command(adjust(delta, reason)).rejection().code, code);
    }
    let ledger: i64 = kit
        .rows(STOCK_LEDGER)
        .iter()
        .filter(|((of, _), _)| *of == product(1))
        .map(|(_, entry)| entry.delta)
        .sum();
    assert_eq!(ledger, 4);
}

#[test]
fn a_new_product_has_an_empty_stock_record_and_nobody_is_alerted() {
    let mut kit = ServiceKit::of(Inventory {
        reorder_level: 7,
        ..Inventory::default()
    });
    let turn = kit.event(created(1));
    assert!(turn.published_names().is_empty());
    assert!(turn.notifies(&product(1)));
    let shown = kit.query(StockOfProduct {
        product_id: product(1),
    });
    let shown = shown.unwrap();
    assert_eq!((shown.on_hand, shown.reserved, shown.available), (0, 0, 0));
    assert_eq!(
        (shown.sku.as_str(), shown.name.as_str(), shown.reorder_level),
        ("SKU-1", "Product 1", 7)
    );
    let page = Page::default();
    assert_eq!(kit.query(LowStock { page }).unwrap().items.len(), 1);
}

#[test]
fn a_product_that_is_created_twice_keeps_its_stock() {
    let mut kit = kit();
    assert!(kit.event(created(1)).is_quiet());
    assert_eq!(numbers(&mut kit, 1), (10, 0));
}

#[test]
fn a_product_that_is_renamed_is_renamed_here_and_keeps_its_stock() {
    let mut kit = kit();
    let renamed = |n: u128| ProductUpdated {
        product_id: product(n),
        name: "Renamed".into(),
        category_id: None,
        at: AT,
    };
    kit.event(renamed(1)).reply();
    assert_eq!(kit.get(STOCK, &product(1)).unwrap().name, "Renamed");
    assert_eq!(numbers(&mut kit, 1), (10, 0));
    // Nobody knows this one, so there is nothing to rename.
    assert!(kit.event(renamed(9)).is_quiet());
}

#[test]
fn a_reorder_level_that_is_raised_past_what_there_is_alerts_once() {
    let mut kit = kit();
    let alerts = |kit: &mut ServiceKit<Inventory>, n| {
        let turn = kit.command(level(1, n));
        turn.published::<LowStockAlert>().len()
    };
    assert_eq!(alerts(&mut kit, 9), 0);
    assert_eq!(alerts(&mut kit, 10), 1);
    assert_eq!(alerts(&mut kit, 11), 0);
    let code = |set: SetReorderLevel, kit: &mut ServiceKit<Inventory>| {
        kit.command(set).rejection().code.clone()
    };
    assert_eq!(code(level(9, 1), &mut kit), "no_such_product");
    assert_eq!(code(level(1, UNITS_MAX + 1), &mut kit), "too_many_units");
}

#[test]
fn queries_page_through_products_and_reservations() {
    let mut kit = kit();
    kit.event(requested(order(1), &[line(1, 1), line(2, 1)]));
    kit.event(requested(order(2), &[line(1, 2)]));
    let mut page = Page {
        limit: Some(1),
        cursor: None,
    };
    let first = kit.query(StockList { page: page.clone() }).unwrap();
    page.cursor = first.next_cursor;
    let second = kit.query(StockList { page: page.clone() }).unwrap();
    assert_eq!(first.items[0].product_id, product(1));
    assert_eq!(second.items[0].product_id, product(2));
    assert_eq!(second.next_cursor, None);
    let held = kit
        .query(ReservationsOfProduct {
            product_id: product(1),
            page: Page::default(),
        })
        .unwrap();
    let held: Vec<_> = held
        .items
        .iter()
        .map(|row| (row.order_id, row.quantity))
        .collect();
    assert_eq!(held, [(order(1), 1), (order(2), 2)]);
    let missing = kit.query(StockOfProduct {
        product_id: product(9),
    });
    assert_eq!(missing.unwrap_err().code, "no_such_product");
}

#[test]
fn ten_thousand_buyers_of_one_unit_end_in_one_reservation() {
    let mut kit = ServiceKit::of(Inventory::default());
    stock(&mut kit, 1, 1, 0);
    let won = (0..10_000)
        .filter(|n| {
            let turn = kit.event(requested(order(*n), &[line(1, 1)]));
            !turn.published::<InventoryReservationConfirmed>().is_empty()
        })
        .count();
    assert_eq!(won, 1);
    assert_eq!(numbers(&mut kit, 1), (1, 1));
}

/// What can happen to inventory.
#[derive(Debug, Clone)]
enum Act {
    Request(u128, Vec<(u128, u32)>),
    Release(u128),
    Confirm(u128, Vec<(u128, u32)>),
    Dispatch(u128, Vec<(u128, u32)>),
    Return(u128, u128, u32, bool),
    Adjust(u128, i64),
    Wait(u64),
}

fn acts() -> impl Strategy<Value = Act> {
    let lines = || prop::collection::vec((1..4u128, 0..6u32), 0..3);
    let orders = 1..6u128;
    prop_oneof![
        4 => (orders.clone(), lines()).prop_map(|(order, lines)| Act::Request(order, lines)),
        2 => orders.clone().prop_map(Act::Release),
        2 => (orders.clone(), lines()).prop_map(|(order, lines)| Act::Confirm(order, lines)),
        2 => (orders.clone(), lines()).prop_map(|(order, lines)| Act::Dispatch(order, lines)),
        1 => (orders, 1..5u128, 0..4u32, any::<bool>())
            .prop_map(|(order, product, quantity, restock)| Act::Return(order, product, quantity, restock)),
        2 => (1..5u128, -8..8i64).prop_map(|(product, delta)| Act::Adjust(product, delta)),
        1 => (1..20u64).prop_map(Act::Wait),
    ]
}

/// Method: whatever is sent in whatever order, the books are balanced after every turn: on-hand
/// is what the published changes add up to, reserved is what reservations hold.
fn check(acts: Vec<Act>) {
    let mut kit = kit();
    stock(&mut kit, 3, 5, 4);
    let mut on_hand: BTreeMap<ProductId, i64> =
        [(product(1), 10), (product(2), 3), (product(3), 5)].into();
    let lines = |lines: Vec<(u128, u32)>| -> Vec<Units> {
        lines
            .into_iter()
            .map(|(n, quantity)| line(n, quantity))
            .collect()
    };
    for act in acts {
        let mut turns = match act {
            Act::Request(n, of) => vec![kit.event(requested(order(n), &lines(of)))],
            Act::Release(n) => vec![kit.event(released(order(n)))],
            Act::Confirm(n, of) => vec![kit.event(confirmed(order(n), &lines(of)))],
            Act::Dispatch(n, of) => vec![kit.event(dispatched(order(n), &lines(of)))],
            Act::Return(n, of, quantity, restock) => {
                vec![kit.event(returned(order(n), &[(of, quantity, restock)]))]
            }
            Act::Adjust(n, delta) => {
                let turn = kit.command(AdjustStock {
                    product_id: product(n),
                    delta,
                    reason: AdjustmentReason::Corrected,
                });
                for change in turn.published::<StockAdjusted>() {
                    *on_hand.get_mut(&change.product_id).unwrap() += change.delta;
                }
                Vec::new()
            }
            Act::Wait(m) => {
                kit.advance(minutes(m));
                Vec::new()
            }
        };
        turns.extend(kit.fire_due_timers());
        for turn in turns {
            for change in turn.published::<StockAdjusted>() {
                let sum = on_hand.get_mut(&change.product_id).unwrap();
                *sum += change.delta;
                assert_eq!(i64::try_from(change.on_hand).unwrap(), *sum);
            }
        }
        let mut held: BTreeMap<ProductId, u64> = BTreeMap::new();
        for (of, reservation) in kit.rows(RESERVATIONS) {
            for units in &reservation.lines {
                if reservation.holds() {
                    *held.entry(units.product_id).or_default() += u64::from(units.quantity);
                    let row = (units.product_id, of);
                    assert_eq!(kit.get(RESERVED_OF_PRODUCT, &row), Some(units.quantity));
                }
            }
        }
        for (product, stock) in kit.rows(STOCK) {
            assert!(stock.reserved <= stock.on_hand);
            assert_eq!(stock.reserved, held.get(&product).copied().unwrap_or(0));
            assert_eq!(i64::try_from(stock.on_hand).unwrap(), on_hand[&product]);
            assert_eq!(stock.low, stock.available() <= stock.reorder_level);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn stock_is_conserved_whatever_is_sent(acts in prop::collection::vec(acts(), 1..60)) {
        check(acts);
    }
}
