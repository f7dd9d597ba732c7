//! Golden bytes: what orders, payments, stock and parcels have stored and sent stays readable.
//!
//! One sample of every message, timer, activity, row and saga course of four services is compared
//! with the bytes in `golden/stored.txt` and read back from them. Data directories out there hold
//! these bytes; a change that moves one of them needs a new version, not a new line.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Debug;

use commerce::ids::{OrderId, PaymentId, ProductId, RefundId, ShipmentId, UserId};
use commerce::inventory::stock::Stock;
use commerce::inventory::tables as stock_tables;
use commerce::inventory::{
    AdjustmentReason, InventoryReservationConfirmed, InventoryReservationExpired,
    InventoryReservationFailed, LowStockAlert, ReleaseCause, ReservationFailure,
    ReservationForgotten, ReservationStatus, ReservationTimeUp, Shortfall, StockAdjusted,
    StockDeducted, StockReleased, Units,
};
use commerce::money::{Currency, Money};
use commerce::order::cart::{Cart, CartLine};
use commerce::order::deletion::DeletionGoesOn;
use commerce::order::fulfilment::{Course, Parcel};
use commerce::order::requests::TimelineEntry;
use commerce::order::tables as order_tables;
use commerce::order::take_back::RefundDue;
use commerce::order::{
    Deadlines, InventoryReservationReleased, InventoryReservationRequested, OrderCancelled,
    OrderConfirmed, OrderCreated, OrderDelivered, OrderLine, OrderShipped, OrderStatus,
    PaymentRefundRequested, PaymentRequested, ProductAddedToCart, ProductPurchased,
    ShipmentCancellationRequested,
};
use commerce::page::{from_hex, to_hex};
use commerce::payment::activities::{Authorise, CaptureHeld, LookUp, PayBack, VoidHeld};
use commerce::payment::key::{Operation, OperationKey};
use commerce::payment::record::{
    Attempt, Capture, Failure, Hold, PaymentRecord, Refund, RefundState, Try, Undo, UndoProgress,
};
use commerce::payment::service::{AskProviderAgain, UndoneOrderForgotten, WebhookForgotten};
use commerce::payment::tables as payment_tables;
use commerce::payment::{
    CapturePayment, FailureKind, MethodKind, PaymentCaptureFailed, PaymentCompleted,
    PaymentConfirmed, PaymentFailed, PaymentRefundFailed, PaymentRefunded, RefundKind,
    SealedMethod,
};
use commerce::privacy::Sealed;
use commerce::shipping::carrier::AnnounceParcel;
use commerce::shipping::orders::ParcelOfOrderForgotten;
use commerce::shipping::tables as shipping_tables;
use commerce::shipping::{
    HistoryEntry, ReturnedItem, ShipmentCancellationRefused, ShipmentCancelled, ShipmentCreated,
    ShipmentDelivered, ShipmentDeliveryFailed, ShipmentDispatched, ShipmentReturned,
    ShipmentStatus, ShipmentTrackingUpdated,
};
use redeliver::codec::{self, Subject};
use redeliver::{Message, Saga, Table, TableKey, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

const ORDER: OrderId = OrderId(Uuid::from_u128(1));
const USER: UserId = UserId(Uuid::from_u128(2));
const MUG: ProductId = ProductId(Uuid::from_u128(3));
const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(4));
const PARCEL: ShipmentId = ShipmentId(Uuid::from_u128(5));
const REFUND: RefundId = RefundId(Uuid::from_u128(6));
const AT: Timestamp = Timestamp(1_767_268_800_000_000);
const LATER: Timestamp = Timestamp(1_767_268_900_000_000);

