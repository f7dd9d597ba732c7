//! Orders, carts, the price list and the fulfilment.

use commerce::money::Currency;
use commerce::order::cart::{Cart, CartLine};
use commerce::order::deletion::DeletionGoesOn;
use commerce::order::fulfilment::{Course, Parcel};
use commerce::order::requests::TimelineEntry;
use commerce::order::tables as order_tables;
use commerce::order::take_back::RefundDue;
use commerce::order::{
    Address, Deadlines, InventoryReservationReleased, InventoryReservationRequested,
    OrderCancelled, OrderConfirmed, OrderCreated, OrderDelivered, OrderShipped, OrderStatus,
    PaymentRefundRequested, PaymentRequested, ProductAddedToCart, ProductPurchased,
    ShipmentCancellationRequested,
};
use redeliver::Saga;
use redeliver::codec::Subject;
use uuid::Uuid;

use super::{
    AT, Golden, MUG, ORDER, PARCEL, PAYMENT, REFUND, USER, eur, lines, method, sealed, text, units,
};

pub(super) fn samples(golden: &mut Golden) {
    let (order_id, customer_id, at) = (ORDER, USER, AT);
    golden.message(&OrderCreated {
        order_id,
        customer_id,
        lines: lines(),
        total: eur(1_998),
        at,
    });
    golden.message(&OrderConfirmed {
        order_id,
        customer_id,
        lines: units(),
        total: eur(1_998),
        payment_id: PAYMENT,
        ship_to: sealed(8),
        at,
    });
    golden.message(&OrderCancelled {
        order_id,
        customer_id,
        reason: text("why"),
        total: eur(1_998),
        at,
    });
    golden.message(&OrderShipped {
        order_id,
        customer_id,
        shipment_id: PARCEL,
        carrier: text("post"),
        tracking_number: text("T1"),
        at,
    });
    golden.message(&OrderDelivered {
        order_id,
        customer_id,
        shipment_id: PARCEL,
        at,
    });
    golden.message(&ProductAddedToCart {
        customer_id,
        product_id: MUG,
        quantity: 2,
        at,
    });
    golden.message(&ProductPurchased {
        order_id,
        customer_id,
        product_id: MUG,
        name: text("mug"),
        quantity: 2,
        unit_price: eur(999),
        at,
    });
    golden.message(&InventoryReservationRequested {
        order_id,
        lines: units(),
        at,
    });
    golden.message(&InventoryReservationReleased {
        order_id,
        reason: text("why"),
        at,
    });
    golden.message(&PaymentRequested {
        order_id,
        customer_id,
        attempt: 2,
        amount: eur(1_998),
        method: method(),
        at,
    });
    golden.message(&PaymentRefundRequested {
        order_id,
        customer_id,
        refund_id: REFUND,
        amount: Some(eur(5)),
        currency: Currency::EUR,
        reason: text("why"),
        at,
    });
    golden.message(&ShipmentCancellationRequested {
        order_id,
        reason: text("why"),
        at,
    });
    golden.message(&RefundDue {
        order_id,
        sends: 2,
        since: at,
    });
    golden.message(&DeletionGoesOn {
        customer_id,
        after: order_id,
    });
    golden.personal(&Address {
        recipient: text("Ada Lovelace"),
        line1: text("Street 1"),
        line2: Some(text("back")),
        city: text("London"),
        region: Some(text("Kent")),
        postal_code: text("SE1"),
        country: text("GB"),
    });
    let course = Course {
        customer_id,
        lines: lines(),
        total: eur(1_998),
        ship_to: sealed(8),
        method: method(),
        deadlines: Deadlines::default(),
        payment_id: Some(PAYMENT),
        parcel: Some(Parcel {
            shipment_id: PARCEL,
            carrier: text("post"),
            tracking_number: text("T1"),
            at,
        }),
        returned: true,
    };
    let name = commerce::order::Fulfilment::NAME;
    golden.check("course fulfilment", Subject::message(name), 1, &course);
    let mut order = order_tables::Order::new(customer_id, at);
    order.payment_id = Some(PAYMENT);
    order.payment_failure = Some(text("card_declined"));
    order.shipment_id = Some(PARCEL);
    order.cancel_reason = Some(text("why"));
    order.reviews.capture = Some(text("capture_failed"));
    order.take_back = Some(order_tables::TakeBack {
        purpose: order_tables::TakeBackFor::WriteOff,
        sends: 3,
        since: at,
        settled: false,
    });
    order.progress = OrderStatus::Shipped;
    (order.entries, order.version) = (4, 5);
    golden.row(order_tables::ORDERS, &order_id, &order);
    let facts = order_tables::OrderFacts {
        lines: lines(),
        total: eur(1_998),
        ship_to: sealed(8),
    };
    golden.row(order_tables::ORDER_FACTS, &order_id, &facts);
    let entry = order_tables::Entry {
        shown: TimelineEntry {
            at,
            service: text("order"),
            message: text("place-order"),
            from: Some(OrderStatus::Pending),
            to: OrderStatus::Reserved,
            detail: Some(text("why")),
        },
        turn: Uuid::from_u128(9),
    };
    golden.row(order_tables::TIMELINE, &(order_id, 1), &entry);
    let cart = Cart {
        lines: vec![CartLine {
            product_id: MUG,
            quantity: 2,
        }],
        version: 3,
    };
    golden.row(order_tables::CARTS, &customer_id, &cart);
    golden.row(order_tables::DELETED_CUSTOMERS, &customer_id, &at);
    let price = order_tables::Price {
        sku: text("MUG"),
        name: text("mug"),
        price: eur(999),
        published: true,
    };
    golden.row(order_tables::PRICES, &MUG, &price);
}
