//! Each law fails when it is broken.
//!
//! Method: a shop is run in peace and looked at; then what was seen is changed in one thing, as a
//! bug would, and the law that is for it must notice, while what was really seen breaks none.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex, OnceLock};

use redeliver::minutes;
use redeliver::testing::Client;

use super::*;
use crate::ids::{ProductId, UserId};
use crate::order::TimelineEntry;
use crate::simulate::{Town, look, town};

/// What there is after two peaceful hours.
fn seen() -> Seen {
    static SEEN: OnceLock<Seen> = OnceLock::new();
    let look = || {
        let kept = Arc::new(Mutex::new(None));
        let keep = kept.clone();
        let simulated = town(3)
            .without_faults()
            .check("look", move |client: Client, town: Arc<Town>| {
                let keep = keep.clone();
                async move {
                    *keep.lock().unwrap() = Some(look::around(&client, &town).await?);
                    Ok(())
                }
            })
            .once(minutes(90));
        assert_eq!(simulated.violations, []);
        let mut kept = kept.lock().unwrap();
        kept.take().unwrap()
    };
    SEEN.get_or_init(look).clone()
}

/// Changes what was seen, and says what each broken law has to say.
#[track_caller]
fn broken(change: impl FnOnce(&mut Seen)) -> Vec<&'static str> {
    let mut seen = seen();
    change(&mut seen);
    let judged = ALL.iter().filter(|(_, law)| law(&seen).is_err());
    judged.map(|(name, _)| *name).collect()
}

/// The first order of this kind.
#[track_caller]
fn some(seen: &mut Seen, kind: impl Fn(&Known) -> bool) -> &mut Known {
    let found = seen.orders.values_mut().find(|known| kind(known));
    found.expect("there is no such order in what was seen")
}

fn is(status: OrderStatus) -> impl Fn(&Known) -> bool {
    move |known| known.order.status == status
}

fn any_goods(seen: &mut Seen) -> &mut crate::simulate::look::Goods {
    seen.goods.values_mut().next().unwrap()
}

#[test]
fn what_was_seen_in_peace_breaks_no_law() {
    assert_eq!(broken(|_| {}), [] as [&str; 0]);
}

#[test]
fn an_acknowledged_order_that_is_missing_wrong_or_there_twice_is_noticed() {
    let noticed = broken(|seen| drop(seen.orders.pop_last()));
    assert!(noticed.contains(&"acknowledged"), "{noticed:?}");
    let nobody_told = broken(|seen| {
        seen.acts.orders.pop();
    });
    assert!(nobody_told.contains(&"acknowledged"), "{nobody_told:?}");
    let twice = |seen: &mut Seen| seen.acts.orders.push(seen.acts.orders[0]);
    assert_eq!(broken(twice), ["acknowledged"]);
    assert_eq!(broken(|seen| seen.acts.orders[0].2 += 1), ["acknowledged"]);
    let stranger = |seen: &mut Seen| seen.strangers.push(OrderId(uuid::Uuid::from_u128(5)));
    assert_eq!(broken(stranger), ["acknowledged"]);
    let mixed_up = |seen: &mut Seen| seen.mixed_up.push("key".to_owned());
    assert_eq!(broken(mixed_up), ["acknowledged"]);
}

#[test]
fn an_act_without_its_effect_and_an_effect_without_its_act_are_noticed() {
    let undelivered = |seen: &mut Seen| {
        let id = some(seen, is(OrderStatus::Confirmed)).order.id;
        seen.acts.delivered.insert(id);
    };
    assert_eq!(broken(undelivered), ["acts"]);
    let by_itself = |seen: &mut Seen| {
        let id = *seen.acts.dispatched.first().unwrap();
        seen.acts.dispatched.remove(&id);
    };
    assert_eq!(broken(by_itself), ["acts"]);
}

#[test]
fn an_order_that_waits_for_nobody_or_ends_twice_is_noticed() {
    let waits = |seen: &mut Seen| {
        let known = some(seen, is(OrderStatus::Confirmed));
        known.order.status = OrderStatus::Cancelling;
    };
    assert!(broken(waits).contains(&"sagas"));
    let no_reason = |seen: &mut Seen| {
        some(seen, is(OrderStatus::Cancelled)).order.cancel_reason = None;
    };
    assert_eq!(broken(no_reason), ["sagas"]);
    let gap = |seen: &mut Seen| drop(some(seen, is(OrderStatus::Confirmed)).timeline.remove(1));
    assert!(broken(gap).contains(&"sagas"));
    let twice = |seen: &mut Seen| {
        let known = some(seen, is(OrderStatus::Cancelled));
        let entry = |from, to| TimelineEntry {
            from: Some(from),
            to,
            ..known.timeline.last().unwrap().clone()
        };
        let again = entry(OrderStatus::Cancelled, OrderStatus::Cancelling);
        let end = entry(OrderStatus::Cancelling, OrderStatus::Cancelled);
        known.timeline.extend([again, end]);
    };
    assert_eq!(broken(twice), ["sagas"]);
}

fn undone(known: &Known) -> bool {
    known.order.status == OrderStatus::Cancelled
        && known.heard("payment-confirmed")
        && !known.heard("shipment-dispatched")
}

#[test]
fn a_compensation_that_is_missing_or_out_of_order_is_noticed() {
    let forget = |message: &'static str| {
        move |seen: &mut Seen| {
            let known = some(seen, undone);
            for entry in &mut known.timeline {
                if entry.message == message {
                    entry.message = "nothing".to_owned();
                }
            }
        }
    };
    assert_eq!(broken(forget("payment-refunded")), ["sagas"]);
    assert_eq!(broken(forget("stock-released")), ["sagas"]);
    let swapped = |seen: &mut Seen| {
        let known = some(seen, undone);
        for entry in &mut known.timeline {
            entry.message = match entry.message.as_str() {
                "payment-refunded" => "stock-released".to_owned(),
                "stock-released" => "payment-refunded".to_owned(),
                _ => continue,
            };
        }
    };
    assert_eq!(broken(swapped), ["sagas"]);
}

