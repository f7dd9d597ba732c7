//! Each handler: given a parcel, when a message comes, then parcel and messages.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use redeliver::testing::ServiceKit;
use redeliver::{Outcome, Timestamp, days};
use uuid::Uuid;

use super::carrier::{AnnounceParcel, Announced};
use super::tables::{ParcelOfOrder, SHIPMENTS, SHIPMENTS_BY_ORDER};
use super::*;
use crate::ids::{OrderId, PaymentId, ProductId, ShipmentId, UserId};
use crate::inventory::Units;
use crate::money::{Currency, Money};
use crate::order::{Address, OrderCancelled, OrderConfirmed, ShipmentCancellationRequested};
use crate::page::Page;
use crate::privacy::Keyring;

type Kit = ServiceKit<Shipping>;

const AT: Timestamp = Timestamp(1_767_268_800_000_000);

fn order(n: u128) -> OrderId {
    OrderId(Uuid::from_u128(n))
}

fn product(n: u128) -> ProductId {
    ProductId(Uuid::from_u128(100 + n))
}

fn customer() -> UserId {
    UserId(Uuid::from_u128(7))
}

/// The same keys and nonces every time.
fn keyring() -> Keyring {
    let keyring = Keyring::in_memory(1);
    keyring.create(customer()).unwrap();
    keyring
}

fn address() -> Address {
    Address {
        recipient: "Ada".into(),
        line1: "Street 1".into(),
        line2: None,
        city: "Town".into(),
        region: None,
        postal_code: "12345".into(),
        country: "DE".into(),
    }
}

fn confirmed(n: u128) -> OrderConfirmed {
    OrderConfirmed {
        order_id: order(n),
        customer_id: customer(),
        lines: vec![
            Units {
                product_id: product(1),
                quantity: 2,
            },
            Units {
                product_id: product(2),
                quantity: 1,
            },
        ],
        total: Money::new(100, Currency::EUR),
        payment_id: PaymentId(Uuid::from_u128(8)),
        ship_to: keyring().seal(customer(), &address()).unwrap(),
        at: AT,
    }
}

fn cancelled(n: u128) -> OrderCancelled {
    OrderCancelled {
        order_id: order(n),
        customer_id: customer(),
        reason: "customer".into(),
        total: Money::new(100, Currency::EUR),
        at: AT,
    }
}

fn to_be_cancelled(n: u128) -> ShipmentCancellationRequested {
    ShipmentCancellationRequested {
        order_id: order(n),
        reason: "customer".into(),
        at: AT,
    }
}

fn kit() -> Kit {
    ServiceKit::of(Shipping::new(Arc::new(SimulatedCarrier), keyring()))
}

/// A kit with a parcel for order 1.
fn with_parcel() -> (Kit, ShipmentId) {
    let mut kit = kit();
    kit.event(confirmed(1));
    let id = parcel(&mut kit, 1);
    (kit, id)
}

/// A kit with a parcel for order 1 that has left.
fn under_way() -> (Kit, ShipmentId) {
    let (mut kit, id) = with_parcel();
    kit.command(dispatch(id, None)).reply();
    (kit, id)
}

fn parcel(kit: &mut Kit, n: u128) -> ShipmentId {
    match kit.get(SHIPMENTS_BY_ORDER, &order(n)) {
        Some(ParcelOfOrder::Parcel(id)) => id,
        other => panic!("order {n} has no parcel but {other:?}"),
    }
}

fn dispatch(id: ShipmentId, tracking_number: Option<&str>) -> Dispatch {
    Dispatch {
        shipment_id: id,
        carrier: None,
        tracking_number: tracking_number.map(str::to_owned),
    }
}

fn missed(id: ShipmentId) -> RecordDeliveryAttempt {
    RecordDeliveryAttempt {
        shipment_id: id,
        reason: "nobody home".into(),
    }
}

fn back(id: ShipmentId, items: &[(u128, u32)]) -> ReturnShipment {
    ReturnShipment {
        shipment_id: id,
        items: items
            .iter()
            .map(|(n, quantity)| ReturnedItem {
                product_id: product(*n),
                quantity: *quantity,
                restock: true,
            })
            .collect(),
    }
}

fn status(kit: &mut Kit, id: ShipmentId) -> ShipmentStatus {
    kit.get(SHIPMENTS, &id).unwrap().status
}

// OrderConfirmed.

