//! The laws: what must be true of a quiet shop, whatever has happened to it.
//!
//! Each compares sources that do not know each other: what people were told with what there is,
//! orders with stock, payments with the provider's books, analytics with all of them.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use redeliver::Timestamp;

use super::look::{Known, Seen};
use crate::ids::{NotificationId, OrderId};
use crate::inventory::ReservationStatus;
use crate::notification::NotificationStatus;
use crate::order::OrderStatus;
use crate::payment::PaymentView;

pub(super) type Law = fn(&Seen) -> Result<(), String>;

/// All of them, with their names.
pub(super) const ALL: [(&str, Law); 9] = [
    ("acknowledged", acknowledged_is_what_there_is),
    ("acts", acts_have_had_their_effect),
    ("sagas", every_saga_has_come_to_one_end),
    ("stock", stock_is_conserved),
    ("money", money_is_conserved),
    ("analytics", analytics_are_the_ledgers),
    ("letters", people_are_told_once_and_in_order),
    ("carts", carts_hold_what_was_put_there),
    ("timelines", effects_come_after_their_causes),
];

/// Fails with these words unless it holds.
macro_rules! ensure {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(format!($($words)+));
        }
    };
}

/// Every acknowledged order is there, once, at its price; and no other.
fn acknowledged_is_what_there_is(seen: &Seen) -> Result<(), String> {
    let mut told = BTreeSet::new();
    for (id, user, total) in &seen.acts.orders {
        ensure!(told.insert(*id), "order {id} answers two acts");
        let known = seen.orders.get(id);
        let Some(known) = known else {
            return Err(format!("order {id} was acknowledged and is not there"));
        };
        ensure!(
            known.order.total.amount == *total && known.order.customer_id == *user,
            "order {id} of {user} was acknowledged with {total}: {}",
            known.shown()
        );
    }
    for known in seen.orders.values() {
        ensure!(
            told.contains(&known.order.id),
            "nobody was told of {}",
            known.shown()
        );
    }
    ensure!(
        seen.strangers.is_empty(),
        "the provider was asked for orders that nobody placed: {:?}",
        seen.strangers
    );
    ensure!(
        seen.mixed_up.is_empty(),
        "the provider was asked for two things under the same keys: {:?}",
        seen.mixed_up
    );
    Ok(())
}

/// What people were told has happened to an order has.
fn acts_have_had_their_effect(seen: &Seen) -> Result<(), String> {
    use OrderStatus::{Cancelled, Delivered, ManualReview, Returned, Shipped};
    let acts = &seen.acts;
    for (what, orders, allowed) in [
        // Shipping may have refused it: the parcel had left.
        (
            "cancelled",
            &acts.cancelled,
            &[Cancelled, Shipped, Delivered, Returned, ManualReview] as &[OrderStatus],
        ),
        (
            "dispatched",
            &acts.dispatched,
            &[Shipped, Delivered, Returned, ManualReview, Cancelled],
        ),
        (
            "delivered",
            &acts.delivered,
            &[Delivered, Returned, ManualReview, Cancelled],
        ),
        (
            "returned",
            &acts.returned,
            &[Returned, ManualReview, Cancelled],
        ),
    ] {
        for id in orders {
            let Some(known) = seen.orders.get(id) else {
                return Err(format!("order {id} was {what} and is not there"));
            };
            ensure!(
                allowed.contains(&known.order.status),
                "it was {what}: {}",
                known.shown()
            );
        }
    }
    for (what, orders, message) in [
        ("dispatched", &acts.dispatched, "shipment-dispatched"),
        ("returned", &acts.returned, "shipment-returned"),
    ] {
        for known in seen.orders.values() {
            let told = orders.contains(&known.order.id);
            ensure!(
                told == known.heard(message),
                "somebody was told that it was {what}: {told}; {}",
                known.shown()
            );
        }
    }
    Ok(())
}