fn eur(amount: i64) -> Money {
    Money::new(amount, Currency::EUR)
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn units() -> Vec<Units> {
    vec![Units {
        product_id: MUG,
        quantity: 2,
    }]
}

fn lines() -> Vec<OrderLine> {
    vec![OrderLine {
        product_id: MUG,
        sku: text("MUG"),
        name: text("mug"),
        quantity: 2,
        unit_price: eur(999),
    }]
}

/// What some keyring might have sealed; no keyring has to make the same again.
fn sealed<T>(byte: u8) -> Sealed<T> {
    let parts = (USER, [byte; 24], vec![byte; 4]);
    let bytes = codec::seal(Subject::message("sealed"), 1, &parts).unwrap();
    codec::open(Subject::message("sealed"), 1, &bytes, codec::no_older).unwrap()
}

fn method() -> SealedMethod {
    SealedMethod {
        kind: MethodKind::Card,
        token: sealed(7),
    }
}

struct Golden {
    stored: BTreeMap<&'static str, &'static str>,
    moved: Vec<String>,
}

impl Golden {
    fn read() -> Golden {
        let lines = include_str!("golden/stored.txt").lines();
        let stored = lines.map(|line| line.rsplit_once(' ').unwrap());
        Golden {
            stored: stored.collect(),
            moved: Vec::new(),
        }
    }

    fn check<T>(&mut self, name: &str, subject: Subject<'_>, version: u16, value: &T)
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug,
    {
        let name = format!("{name} {version}");
        let hex = to_hex(&codec::seal(subject, version, value).unwrap());
        match self.stored.remove(name.as_str()) {
            Some(golden) if golden == hex => {
                let bytes = from_hex(golden).unwrap();
                let read: T = codec::open(subject, version, &bytes, codec::no_older).unwrap();
                assert_eq!(read, *value, "{name}");
            }
            Some(_) | None => self.moved.push(format!("{name} {hex}")),
        }
    }

    fn message<M: Message + PartialEq + Debug>(&mut self, value: &M) {
        let name = format!("message {}", M::NAME);
        self.check(&name, Subject::message(M::NAME), M::VERSION, value);
    }

    fn activity<T>(&mut self, name: &str, value: &T)
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug,
    {
        self.check(
            &format!("activity {name}"),
            Subject::message(name),
            1,
            value,
        );
    }

    fn row<K: TableKey, V>(&mut self, table: Table<K, V>, key: &K, value: &V)
    where
        V: Serialize + DeserializeOwned + PartialEq + Debug,
    {
        let (name, key) = (format!("row {}", table.name()), key.to_bytes());
        self.check(&name, Subject::row(table.name(), &key), 1, value);
    }

    fn end(self) {
        assert!(
            self.moved.is_empty(),
            "the stored form of these changed or is new. What is stored already must stay \
             readable: give the type a new version and a function that reads the old one \
             (`Message::VERSION` and `upgrade`, `Table::version`), keep the old line in a test of \
             that function, and put these lines into golden/stored.txt:\n{}",
            self.moved.join("\n")
        );
        assert!(
            self.stored.is_empty(),
            "nobody checks these any more: {:?}; a name that went needs `FORMERLY` or `retired`",
            self.stored.keys()
        );
    }
}

#[test]
fn what_was_stored_stays_readable() {
    let mut golden = Golden::read();
    orders(&mut golden);
    payments(&mut golden);
    stock(&mut golden);
    parcels(&mut golden);
    golden.end();
}

fn orders(golden: &mut Golden) {
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
    let price = order_tables::Price {
        sku: text("MUG"),
        name: text("mug"),
        price: eur(999),
        published: true,
    };
    golden.row(order_tables::PRICES, &MUG, &price);
}

fn payments(golden: &mut Golden) {
    let (order_id, customer_id, payment_id, at) = (ORDER, USER, PAYMENT, AT);
    golden.message(&PaymentConfirmed {
        order_id,
        payment_id,
        customer_id,
        attempt: 1,
        authorised: eur(1_998),
        at,
    });
    golden.message(&PaymentFailed {
        order_id,
        payment_id: Some(payment_id),
        customer_id,
        attempt: 1,
        kind: FailureKind::Soft,
        reason: text("why"),
        at,
    });
    golden.message(&PaymentCompleted {
        order_id,
        payment_id,
        customer_id,
        captured: eur(1_998),
        at,
    });
    golden.message(&PaymentCaptureFailed {
        order_id,
        payment_id: Some(payment_id),
        reason: text("why"),
        at,
    });
    golden.message(&PaymentRefunded {
        order_id,
        payment_id: Some(payment_id),
        customer_id,
        refund_id: REFUND,
        kind: RefundKind::Refunded,
        amount: eur(5),
        at,
    });
    golden.message(&PaymentRefundFailed {
        order_id,
        payment_id,
        refund_id: REFUND,
        reason: text("why"),
        at,
    });
    golden.message(&CapturePayment { order_id });
    let key = |operation| OperationKey {
        order: order_id,
        operation,
    };
    let refund = Operation::Refund {
        refund: REFUND,
        n: 2,
    };
    golden.message(&AskProviderAgain {
        payment_id,
        key: key(refund),
    });
    golden.message(&UndoneOrderForgotten { order_id });
    golden.message(&WebhookForgotten { id: text("evt_1") });
    golden.activity(
        "authorise-payment",
        &Authorise {
            payment_id,
            key: key(Operation::Authorise { attempt: 1 }),
            amount: eur(1_998),
            token: sealed(7),
        },
    );
    let (amount, authorisation) = (eur(1_998), text("auth_1"));
    golden.activity(
        "capture-payment",
        &CaptureHeld {
            payment_id,
            key: key(Operation::Capture { attempt: 1, n: 1 }),
            amount,
            authorisation: authorisation.clone(),
        },
    );
    golden.activity(
        "void-payment",
        &VoidHeld {
            payment_id,
            key: key(Operation::Void { attempt: 1, n: 1 }),
            amount,
            authorisation: authorisation.clone(),
        },
    );
    golden.activity(
        "refund-payment",
        &PayBack {
            payment_id,
            key: key(refund),
            amount,
            authorisation,
        },
    );
    let asked = LookUp {
        payment_id,
        key: key(refund),
    };
    golden.activity("look-up-payment", &asked);
    let record = PaymentRecord {
        order_id,
        customer_id,
        currency: Currency::EUR,
        attempts: vec![Attempt {
            number: 1,
            amount: 1_998,
            hold: Hold::Held,
            voids: 1,
            reference: Some(text("auth_1")),
            failure: Some(Failure {
                kind: FailureKind::Soft,
                reason: text("why"),
            }),
        }],
        capture: Capture::Refused(Try { attempt: 1, n: 2 }, text("why")),
        refunds: vec![Refund {
            id: REFUND,
            n: 1,
            amount: 5,
            reason: Some(text("goodwill")),
            state: RefundState::Paid,
            reported: true,
        }],
        undo: Some(Undo {
            refund_id: REFUND,
            progress: UndoProgress::Failed,
        }),
        created_at: at,
        updated_at: LATER,
    };
    golden.row(payment_tables::PAYMENTS, &payment_id, &record);
    golden.row(payment_tables::PAYMENTS_BY_ORDER, &order_id, &payment_id);
    let undone = payment_tables::UndoneOrder { customer_id, at };
    golden.row(payment_tables::UNDONE_ORDERS, &order_id, &undone);
    golden.row(payment_tables::WEBHOOKS_SEEN, &text("evt_1"), &at);
}

fn stock(golden: &mut Golden) {
    let (order_id, product_id, at) = (ORDER, MUG, AT);
    golden.message(&InventoryReservationConfirmed {
        order_id,
        lines: units(),
        expires_at: Some(LATER),
        renewed: true,
        at,
    });
    golden.message(&InventoryReservationFailed {
        order_id,
        reason: ReservationFailure::Short,
        short: vec![Shortfall {
            product_id,
            requested: 2,
            available: 1,
        }],
        at,
    });
    golden.message(&InventoryReservationExpired {
        order_id,
        lines: units(),
        at,
    });
    golden.message(&StockAdjusted {
        product_id,
        delta: -2,
        on_hand: 8,
        available: 7,
        reason: AdjustmentReason::Deducted,
        order_id: Some(order_id),
        at,
    });
    golden.message(&StockDeducted {
        order_id,
        lines: units(),
        at,
    });
    golden.message(&StockReleased {
        order_id,
        lines: units(),
        cause: ReleaseCause::Expired,
        at,
    });
    golden.message(&LowStockAlert {
        product_id,
        sku: text("MUG"),
        name: text("mug"),
        available: 3,
        reorder_level: 10,
        at,
    });
    golden.message(&ReservationTimeUp {
        order_id,
        expires_at: LATER,
    });
    golden.message(&ReservationForgotten { order_id });
    let mugs = Stock {
        sku: text("MUG"),
        name: text("mug"),
        on_hand: 8,
        reserved: 1,
        reorder_level: 10,
        low: true,
        changes: 4,
    };
    golden.row(stock_tables::STOCK, &product_id, &mugs);
    let reservation = stock_tables::Reservation {
        lines: units(),
        status: ReservationStatus::Committed,
        given_up: true,
        expires_at: Some(LATER),
        timer: None,
        updated_at: at,
    };
    golden.row(stock_tables::RESERVATIONS, &order_id, &reservation);
    golden.row(
        stock_tables::RESERVED_OF_PRODUCT,
        &(product_id, order_id),
        &2,
    );
    let entry = stock_tables::LedgerEntry {
        delta: -2,
        on_hand: 8,
        reason: AdjustmentReason::Damaged,
        order_id: Some(order_id),
        at,
    };
    golden.row(stock_tables::STOCK_LEDGER, &(product_id, 4), &entry);
}

fn parcels(golden: &mut Golden) {
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