#[test]
fn a_confirmed_order_gets_one_parcel() {
    let mut kit = kit();
    let turn = kit.event(confirmed(1));
    let created = &turn.published::<ShipmentCreated>()[0];
    assert_eq!(created.order_id, order(1));
    let shown = kit.query(ShipmentOfOrder { order_id: order(1) }).unwrap();
    assert_eq!(
        (shown.id, shown.status, shown.items.len()),
        (created.shipment_id, ShipmentStatus::Pending, 2)
    );
    assert_eq!(shown.history.len(), 1);
}

#[test]
fn a_confirmation_that_comes_twice_makes_no_second_parcel() {
    let (mut kit, _) = with_parcel();
    assert!(kit.event(confirmed(1)).is_quiet());
    assert_eq!(kit.rows(SHIPMENTS).len(), 1);
}

#[test]
fn a_confirmation_after_its_cancellation_makes_no_parcel() {
    let mut kit = kit();
    assert!(kit.event(cancelled(1)).published_names().is_empty());
    assert!(kit.event(confirmed(1)).is_quiet());
    assert!(kit.rows(SHIPMENTS).is_empty());
    kit.advance(days(30));
    kit.fire_due_timers();
    assert!(kit.rows(SHIPMENTS_BY_ORDER).is_empty(), "forgotten in time");
}

// OrderCancelled.

#[test]
fn a_cancelled_order_closes_its_waiting_parcel() {
    let (mut kit, id) = with_parcel();
    let turn = kit.event(cancelled(1));
    assert_eq!(turn.published_names(), ["shipment-cancelled"]);
    assert_eq!(status(&mut kit, id), ShipmentStatus::Cancelled);
    let late = kit.command(dispatch(id, None));
    assert_eq!(late.rejection().code, "shipment_over");
}

#[test]
fn a_cancelled_order_whose_parcel_was_cancelled_before_says_nothing_again() {
    let (mut kit, _) = with_parcel();
    kit.event(to_be_cancelled(1));
    assert!(kit.event(cancelled(1)).is_quiet());
}

#[test]
fn a_parcel_that_has_left_goes_on_though_its_order_is_cancelled() {
    let (mut kit, id) = under_way();
    assert!(kit.event(cancelled(1)).is_quiet());
    assert_eq!(status(&mut kit, id), ShipmentStatus::Dispatched);
}

// ShipmentCancellationRequested.

#[test]
fn a_waiting_parcel_is_cancelled_on_request_and_every_request_is_answered() {
    let (mut kit, id) = with_parcel();
    for _ in 0..2 {
        let turn = kit.event(to_be_cancelled(1));
        let answer = &turn.published::<ShipmentCancelled>()[0];
        assert_eq!(answer.shipment_id, Some(id));
    }
}

#[test]
fn a_parcel_that_has_left_refuses_its_cancellation() {
    let (mut kit, id) = under_way();
    let turn = kit.event(to_be_cancelled(1));
    let refused = &turn.published::<ShipmentCancellationRefused>()[0];
    assert_eq!(
        (refused.shipment_id, refused.status),
        (id, ShipmentStatus::Dispatched)
    );
    assert_eq!(turn.published_names().len(), 1);
}

#[test]
fn a_request_before_the_confirmation_is_granted_for_good() {
    let mut kit = kit();
    let turn = kit.event(to_be_cancelled(1));
    assert_eq!(turn.published::<ShipmentCancelled>()[0].shipment_id, None);
    assert!(kit.event(confirmed(1)).is_quiet());
}

// Dispatch.

#[test]
fn dispatch_gives_a_number_tells_the_carrier_and_says_what_left() {
    let (mut kit, id) = with_parcel();
    let turn = kit.command(dispatch(id, None));
    let left = &turn.published::<ShipmentDispatched>()[0];
    assert_eq!(left.lines.len(), 2);
    assert_eq!(left.carrier, "Simulated Parcel");
    let reply = turn.reply();
    assert_eq!(reply.status, ShipmentStatus::Dispatched);
    assert_eq!(reply.tracking_number.as_ref(), Some(&left.tracking_number));
    let told = turn.planned::<AnnounceParcel>().remove(0);
    assert_eq!(told.tracking_number, left.tracking_number);
    let arrival = kit.now().plus(days(3));
    kit.activity_result(
        told,
        Outcome::Done(Announced {
            estimated_delivery: arrival,
        }),
    );
    let shown = kit
        .query(ShipmentByTracking {
            tracking_number: left.tracking_number.clone(),
        })
        .unwrap();
    assert_eq!(shown.estimated_delivery, Some(arrival));
}

