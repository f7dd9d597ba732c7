//! Parcels and their history.

use commerce::shipping::carrier::AnnounceParcel;
use commerce::shipping::orders::ParcelOfOrderForgotten;
use commerce::shipping::tables as shipping_tables;
use commerce::shipping::{
    HistoryEntry, ReturnedItem, ShipmentCancellationRefused, ShipmentCancelled, ShipmentCreated,
    ShipmentDelivered, ShipmentDeliveryFailed, ShipmentDispatched, ShipmentReturned,
    ShipmentStatus, ShipmentTrackingUpdated,
};

use super::{AT, Golden, LATER, MUG, ORDER, PARCEL, USER, sealed, text, units};

pub(super) fn samples(golden: &mut Golden) {
    let (order_id, shipment_id, customer_id, at) = (ORDER, PARCEL, USER, AT);
    golden.message(&ShipmentCreated {
        order_id,
        shipment_id,
        customer_id,
        at,
    });
    golden.message(&ShipmentDispatched {
        order_id,
        shipment_id,
        customer_id,
        carrier: text("post"),
        tracking_number: text("T1"),
        lines: units(),
        at,
    });
    golden.message(&ShipmentTrackingUpdated {
        order_id,
        shipment_id,
        customer_id,
        status: ShipmentStatus::OutForDelivery,
        location: Some(text("Town")),
        description: Some(text("seen")),
        at,
    });
    golden.message(&ShipmentDelivered {
        order_id,
        shipment_id,
        customer_id,
        at,
    });
    golden.message(&ShipmentDeliveryFailed {
        order_id,
        shipment_id,
        customer_id,
        attempt: 3,
        reason: text("why"),
        going_back: true,
        at,
    });
    golden.message(&ShipmentCancelled {
        order_id,
        shipment_id: Some(shipment_id),
        reason: text("why"),
        at,
    });
    golden.message(&ShipmentCancellationRefused {
        order_id,
        shipment_id,
        status: ShipmentStatus::Dispatched,
        at,
    });
    golden.message(&ShipmentReturned {
        order_id,
        shipment_id,
        customer_id,
        items: vec![ReturnedItem {
            product_id: MUG,
            quantity: 2,
            restock: true,
        }],
        at,
    });
    golden.message(&ParcelOfOrderForgotten { order_id });
    golden.activity(
        "announce-parcel",
        &AnnounceParcel {
            shipment_id,
            tracking_number: text("T1"),
            to: sealed(8),
            dispatched_at: at,
        },
    );
    let shipment = shipping_tables::Shipment {
        order_id,
        customer_id,
        lines: units(),
        ship_to: sealed(8),
        status: ShipmentStatus::InTransit,
        carrier: Some(text("post")),
        tracking_number: Some(text("T1")),
        estimated_delivery: Some(LATER),
        delivery_failures: 1,
        delivered_at: Some(LATER),
        history: 3,
        created_at: at,
        updated_at: LATER,
    };
    golden.row(shipping_tables::SHIPMENTS, &shipment_id, &shipment);
    let parcel = shipping_tables::ParcelOfOrder::None {
        at,
        reason: text("why"),
    };
    golden.row(shipping_tables::SHIPMENTS_BY_ORDER, &order_id, &parcel);
    let entry = HistoryEntry {
        at,
        status: ShipmentStatus::Delivered,
        location: Some(text("Town")),
        description: Some(text("left at the door")),
    };
    golden.row(shipping_tables::SHIPMENT_HISTORY, &(shipment_id, 0), &entry);
}