/// Every order has come to exactly one end, or waits for a person; what was done for one that was
/// given up is undone in the reverse order of its doing.
fn every_saga_has_come_to_one_end(seen: &Seen) -> Result<(), String> {
    for known in seen.orders.values() {
        match known.order.status {
            // Over, or waits for the warehouse, the carrier, the customer, or the office.
            OrderStatus::Delivered
            | OrderStatus::Cancelled
            | OrderStatus::Returned
            | OrderStatus::Confirmed
            | OrderStatus::Shipped
            | OrderStatus::PaymentFailed
            | OrderStatus::ManualReview => {}
            OrderStatus::Pending
            | OrderStatus::Reserved
            | OrderStatus::Paid
            | OrderStatus::Cancelling => {
                return Err(format!("waits for nobody: {}", known.shown()));
            }
        }
        let mut status = None;
        for entry in &known.timeline {
            ensure!(
                entry.from == status || entry.from == Some(entry.to),
                "its story has a gap at {}: {}",
                entry.message,
                known.shown()
            );
            status = Some(entry.to);
        }
        ensure!(
            status == Some(known.order.status),
            "its story ends elsewhere: {}",
            known.shown()
        );
        let ends = known.timeline.iter().filter(|entry| {
            entry.to == OrderStatus::Cancelled && entry.from != Some(OrderStatus::Cancelled)
        });
        ensure!(ends.count() <= 1, "it ends twice: {}", known.shown());
        if known.order.status == OrderStatus::Cancelled {
            ensure!(
                known.order.cancel_reason.is_some(),
                "cancelled for no reason: {}",
                known.shown()
            );
            undone_in_reverse(known)?;
        }
    }
    Ok(())
}

/// The answers to what was done and, in the same order, the answers to its undoing.
const STEPS: [(&str, &str); 3] = [
    ("inventory-reservation-confirmed", "stock-released"),
    ("payment-confirmed", "payment-refunded"),
    ("order-confirmed", "shipment-cancelled"),
];

fn undone_in_reverse(known: &Known) -> Result<(), String> {
    // What came back after it had left was given back otherwise.
    if known.heard("shipment-dispatched") {
        return Ok(());
    }
    let first = |message: &str| {
        let mut entries = known.timeline.iter();
        entries.position(|entry| entry.message == message)
    };
    let mut undone_before = None;
    for (done, undone) in STEPS {
        if first(done).is_none() {
            continue;
        }
        // Asked for again, it may be answered again: the first answer counts.
        let Some(at) = first(undone) else {
            return Err(format!("{done} and never {undone}: {}", known.shown()));
        };
        ensure!(
            undone_before.is_none_or(|before| at < before),
            "{undone} is not in reverse order: {}",
            known.shown()
        );
        undone_before = Some(at);
    }
    Ok(())
}

fn stock_is_conserved(seen: &Seen) -> Result<(), String> {
    for (product_id, goods) in &seen.goods {
        let stock = &goods.stock;
        ensure!(
            stock.on_hand == stock.available + stock.reserved,
            "it does not add up: {stock:?}"
        );
        let total = |which: &dyn Fn(&Known) -> bool| -> i64 {
            let orders = seen.orders.values().filter(|known| which(known));
            let lines = orders.flat_map(|known| &known.order.items);
            lines
                .filter(|line| line.product_id == *product_id)
                .map(|line| i64::from(line.quantity))
                .sum()
        };
        let of = |acts: &BTreeMap<_, i64>| acts.get(product_id).copied().unwrap_or_default();
        let left = total(&|known| known.heard("shipment-dispatched"));
        let on_hand = of(&seen.acts.received) - left + of(&seen.acts.restocked);
        ensure!(
            i64::try_from(stock.on_hand) == Ok(on_hand),
            "{on_hand} should be on hand: {stock:?}"
        );
        ensure!(
            goods.counted == Some(on_hand),
            "analytics counts {:?}, and there are {on_hand}: {stock:?}",
            goods.counted
        );
        let held = total(&|known| {
            !known.heard("shipment-dispatched")
                && matches!(
                    known.order.status,
                    OrderStatus::Confirmed | OrderStatus::PaymentFailed
                )
        });
        // What waits for a person may be held or not.
        let perhaps = total(&|known| known.order.status == OrderStatus::ManualReview);
        let reserved = i64::try_from(stock.reserved).unwrap_or(i64::MAX);
        ensure!(
            held <= reserved && reserved <= held + perhaps,
            "{held} and perhaps {perhaps} are held for orders: {stock:?}"
        );
        let by_reservation: i64 = goods
            .reservations
            .iter()
            .filter(|held| {
                matches!(
                    held.status,
                    ReservationStatus::Active | ReservationStatus::Committed
                )
            })
            .map(|held| i64::from(held.quantity))
            .sum();
        ensure!(
            reserved == by_reservation,
            "{by_reservation} are reserved one by one: {stock:?}"
        );
        ensure!(
            goods.shown_available == stock.available,
            "buyers see {}: {stock:?}",
            goods.shown_available
        );
    }
    Ok(())
}

