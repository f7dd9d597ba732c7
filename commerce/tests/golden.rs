//! Golden bytes: what the services have stored and sent stays readable.
//!
//! One sample of every message, timer, activity, row, saga course, stored reply and kind of
//! personal data is compared with the bytes in `golden/stored.txt` and read back from them; of
//! what has several forms, one of each. Data directories out there hold these bytes; a change that
//! moves one of them needs a new version, not a new line.

#![allow(clippy::unwrap_used)]

#[path = "golden/analytics.rs"]
mod analytics;
#[path = "golden/catalog.rs"]
mod catalog;
#[path = "golden/identity.rs"]
mod identity;
#[path = "golden/inventory.rs"]
mod inventory;
#[path = "golden/notification.rs"]
mod notification;
#[path = "golden/order.rs"]
mod order;
#[path = "golden/payment.rs"]
mod payment;
#[path = "golden/replies.rs"]
mod replies;
#[path = "golden/shipping.rs"]
mod shipping;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use commerce::ids::{OrderId, PaymentId, ProductId, RefundId, ShipmentId, UserId};
use commerce::inventory::Units;
use commerce::money::{Currency, Money};
use commerce::order::OrderLine;
use commerce::page::{from_hex, to_hex};
use commerce::payment::{MethodKind, SealedMethod};
use commerce::privacy::{Personal, Sealed};
use redeliver::codec::{self, Subject};
use redeliver::{Command, Message, Table, TableKey, Timestamp};
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
    made_of(&(USER, [byte; 24], vec![byte; 4]))
}

/// What only its own service makes, from its parts.
fn made_of<P: Serialize, T: DeserializeOwned>(parts: &P) -> T {
    let bytes = codec::seal(Subject::message("parts"), 1, parts).unwrap();
    codec::open(Subject::message("parts"), 1, &bytes, codec::no_older).unwrap()
}

fn method() -> SealedMethod {
    SealedMethod {
        kind: MethodKind::Card,
        token: sealed(7),
    }
}

/// Tables whose rows are made from those of another.
const INDEXES: &[&str] = &[
    "users_by_email",
    "users_admins",
    "sessions_of_user",
    "sessions_by_end",
    "lockouts_by_end",
    "products_by_category",
    "products_by_status",
    "orders_by_customer",
    "orders_by_status",
    "orders_by_customer_and_status",
    "stock_low",
    "shipments_by_status",
    "shipments_by_tracking",
    "shipments_by_arrival",
    "days_with_revenue",
    "months_with_revenue",
    "sales_by_units",
    "sales_by_revenue",
    "templates_by_occasion",
    "notifications_by_recipient",
    "notifications_by_fact",
    "notifications_queued",
];

struct Golden {
    stored: BTreeMap<&'static str, &'static str>,
    moved: Vec<String>,
    seen: BTreeSet<String>,
}

impl Golden {
    fn read() -> Golden {
        let lines = include_str!("golden/stored.txt").lines();
        let stored = lines.map(|line| line.rsplit_once(' ').unwrap());
        Golden {
            stored: stored.collect(),
            moved: Vec::new(),
            seen: BTreeSet::new(),
        }
    }

    fn check<T>(&mut self, name: &str, subject: Subject<'_>, version: u16, value: &T)
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug,
    {
        self.seen.insert(name.to_owned());
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

    /// What a command was answered: kept for as long as its idempotency key.
    fn reply<C: Command>(&mut self, value: &C::Reply)
    where
        C::Reply: PartialEq + Debug,
    {
        let name = format!("reply {}", C::NAME);
        self.check(&name, Subject::message(C::NAME), 1, value);
    }

    /// What a seal hides.
    fn personal<T: Personal + PartialEq + Debug>(&mut self, value: &T) {
        let name = format!("personal {}", T::NAME);
        self.check(&name, Subject::message(T::NAME), T::VERSION, value);
    }

    /// Variants by their numbers, which is how they are stored.
    fn numbers<T>(&mut self, name: &str, all: Vec<T>)
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug,
    {
        let subject = Subject::message("numbers");
        self.check(&format!("numbers {name}"), subject, 1, &all);
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
        self.form_of_row(table, "", key, value);
    }

    /// One of several forms that rows of a table have.
    fn form_of_row<K: TableKey, V>(&mut self, table: Table<K, V>, form: &str, key: &K, value: &V)
    where
        V: Serialize + DeserializeOwned + PartialEq + Debug,
    {
        let name = format!("row {} {form}", table.name());
        let key = key.to_bytes();
        let subject = Subject::row(table.name(), &key);
        self.check(name.trim_end(), subject, 1, value);
    }

    /// Whether every table and everything that is published has a sample.
    fn covers_the_topology(&self) {
        let mut missing = Vec::new();
        for service in commerce::app::topology().unwrap().services {
            for table in &service.tables {
                let kept = [format!("row {table}"), format!("course {table}")];
                let form = format!("row {table} ");
                let has = kept.iter().any(|name| self.seen.contains(name))
                    || self.seen.iter().any(|name| name.starts_with(&form));
                // Rows of an index are their keys.
                if !has && !INDEXES.contains(&table.as_str()) {
                    missing.push(format!("row {table}"));
                }
            }
            for published in &service.publishes {
                let name = format!("message {}", published.message);
                if !self.seen.contains(&name) {
                    missing.push(name);
                }
            }
        }
        assert!(missing.is_empty(), "no sample of {missing:#?}");
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
    order::samples(&mut golden);
    payment::samples(&mut golden);
    inventory::samples(&mut golden);
    shipping::samples(&mut golden);
    identity::samples(&mut golden);
    catalog::samples(&mut golden);
    notification::samples(&mut golden);
    analytics::samples(&mut golden);
    replies::samples(&mut golden);
    golden.covers_the_topology();
    golden.end();
}