#[test]
fn a_unit_too_many_or_too_few_is_noticed() {
    let lost = |seen: &mut Seen| any_goods(seen).stock.on_hand -= 1;
    assert_eq!(broken(lost), ["stock"]);
    let received = |seen: &mut Seen| {
        let product = *seen.goods.keys().next().unwrap();
        *seen.acts.received.entry(product).or_default() += 1;
    };
    assert_eq!(broken(received), ["stock"]);
    let held = |seen: &mut Seen| {
        let goods = any_goods(seen);
        goods.stock.reserved += 1;
        goods.stock.on_hand += 1;
    };
    assert_eq!(broken(held), ["stock"]);
    let shown = |seen: &mut Seen| any_goods(seen).shown_available += 1;
    assert_eq!(broken(shown), ["stock"]);
    let counted = |seen: &mut Seen| any_goods(seen).counted = None;
    assert_eq!(broken(counted), ["stock"]);
    let unreserved = |seen: &mut Seen| {
        let goods = seen.goods.values_mut();
        let mut held = goods.flat_map(|goods| &mut goods.reservations);
        let held = held.find(|held| held.status == ReservationStatus::Committed);
        held.unwrap().status = ReservationStatus::Expired;
    };
    assert_eq!(broken(unreserved), ["stock"]);
}

#[test]
fn money_that_is_held_taken_or_kept_wrongly_is_noticed() {
    let captured_twice = |seen: &mut Seen| {
        some(seen, is(OrderStatus::Delivered)).provider.captured *= 2;
    };
    assert_eq!(broken(captured_twice), ["money", "analytics"]);
    let held = |seen: &mut Seen| some(seen, is(OrderStatus::Cancelled)).provider.held += 1;
    assert_eq!(broken(held), ["money"]);
    let unpaid = |seen: &mut Seen| {
        let known = some(seen, is(OrderStatus::Delivered));
        known.payment.as_mut().unwrap().captured.amount = 0;
        known.payment.as_mut().unwrap().authorised.amount = 0;
        known.provider = Default::default();
    };
    assert_eq!(broken(unpaid), ["money", "analytics"]);
    let paid_back = |seen: &mut Seen| {
        let id = some(seen, is(OrderStatus::Delivered)).order.id;
        *seen.acts.refunded.entry(id).or_default() += 1_000_000;
    };
    assert_eq!(broken(paid_back), ["money"]);
}

#[test]
fn a_figure_that_is_not_the_ledgers_is_noticed() {
    assert_eq!(broken(|seen| seen.summary.created += 1), ["analytics"]);
    assert_eq!(broken(|seen| seen.summary.confirmed -= 1), ["analytics"]);
    assert_eq!(broken(|seen| seen.summary.cancelled += 1), ["analytics"]);
    assert_eq!(broken(|seen| seen.summary.delivered -= 1), ["analytics"]);
    assert_eq!(broken(|seen| seen.viewed += 1), ["analytics"]);
    let revenue = |seen: &mut Seen| seen.summary.revenue.amount += 1;
    assert_eq!(broken(revenue), ["analytics"]);
    let customer = |seen: &mut Seen| seen.customers.values_mut().next().unwrap().1 += 1;
    assert_eq!(broken(customer), ["analytics"]);
}

#[test]
fn a_letter_that_is_missing_doubled_or_early_is_noticed() {
    assert_eq!(broken(|seen| seen.letters.clear()), ["letters"]);
    let queued = |seen: &mut Seen| seen.notifications[0].status = NotificationStatus::Queued;
    assert_eq!(broken(queued), ["letters"]);
    let doubled = |seen: &mut Seen| {
        let of_order = |told: &&_| is_told(told, "order-confirmed");
        let mut again = seen.notifications.iter().find(of_order).unwrap().clone();
        again.id = NotificationId(uuid::Uuid::from_u128(7));
        seen.letters.push(again.id);
        seen.notifications.push(again);
    };
    assert_eq!(broken(doubled), ["letters"]);
    let backwards = |seen: &mut Seen| seen.letters.reverse();
    assert_eq!(broken(backwards), ["letters"]);
}

fn is_told(told: &crate::notification::NotificationView, template: &str) -> bool {
    told.template.as_str() == template && told.user_id.is_some() && told.order_id.is_some()
}

#[test]
fn a_cart_that_holds_something_else_is_noticed() {
    let noticed = broken(|seen| {
        let user = *seen.carts.keys().next().unwrap();
        let product = ProductId(uuid::Uuid::from_u128(99));
        seen.carts.entry(user).or_default().insert(product, 1);
    });
    assert_eq!(noticed, ["carts"]);
    let forgotten = broken(|seen| {
        let user: UserId = *seen.carts.keys().next().unwrap();
        let product = ProductId(uuid::Uuid::from_u128(99));
        let told = seen.acts.carts.entry(user).or_default();
        told.insert(product, 1);
    });
    assert_eq!(forgotten, ["carts"]);
}

#[test]
fn an_effect_before_its_cause_is_noticed() {
    let early = |seen: &mut Seen| {
        let known = some(seen, is(OrderStatus::Confirmed));
        known.timeline.last_mut().unwrap().at = Timestamp(1);
    };
    assert_eq!(broken(early), ["timelines"]);
}