fn money_is_conserved(seen: &Seen) -> Result<(), String> {
    for known in seen.orders.values() {
        let (provider, order) = (known.provider, &known.order);
        let of = |amount: fn(&PaymentView) -> i64| known.payment.as_ref().map_or(0, amount);
        let authorised = of(|payment| payment.authorised.amount);
        let captured = of(|payment| payment.captured.amount);
        let refunded = of(|payment| payment.refunded.amount);
        ensure!(
            0 <= refunded && refunded <= captured && captured <= authorised,
            "it does not add up: {}",
            known.shown()
        );
        let by_hand = seen.acts.refunded.get(&order.id).copied().unwrap_or(0);
        ensure!(
            by_hand <= refunded || order.status == OrderStatus::ManualReview,
            "{by_hand} was to be paid back: {}",
            known.shown()
        );
        // What nobody knows yet, a person looks into.
        if order.status == OrderStatus::ManualReview {
            continue;
        }
        ensure!(
            (captured, refunded) == (provider.captured, provider.refunded),
            "payment and provider disagree: {}",
            known.shown()
        );
        // What is neither taken nor free is held, once.
        ensure!(
            authorised - captured == provider.held,
            "what is held is not what should be: {}",
            known.shown()
        );
        let right = match order.status {
            OrderStatus::Cancelled | OrderStatus::Returned | OrderStatus::PaymentFailed => {
                captured == refunded
            }
            OrderStatus::Confirmed => authorised == order.total.amount && captured == refunded,
            OrderStatus::Shipped | OrderStatus::Delivered => captured == order.total.amount,
            OrderStatus::Pending
            | OrderStatus::Reserved
            | OrderStatus::Paid
            | OrderStatus::Cancelling
            | OrderStatus::ManualReview => true,
        };
        ensure!(right, "charged otherwise than owed: {}", known.shown());
        ensure!(
            !order.status.is_over() || provider.held == 0,
            "held for an order that is over: {}",
            known.shown()
        );
    }
    Ok(())
}

