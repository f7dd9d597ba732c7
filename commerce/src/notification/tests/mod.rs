//! The service under test: its users, its events, and what one asks about it.
#![allow(clippy::unwrap_used)]

mod administration;
mod delivery;
mod handlers;
mod system;

use std::sync::{Arc, Mutex};

use redeliver::Timestamp;
use redeliver::prelude::*;
use redeliver::testing::{Decided, ServiceKit};
use uuid::Uuid;

use super::sender::{Dispatch, SendEmail};
use super::service::Notifications;
use super::tables::{NOTIFICATIONS, Notification, Progress};
use super::*;
use crate::identity::{Contact, UserDeleted, UserProfileUpdated, UserRegistered};
use crate::ids::{NotificationId, OrderId, PaymentId, ProductId, RefundId, ShipmentId, UserId};
use crate::money::{Currency, Money};
use crate::order::{
    Address, OrderCancelled, OrderConfirmed, OrderCreated, OrderLine, OrderShipped,
};
use crate::payment::{FailureKind, PaymentFailed, PaymentRefunded, RefundKind};
use crate::privacy::{Keyring, Sealed};

const AT: Timestamp = Timestamp(1_767_268_800_000_000);

/// Keeps what it is given, and does what it is told to.
#[derive(Default)]
struct Pigeon {
    sent: Mutex<Vec<Letter>>,
    forgotten: Mutex<Vec<UserId>>,
    /// Letters whose body contains this are not taken.
    fails: Mutex<Option<(&'static str, SendError)>>,
    tries: Mutex<u32>,
}

impl Sender for Pigeon {
    fn send(&self, letter: Letter) -> SenderFuture<'_> {
        Box::pin(async move {
            let fails = self.fails.lock().unwrap().clone();
            match fails {
                Some((text, error)) if letter.body.contains(text) => {
                    *self.tries.lock().unwrap() += 1;
                    Err(error)
                }
                _ => {
                    self.sent.lock().unwrap().push(letter);
                    Ok(())
                }
            }
        })
    }

    fn forget(&self, user: UserId) -> SenderFuture<'_> {
        Box::pin(async move {
            self.forgotten.lock().unwrap().push(user);
            Ok(())
        })
    }
}

fn keyring() -> Keyring {
    let keyring = Keyring::in_memory(1);
    for user in [ADA, BOB] {
        keyring.create(user).unwrap();
    }
    keyring
}

fn service() -> Notifications {
    Notifications::new(Arc::new(Pigeon::default()), keyring())
}

/// Ada is known, Bob is not.
fn kit() -> ServiceKit<Notifications> {
    let mut kit = ServiceKit::of(service());
    let known = tables::ContactOf::Known(contact(ADA));
    kit.given(tables::CONTACTS, &ADA, &known);
    kit
}

const ADA: UserId = UserId(Uuid::from_u128(7));
const BOB: UserId = UserId(Uuid::from_u128(8));

fn contact(user: UserId) -> Sealed<Contact> {
    // The same keys as the service's, by the same seed.
    let contact = Contact {
        email: "ada@example.com".into(),
        first_name: "Ada".into(),
        last_name: "Lovelace".into(),
    };
    keyring().seal(user, &contact).unwrap()
}

fn order(n: u128) -> OrderId {
    OrderId(Uuid::from_u128(1_000 + n))
}

fn euros(amount: i64) -> Money {
    Money::new(amount, Currency::EUR)
}

fn created(n: u128, customer_id: UserId) -> OrderCreated {
    OrderCreated {
        order_id: order(n),
        customer_id,
        lines: vec![OrderLine {
            product_id: ProductId(Uuid::from_u128(1)),
            sku: "MUG".into(),
            name: "Blue mug".into(),
            quantity: 2,
            unit_price: euros(999),
        }],
        total: euros(1_998),
        at: AT,
    }
}

