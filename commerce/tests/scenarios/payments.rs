//! What becomes of money: declined, tried again, unknown, told twice, told by strangers, late.

use std::time::Duration;

use commerce::ids::OrderId;
use commerce::money::{Currency, Money};
use commerce::order::OrderStatus;
use commerce::payment::simulated::Pace;
use commerce::payment::webhook::{SignatureError, WebhookSecret};
use commerce::payment::{PaymentStatus, ProviderWebhook, WebhookKind, WebhookOutcome};
use redeliver::Resolve;
use redeliver::clock::Clock;
use redeliver::prelude::*;

use super::play::{play, play_in};
use super::world::{ADA, BOB, MUG, World};

#[test]
fn a_card_that_is_declined_for_good_cancels_the_order() {
    play_in(
        "payments::a_card_that_is_declined_for_good_cancels_the_order",
        async |world| {
            let order = world.place("tok_declined").await;
            world.check().await;
            assert_eq!(world.status(order).await, OrderStatus::Cancelled);
            assert!(world.retry(order, "tok_ok").await.is_err());
        },
    );
}

#[test]
fn after_a_soft_decline_another_card_pays() {
    play_in(
        "payments::after_a_soft_decline_another_card_pays",
        async |world| {
            let order = world.place("tok_insufficient_funds").await;
            world.check().await;
            assert_eq!(world.status(order).await, OrderStatus::PaymentFailed);
            assert_eq!(world.stock(MUG).await.reserved, 2);
            world.retry(order, "tok_insufficient_funds").await.unwrap();
            world.check().await;
            assert_eq!(world.status(order).await, OrderStatus::PaymentFailed);
            world.retry(order, "tok_ok").await.unwrap();
            world.check().await;
            assert_eq!(world.status(order).await, OrderStatus::Confirmed);
            assert_eq!(world.payment(order).await.unwrap().attempts, 3);
            // The reservation is committed and outlives its time.
            world.advance(minutes(20)).await;
            world.check().await;
            assert_eq!(world.status(order).await, OrderStatus::Confirmed);
            world.dispatch(order).await.unwrap();
            world.deliver(order).await;
        },
    );
}

#[test]
fn after_three_attempts_nothing_is_left_but_to_let_the_reservation_expire() {
    play_in(
        "payments::after_three_attempts_nothing_is_left_but_to_let_the_reservation_expire",
        async |world| {
            let order = world.place("tok_insufficient_funds").await;
            for _ in 0..2 {
                world.rest().await;
                world.retry(order, "tok_insufficient_funds").await.unwrap();
            }
            world.check().await;
            let refused = world.retry(order, "tok_ok").await.unwrap_err();
            assert_eq!(refused.code, "payment_attempts_exhausted");
            world.advance(minutes(16)).await;
            world.check().await;
            assert_eq!(world.status(order).await, OrderStatus::Cancelled);
        },
    );
}

#[test]
fn a_time_out_of_the_provider_is_cleared_up_whether_it_charged_or_not() {
    play_in(
        "payments::a_time_out_of_the_provider_is_cleared_up_whether_it_charged_or_not",
        async |world| {
            for token in ["tok_timeout_charged", "tok_timeout_lost", "tok_slow"] {
                let order = world.place(token).await;
                world.check().await;
                assert_eq!(world.status(order).await, OrderStatus::Confirmed, "{token}");
                let cancelled = world.place(token).await;
                world.advance(Duration::from_millis(500)).await;
                world.cancel(cancelled).await.unwrap();
                world.check().await;
                assert_eq!(
                    world.status(cancelled).await,
                    OrderStatus::Cancelled,
                    "{token}"
                );
                world.dispatch(order).await.unwrap();
                world.check().await;
            }
        },
    );
}

#[test]
fn a_capture_that_is_refused_waits_for_a_person_and_is_written_off() {
    play_in(
        "payments::a_capture_that_is_refused_waits_for_a_person_and_is_written_off",
        async |world| {
            let order = world.place("tok_capture_fails").await;
            world.rest().await;
            world.dispatch(order).await.unwrap();
            world.check().await;
            assert_eq!(world.status(order).await, OrderStatus::ManualReview);
            world.resolve(order, Resolve::Retry).await;
            world.check().await;
            assert_eq!(world.status(order).await, OrderStatus::ManualReview);
            world.resolve(order, Resolve::Cancel).await;
            world.check().await;
            assert_eq!(world.status(order).await, OrderStatus::Cancelled);
        },
    );
}

fn webhook(
    id: &str,
    kind: WebhookKind,
    key: String,
    amount: i64,
    at: Timestamp,
) -> ProviderWebhook {
    ProviderWebhook {
        id: id.to_owned(),
        kind,
        provider_reference: format!("sim-{key}"),
        idempotency_key: key,
        amount: Money::new(amount, Currency::EUR),
        at,
    }
}

const TOTAL: i64 = 6_948;