fn analytics_are_the_ledgers(seen: &Seen) -> Result<(), String> {
    let counted = &seen.summary;
    let count = |which: &dyn Fn(&Known) -> bool| -> u64 {
        seen.orders.values().filter(|known| which(known)).count() as u64
    };
    for (what, counted, there) in [
        ("created", counted.created, seen.orders.len() as u64),
        (
            "confirmed",
            counted.confirmed,
            count(&|known| known.was(OrderStatus::Paid)),
        ),
        (
            "cancelled",
            counted.cancelled,
            count(&|known| known.order.status == OrderStatus::Cancelled),
        ),
        ("delivered", counted.delivered, count(&Known::was_delivered)),
        ("viewed", seen.viewed, seen.acts.views),
    ] {
        ensure!(counted == there, "{counted} counted as {what}, not {there}");
    }
    let sum = |amount: fn(&Known) -> i64| -> i64 { seen.orders.values().map(amount).sum() };
    let (captured, refunded) = (
        sum(|known| known.provider.captured),
        sum(|known| known.provider.refunded),
    );
    ensure!(
        (counted.revenue.amount, counted.refunded.amount) == (captured, refunded),
        "revenue {} less {} is counted, and the provider took {captured} and paid {refunded} back",
        counted.revenue.amount,
        counted.refunded.amount
    );
    let mut customers: BTreeMap<_, (i64, i64)> = BTreeMap::new();
    for known in seen.orders.values() {
        let sums = customers.entry(known.order.customer_id).or_default();
        sums.0 += known.provider.captured;
        sums.1 += known.provider.refunded;
    }
    ensure!(
        customers == seen.customers,
        "customers are counted as {:?}, not {customers:?}",
        seen.customers
    );
    Ok(())
}

fn people_are_told_once_and_in_order(seen: &Seen) -> Result<(), String> {
    let mut places: BTreeMap<NotificationId, Vec<usize>> = BTreeMap::new();
    for (place, id) in seen.letters.iter().enumerate() {
        places.entry(*id).or_default().push(place);
    }
    let mut times: BTreeMap<(Option<OrderId>, &str), usize> = BTreeMap::new();
    let mut letters: BTreeMap<(OrderId, &str), Vec<usize>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for notification in &seen.notifications {
        ensure!(
            ids.insert(notification.id),
            "two with the same id: {notification:?}"
        );
        ensure!(
            notification.status != NotificationStatus::Queued,
            "still to be sent: {notification:?}"
        );
        let arrived = places.get(&notification.id);
        ensure!(
            arrived.is_some() || notification.status != NotificationStatus::Sent,
            "never sent: {notification:?}"
        );
        if let Some(order) = notification.order_id {
            let fact = (Some(order), notification.template.as_str());
            // The shop is told of some things that its customers are told of, too.
            if notification.user_id.is_some() {
                *times.entry(fact).or_default() += 1;
            }
            let fact = (order, notification.template.as_str());
            let arrived = arrived.into_iter().flatten();
            letters.entry(fact).or_default().extend(arrived);
        }
    }
    for ((order, template), times) in times {
        let known = order.and_then(|order| seen.orders.get(&order));
        let facts = match (template, known) {
            ("payment-failed", Some(known)) => known.order.payment_attempts.max(1) as usize,
            // A person may pay a part back, as often as there is something left.
            ("payment-refunded", Some(_)) => usize::MAX,
            _ => 1,
        };
        ensure!(
            times <= facts,
            "{template} of {order:?} was told {times} times"
        );
    }
    for (id, known) in &seen.orders {
        let places = |template: &'static str| letters.get(&(*id, template));
        let (confirmed, cancelled) = (places("order-confirmed"), places("order-cancelled"));
        let last = confirmed.and_then(|places| places.iter().max());
        let first = cancelled.and_then(|places| places.iter().min());
        if let (Some(last), Some(first)) = (last, first) {
            ensure!(last < first, "confirmed after cancelled: {}", known.shown());
        }
    }
    Ok(())
}

fn carts_hold_what_was_put_there(seen: &Seen) -> Result<(), String> {
    for (user, cart) in &seen.carts {
        let told = seen.acts.carts.get(user).cloned().unwrap_or_default();
        ensure!(
            *cart == told,
            "the cart of {user} holds {cart:?}, and {told:?} was put there"
        );
    }
    Ok(())
}

/// What is told of an order is told in the order of its happening.
fn effects_come_after_their_causes(seen: &Seen) -> Result<(), String> {
    for known in seen.orders.values() {
        let mut before = Timestamp(0);
        for entry in &known.timeline {
            ensure!(
                entry.at >= before,
                "{} comes before its cause: {}",
                entry.message,
                known.shown()
            );
            before = entry.at;
        }
    }
    Ok(())
}