fn confirmed(n: u128, customer_id: UserId) -> OrderConfirmed {
    OrderConfirmed {
        order_id: order(n),
        customer_id,
        lines: Vec::new(),
        total: euros(1_998),
        payment_id: PaymentId(Uuid::from_u128(8)),
        ship_to: keyring().seal(ADA, &address()).unwrap(),
        at: AT,
    }
}

fn address() -> Address {
    Address {
        recipient: "A".into(),
        line1: "B".into(),
        line2: None,
        city: "C".into(),
        region: None,
        postal_code: "1".into(),
        country: "DE".into(),
    }
}

fn cancelled(n: u128, customer_id: UserId) -> OrderCancelled {
    OrderCancelled {
        order_id: order(n),
        customer_id,
        reason: "changed my mind".into(),
        total: euros(1_998),
        at: AT,
    }
}

fn shipped(n: u128, customer_id: UserId) -> OrderShipped {
    OrderShipped {
        order_id: order(n),
        customer_id,
        shipment_id: ShipmentId(Uuid::from_u128(9)),
        carrier: "Example Post".into(),
        tracking_number: "RD1".into(),
        at: AT,
    }
}

fn declined(n: u128, attempt: u32, kind: FailureKind, reason: &str) -> PaymentFailed {
    PaymentFailed {
        order_id: order(n),
        payment_id: None,
        customer_id: ADA,
        attempt,
        kind,
        reason: reason.into(),
        at: AT,
    }
}

fn refunded(n: u128, refund: u128, amount: i64) -> PaymentRefunded {
    PaymentRefunded {
        order_id: order(n),
        payment_id: None,
        customer_id: ADA,
        refund_id: RefundId(Uuid::from_u128(refund)),
        kind: RefundKind::Refunded,
        amount: euros(amount),
        at: AT,
    }
}

fn registered(user_id: UserId) -> UserRegistered {
    UserRegistered {
        user_id,
        contact: contact(user_id),
        at: AT,
    }
}

fn profile_updated(user_id: UserId) -> UserProfileUpdated {
    UserProfileUpdated {
        user_id,
        contact: contact(user_id),
        at: AT,
    }
}

fn deleted(user_id: UserId) -> UserDeleted {
    UserDeleted { user_id, at: AT }
}

fn rows(kit: &mut ServiceKit<Notifications>) -> Vec<(NotificationId, Notification)> {
    kit.rows(NOTIFICATIONS)
}

/// What has become of each notification, oldest first.
fn progress(kit: &mut ServiceKit<Notifications>) -> Vec<(Occasion, Progress)> {
    let rows = rows(kit).into_iter();
    rows.map(|(_, told)| (told.fact.occasion, told.progress))
        .collect()
}

fn reason(kit: &mut ServiceKit<Notifications>, place: usize) -> String {
    rows(kit)[place].1.reason.clone().unwrap()
}

/// The one mail that a turn sends off.
#[track_caller]
fn mail<R>(turn: &Decided<Notifications, R>) -> Dispatch {
    let mut mails = turn.planned::<SendEmail>();
    assert_eq!(mails.len(), 1, "{:?}", turn.planned_names());
    mails.remove(0).0
}

/// What a mail says to Ada.
fn text_of(mail: &Dispatch) -> String {
    let contact = mail
        .to
        .as_ref()
        .map(|sealed| keyring().open_sealed(sealed).unwrap());
    format!(
        "{}\n{}",
        mail.subject,
        super::text::body(&mail.body, contact.as_ref())
    )
}

fn ends(
    kit: &mut ServiceKit<Notifications>,
    mail: Dispatch,
    outcome: Outcome<()>,
) -> Decided<Notifications> {
    kit.activity_result(SendEmail(mail), outcome)
}

fn gave_up() -> Outcome<()> {
    Outcome::GaveUp {
        attempts: 4,
        reason: "mail_server_unreachable".into(),
    }
}