#[test]
fn a_number_that_a_person_gives_is_kept_and_unique() {
    let (mut kit, id) = with_parcel();
    kit.event(confirmed(2));
    let other = parcel(&mut kit, 2);
    let turn = kit.command(dispatch(id, Some(" T-1 ")));
    assert_eq!(turn.reply().tracking_number.as_deref(), Some("T-1"));
    assert!(
        turn.planned_names().is_empty(),
        "they have told the carrier"
    );
    let taken = kit.command(dispatch(other, Some("T-1")));
    assert_eq!(taken.rejection().code, "tracking_number_taken");
    assert_eq!(status(&mut kit, other), ShipmentStatus::Pending);
}

#[test]
fn a_parcel_leaves_once() {
    let (mut kit, id) = under_way();
    let again = kit.command(dispatch(id, None));
    assert_eq!(again.rejection().code, "already_dispatched");
    let nobody = ShipmentId(Uuid::from_u128(5));
    let missing = kit.command(dispatch(nobody, None));
    assert_eq!(missing.rejection().code, "no_such_shipment");
}

#[test]
fn a_parcel_that_the_carrier_was_not_told_of_shows_it() {
    let (mut kit, id) = under_way();
    let told = kit.pending::<AnnounceParcel>().remove(0);
    kit.activity_result(told, Outcome::Failed("unknown address".into()));
    let shown = kit.query(ShipmentById { shipment_id: id }).unwrap();
    let last = shown.history.last().unwrap();
    assert!(
        last.description
            .as_ref()
            .unwrap()
            .contains("unknown address")
    );
    assert_eq!(shown.status, ShipmentStatus::Dispatched);
}

// On the way.

#[test]
fn sightings_are_published_and_kept_in_order() {
    let (mut kit, id) = under_way();
    for (status, place) in [
        (TrackStatus::InTransit, "Hub"),
        (TrackStatus::OutForDelivery, "Town"),
    ] {
        let turn = kit.command(Track {
            shipment_id: id,
            status,
            location: Some(place.into()),
            description: Some("  ".into()),
        });
        let seen = &turn.published::<ShipmentTrackingUpdated>()[0];
        assert_eq!(seen.location.as_deref(), Some(place));
        assert_eq!(seen.description, None, "blank is nothing");
    }
    let shown = kit.query(ShipmentById { shipment_id: id }).unwrap();
    let places: Vec<_> = shown
        .history
        .iter()
        .filter_map(|entry| entry.location.as_deref())
        .collect();
    assert_eq!(places, ["Hub", "Town"]);
    let early = kit.command(Track {
        shipment_id: id,
        status: TrackStatus::InTransit,
        location: Some("x".repeat(501)),
        description: None,
    });
    assert_eq!(early.rejection().code, "text_too_long");
}

#[test]
fn three_failed_deliveries_send_the_whole_parcel_back() {
    let (mut kit, id) = under_way();
    for attempt in 1..=2 {
        let turn = kit.command(missed(id));
        let failed = &turn.published::<ShipmentDeliveryFailed>()[0];
        assert_eq!((failed.attempt, failed.going_back), (attempt, false));
        assert_eq!(turn.published_names().len(), 1);
    }
    let turn = kit.command(missed(id));
    assert!(turn.published::<ShipmentDeliveryFailed>()[0].going_back);
    let returned = &turn.published::<ShipmentReturned>()[0];
    let items: Vec<_> = returned
        .items
        .iter()
        .map(|item| (item.quantity, item.restock))
        .collect();
    assert_eq!(items, [(2, true), (1, true)]);
    assert_eq!(turn.reply().status, ShipmentStatus::Returned);
}

#[test]
fn a_delivered_parcel_comes_back_with_what_was_in_it_and_nothing_else() {
    let (mut kit, id) = under_way();
    let turn = kit.command(Deliver { shipment_id: id });
    assert_eq!(turn.published_names(), ["shipment-delivered"]);
    for items in [&[][..], &[(1, 3)], &[(1, 0)], &[(9, 1)], &[(1, 1), (1, 1)]] {
        let refused = kit.command(back(id, items));
        assert_eq!(refused.rejection().code, "invalid_items", "{items:?}");
    }
    let turn = kit.command(back(id, &[(1, 2)]));
    assert_eq!(turn.published::<ShipmentReturned>()[0].items.len(), 1);
    let again = kit.command(back(id, &[(1, 2)]));
    assert_eq!(again.rejection().code, "shipment_over");
}