#[test]
fn a_webhook_counts_once_and_one_about_nothing_of_ours_never() {
    play_in(
        "payments::a_webhook_counts_once_and_one_about_nothing_of_ours_never",
        async |world| {
            let order = world.place("tok_duplicate_webhook").await;
            world.check().await;
            assert_eq!(world.status(order).await, OrderStatus::Confirmed);
            if world.seed == 0 {
                let (applied, duplicate) = (WebhookOutcome::Applied, WebhookOutcome::Duplicate);
                assert_eq!(world.post.outcomes(), [applied, duplicate]);
            }
            let at = world.test.clock().wall();
            // Told again under its own id, and by somebody who knows no key of ours.
            let again = webhook(
                "late",
                WebhookKind::Authorised,
                format!("{order}-1"),
                TOTAL,
                at,
            );
            assert_eq!(world.webhook(again.clone()).await, WebhookOutcome::Applied);
            assert_eq!(world.webhook(again).await, WebhookOutcome::Duplicate);
            let stranger = OrderId(uuid::Uuid::from_u128(99));
            for (n, key) in [
                "nonsense".to_owned(),
                format!("{stranger}-1"),
                format!("{order}-9"),
            ]
            .into_iter()
            .enumerate()
            {
                let forged = webhook(&format!("f{n}"), WebhookKind::Authorised, key, TOTAL, at);
                assert_eq!(world.webhook(forged).await, WebhookOutcome::Ignored);
            }
            // It says that more was taken than was ever asked for.
            let key = format!("{order}-1-capture-1");
            let forged = webhook("more", WebhookKind::Captured, key, 1_000_000, at);
            assert_eq!(world.webhook(forged).await, WebhookOutcome::Ignored);
            world.check().await;
            assert_eq!(world.status(order).await, OrderStatus::Confirmed);
            world.dispatch(order).await.unwrap();
            world.deliver(order).await;
        },
    );
}

#[test]
fn who_does_not_have_the_secret_cannot_tell_the_shop_anything() {
    play_in(
        "payments::who_does_not_have_the_secret_cannot_tell_the_shop_anything",
        async |world| {
            let order = world.place("tok_slow").await;
            let at = world.test.clock().wall();
            let forged = webhook("f", WebhookKind::Captured, format!("{order}-1"), TOTAL, at);
            let body = serde_json::to_vec(&forged).unwrap();
            let signature = WebhookSecret::new("guessed").sign(&body, at);
            let verified = world.post.secret.verify(&signature, &body, at);
            assert_eq!(verified, Err(SignatureError::Forged));
            world.check().await;
            assert_eq!(world.status(order).await, OrderStatus::Confirmed);
        },
    );
}

#[test]
fn a_late_failure_of_the_first_attempt_cannot_cancel_what_the_second_has_paid() {
    play_in(
        "payments::a_late_failure_of_the_first_attempt_cannot_cancel_what_the_second_has_paid",
        async |world| {
            for (n, pause) in [0, 1, 5, 100, 4_000].into_iter().enumerate() {
                let order = world
                    .place_for(ADA, "tok_insufficient_funds", &[(MUG, 1)])
                    .await;
                world.rest().await;
                world.retry(order, "tok_slow").await.unwrap();
                world.advance(Duration::from_millis(pause)).await;
                let at = world.test.clock().wall();
                let key = format!("{order}-1");
                let late = webhook(&format!("late-{n}"), WebhookKind::Failed, key, 999, at);
                world.webhook(late).await;
                world.check().await;
                assert_eq!(world.status(order).await, OrderStatus::Confirmed, "{pause}");
                let payment = world.payment(order).await.unwrap();
                assert_eq!(
                    (payment.status, payment.attempts),
                    (PaymentStatus::Authorised, 2)
                );
            }
        },
    );
}

/// Method: the reservation lives for three seconds, and so does the provider's answer take, give
/// or take; before somebody else buys what has become free, or not.
#[test]
fn a_reservation_that_expires_while_it_is_paid_ends_in_one_of_two_ways() {
    play(
        "payments::a_reservation_that_expires_while_it_is_paid_ends_in_one_of_two_ways",
        async |seed| {
            for slow in [2_980, 2_995, 2_999, 3_000, 3_001, 3_002, 3_005, 3_020] {
                let pace = Pace {
                    slow: Duration::from_millis(slow),
                    ..Pace::default()
                };
                let short = |config: &mut commerce::config::Config| {
                    config.order.reservation_ttl_s = 3;
                };
                let mut world = World::open_with(seed, pace, short).await;
                race(&mut world, slow).await;
            }
        },
    );
}

async fn race(world: &mut World, slow: u64) {
    let all = [(MUG, 20)];
    let first = world.place_for(ADA, "tok_slow", &all).await;
    world.advance(Duration::from_millis(slow)).await;
    let second = world.place_for(BOB, "tok_ok", &all).await;
    world.advance(seconds(10)).await;
    world.check().await;
    let ends = [world.status(first).await, world.status(second).await];
    let confirmed = ends
        .iter()
        .filter(|end| **end == OrderStatus::Confirmed)
        .count();
    assert!(confirmed <= 1, "{ends:?}");
    assert!(
        ends.iter()
            .all(|end| matches!(end, OrderStatus::Confirmed | OrderStatus::Cancelled)),
        "{ends:?}"
    );
    if world.seed == 0 {
        assert_eq!(confirmed, 1, "{ends:?} at {slow}");
    }
}