#[test]
fn a_parcel_on_its_way_does_not_come_back_until_a_delivery_has_failed() {
    let (mut kit, id) = under_way();
    let early = kit.command(back(id, &[(1, 2)]));
    assert_eq!(early.rejection().code, "not_delivered");
    assert!(early.published_names().is_empty());
    assert_eq!(status(&mut kit, id), ShipmentStatus::Dispatched);
    kit.command(missed(id)).reply();
    let returned = kit.command(back(id, &[(1, 2)]));
    assert_eq!(returned.published_names(), ["shipment-returned"]);
    assert_eq!(status(&mut kit, id), ShipmentStatus::Returned);
}

#[test]
fn a_parcel_comes_back_within_thirty_days_of_its_delivery() {
    let (mut kit, id) = under_way();
    kit.advance(days(40));
    kit.command(Deliver { shipment_id: id }).reply();
    kit.advance(days(30) + std::time::Duration::from_secs(1));
    let late = kit.command(back(id, &[(1, 2)]));
    assert_eq!(late.rejection().code, "return_too_late");
}

#[test]
fn nothing_happens_to_a_parcel_that_has_not_left() {
    let (mut kit, id) = with_parcel();
    assert_eq!(kit.command(missed(id)).rejection().code, "not_dispatched");
    let deliver = kit.command(Deliver { shipment_id: id });
    assert_eq!(deliver.rejection().code, "not_dispatched");
    let returned = kit.command(back(id, &[(1, 1)]));
    assert_eq!(returned.rejection().code, "not_dispatched");
}

// Queries.

#[test]
fn waiting_parcels_are_listed_oldest_first_and_page_by_page() {
    let mut kit = kit();
    for n in 1..=3 {
        kit.event(confirmed(n));
        kit.advance(days(1));
    }
    let gone = parcel(&mut kit, 2);
    kit.command(dispatch(gone, None)).reply();
    let mut page = Page {
        limit: Some(1),
        cursor: None,
    };
    let first = kit.query(PendingShipments { page: page.clone() }).unwrap();
    page.cursor = first.next_cursor;
    let second = kit.query(PendingShipments { page }).unwrap();
    assert_eq!(first.items[0].order_id, order(1));
    assert_eq!(second.items[0].order_id, order(3));
    assert_eq!(second.next_cursor, None);
}

#[test]
fn a_parcel_is_delayed_from_its_promised_arrival_until_it_arrives() {
    let (mut kit, id) = under_way();
    let delayed = |kit: &mut Kit| {
        let page = Page::default();
        kit.query(DelayedShipments { page }).unwrap().items.len()
    };
    kit.advance(days(5));
    assert_eq!(delayed(&mut kit), 0);
    kit.advance(days(1));
    assert_eq!(delayed(&mut kit), 1);
    kit.command(Deliver { shipment_id: id }).reply();
    assert_eq!(delayed(&mut kit), 0);
}

#[test]
fn an_address_never_shows_in_debug_output() {
    assert!(!format!("{:?}", confirmed(1)).contains("Ada"));
}

#[test]
fn a_parcel_reads_in_json_as_the_contract_says() {
    let (mut kit, id) = with_parcel();
    let shown = kit.query(ShipmentById { shipment_id: id }).unwrap();
    let sealed = serde_json::to_value(&shown).unwrap();
    assert_eq!(sealed["shipping_address"], serde_json::Value::Null);
    let shown = shown.with_address(|sealed| keyring().open_sealed(&sealed).ok());
    let json = serde_json::to_value(&shown).unwrap();
    assert_eq!(json["shipping_address"]["recipient"], "Ada");
    assert_eq!(json["status"], "pending");
    assert_eq!(json["estimated_delivery"], serde_json::Value::Null);
    assert_eq!(json["history"][0]["at"], "2026-01-01T12:00:00.000000Z");
    assert_eq!(json["order_id"], order(1).to_string());
    let back: ShipmentView<Address> = serde_json::from_value(json).unwrap();
    assert_eq!(back, shown);
    let unknown = r#"{"shipment_id":"00000000-0000-0000-0000-000000000001","fast":true}"#;
    assert!(serde_json::from_str::<Dispatch>(unknown).is_err());
    let short = r#"{"shipment_id":"00000000-0000-0000-0000-000000000001"}"#;
    assert_eq!(
        serde_json::from_str::<Dispatch>(short).unwrap().carrier,
        None
    );
}
