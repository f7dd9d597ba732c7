//! Each handler: given a payment, when a message or an answer comes, then payment and messages.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use redeliver::testing::{Decided, ServiceKit};
use redeliver::{Outcome, Timestamp, days, hours};
use uuid::Uuid;

use super::activities::{Authorise, CaptureHeld, LookUp, PayBack, VoidHeld};
use super::provider::Answer;
use super::simulated::{Pace, SimulatedProvider};
use super::tables::{PAYMENTS, PAYMENTS_BY_ORDER, UNDONE_ORDERS, WEBHOOKS_SEEN};
use super::*;
use crate::ids::{OrderId, PaymentId, RefundId, ShipmentId, UserId};
use crate::money::{Currency, Money};
use crate::order::{PaymentRefundRequested, PaymentRequested};
use crate::privacy::Keyring;
use crate::shipping::ShipmentDispatched;

pub(super) const AT: Timestamp = Timestamp(1_767_268_800_000_000);

pub(super) fn order() -> OrderId {
    OrderId(Uuid::from_u128(1))
}

pub(super) fn eur(amount: i64) -> Money {
    Money::new(amount, Currency::EUR)
}

pub(super) fn customer() -> UserId {
    UserId(Uuid::from_u128(2))
}

/// The same keys and nonces every time.
pub(super) fn keyring() -> Keyring {
    let keyring = Keyring::in_memory(1);
    keyring.create(customer()).unwrap();
    keyring
}

pub(super) fn requested(attempt: u32, token: &str) -> PaymentRequested {
    PaymentRequested {
        order_id: order(),
        customer_id: UserId(Uuid::from_u128(2)),
        attempt,
        amount: eur(1_998),
        method: PaymentMethod::card(token)
            .seal(customer(), &keyring())
            .unwrap(),
        at: AT,
    }
}

pub(super) fn undo() -> PaymentRefundRequested {
    PaymentRefundRequested {
        order_id: order(),
        customer_id: UserId(Uuid::from_u128(2)),
        refund_id: RefundId::of_whole_order(order()),
        amount: None,
        currency: Currency::EUR,
        reason: "cancelled".into(),
        at: AT,
    }
}

pub(super) fn dispatched() -> ShipmentDispatched {
    ShipmentDispatched {
        order_id: order(),
        shipment_id: ShipmentId(Uuid::from_u128(3)),
        customer_id: UserId(Uuid::from_u128(2)),
        carrier: "c".into(),
        tracking_number: "t".into(),
        lines: vec![],
        at: AT,
    }
}

fn webhook(id: &str, kind: WebhookKind, key: &str, amount: i64) -> ProviderWebhook {
    ProviderWebhook {
        id: id.into(),
        kind,
        idempotency_key: key.into(),
        provider_reference: "ref".into(),
        amount: eur(amount),
        at: AT,
    }
}

pub(super) fn kit() -> ServiceKit<Payment> {
    let provider = SimulatedProvider::in_memory(Pace::INSTANT);
    ServiceKit::of(Payment::new(Arc::new(provider), keyring()))
}

fn done() -> Outcome<Answer> {
    Outcome::Done(Answer::Done {
        reference: "ref".into(),
    })
}

fn declined(kind: FailureKind, reason: &str) -> Outcome<Answer> {
    Outcome::Done(Answer::Declined {
        kind,
        reason: reason.into(),
    })
}

fn gave_up() -> Outcome<Answer> {
    Outcome::GaveUp {
        attempts: 20,
        reason: "no answer".into(),
    }
}

type Kit = ServiceKit<Payment>;

fn authorised(kit: &mut Kit, outcome: Outcome<Answer>) -> Decided<Payment> {
    let asked = kit.pending::<Authorise>().remove(0);
    kit.activity_result(asked, outcome)
}

fn captured(kit: &mut Kit, outcome: Outcome<Answer>) -> Decided<Payment> {
    let asked = kit.pending::<CaptureHeld>().remove(0);
    kit.activity_result(asked, outcome)
}

fn voided(kit: &mut Kit, outcome: Outcome<Answer>) -> Decided<Payment> {
    let asked = kit.pending::<VoidHeld>().remove(0);
    kit.activity_result(asked, outcome)
}

fn paid_back(kit: &mut Kit, outcome: Outcome<Answer>) -> Decided<Payment> {
    let asked = kit.pending::<PayBack>().remove(0);
    kit.activity_result(asked, outcome)
}

fn looked_up(kit: &mut Kit, outcome: Outcome<Option<Answer>>) -> Decided<Payment> {
    let asked = kit.pending::<LookUp>().remove(0);
    kit.activity_result(asked, outcome)
}

fn view(kit: &mut Kit) -> PaymentView {
    kit.query(PaymentOfOrder { order_id: order() }).unwrap()
}

fn id(kit: &mut Kit) -> PaymentId {
    kit.get(PAYMENTS_BY_ORDER, &order()).unwrap()
}

/// A payment that was authorised and captured.
fn captured_kit() -> Kit {
    let mut kit = kit();
    kit.event(requested(1, "tok_ok"));
    authorised(&mut kit, done());
    kit.event(dispatched());
    captured(&mut kit, done());
    kit
}

// PaymentRequested.

#[test]
fn a_request_asks_the_provider_once_under_a_key_of_its_attempt() {
    let mut kit = kit();
    let turn = kit.event(requested(1, "tok_ok"));
    let asked = &turn.planned::<Authorise>()[0];
    assert_eq!(asked.key.to_string(), format!("{}-1", order()));
    let token = keyring().open_sealed(&asked.token).unwrap();
    assert_eq!((asked.amount, token.reveal()), (eur(1_998), "tok_ok"));
    assert_eq!(view(&mut kit).status, PaymentStatus::Pending);
    assert!(kit.event(requested(1, "tok_ok")).is_quiet(), "asked twice");
}

#[test]
fn an_authorised_attempt_confirms_the_payment() {
    let mut kit = kit();
    kit.event(requested(1, "tok_ok"));
    let turn = authorised(&mut kit, done());
    let confirmed = &turn.published::<PaymentConfirmed>()[0];
    assert_eq!((confirmed.attempt, confirmed.authorised), (1, eur(1_998)));
    assert_eq!(view(&mut kit).status, PaymentStatus::Authorised);
    let again = kit.event(requested(1, "tok_ok"));
    assert_eq!(again.published_names(), ["payment-confirmed"]);
    assert!(again.planned_names().is_empty());
}

#[test]
fn a_declined_attempt_fails_the_payment_with_its_kind_and_reason() {
    for kind in [FailureKind::Hard, FailureKind::Soft] {
        let mut kit = kit();
        kit.event(requested(1, "tok"));
        let turn = authorised(&mut kit, declined(kind, "no"));
        let failed = &turn.published::<PaymentFailed>()[0];
        assert_eq!((failed.kind, failed.reason.as_str()), (kind, "no"));
        let shown = view(&mut kit);
        assert_eq!(shown.status, PaymentStatus::Failed);
        assert_eq!(shown.failure_reason.as_deref(), Some("no"));
        let again = kit.event(requested(1, "tok"));
        assert_eq!(again.published::<PaymentFailed>()[0].kind, kind);
    }
}

#[test]
fn a_second_attempt_replaces_the_first_and_frees_what_it_still_gets() {
    let mut kit = kit();
    kit.event(requested(1, "tok_slow"));
    kit.event(requested(2, "tok_ok"));
    let mut pending = kit.pending::<Authorise>();
    pending.sort_by_key(|asked| asked.key.to_string());
    let (first, second) = (pending[0].clone(), pending[1].clone());
    let turn = kit.activity_result(second, done());
    assert_eq!(turn.published::<PaymentConfirmed>()[0].attempt, 2);
    let late = kit.activity_result(first, done());
    assert!(late.published_names().is_empty());
    let void = &late.planned::<VoidHeld>()[0];
    assert_eq!(void.key.to_string(), format!("{}-1-void-1", order()));
    assert_eq!(view(&mut kit).status, PaymentStatus::Authorised);
}

#[test]
fn a_late_failure_of_the_first_attempt_changes_nothing_about_the_second() {
    let mut kit = kit();
    kit.event(requested(1, "tok_slow"));
    kit.event(requested(2, "tok_ok"));
    let mut pending = kit.pending::<Authorise>();
    pending.sort_by_key(|asked| asked.key.to_string());
    kit.activity_result(pending.remove(1), done());
    let late = kit.activity_result(pending.remove(0), declined(FailureKind::Hard, "no"));
    assert!(late.is_quiet());
    assert_eq!(view(&mut kit).status, PaymentStatus::Authorised);
}

#[test]
fn amounts_and_currencies_that_cannot_be_charged_are_refused() {
    let mut kit = kit();
    let mut nothing = requested(1, "tok_ok");
    nothing.amount = eur(0);
    let failed = kit.event(nothing).published::<PaymentFailed>().remove(0);
    assert_eq!(failed.reason, "invalid_amount");
    kit.event(requested(1, "tok_ok"));
    let mut foreign = requested(2, "tok_ok");
    foreign.amount = Money::new(1, "USD".parse().unwrap());
    let turn = kit.event(foreign);
    assert_eq!(
        turn.published::<PaymentFailed>()[0].reason,
        "foreign_currency"
    );
    assert!(turn.planned_names().is_empty());
}

// What nobody knows.

#[test]
fn an_attempt_without_an_answer_is_unknown_and_asked_about_until_it_is_known() {
    let mut kit = kit();
    kit.event(requested(1, "tok_ok"));
    let turn = authorised(&mut kit, gave_up());
    assert!(turn.published_names().is_empty(), "unknown is no failure");
    assert_eq!(view(&mut kit).status, PaymentStatus::Unknown);
    kit.advance(hours(1));
    kit.fire_due_timers();
    looked_up(
        &mut kit,
        Outcome::GaveUp {
            attempts: 20,
            reason: "down".into(),
        },
    );
    kit.advance(hours(1));
    kit.fire_due_timers();
    let turn = looked_up(
        &mut kit,
        Outcome::Done(Some(Answer::Done {
            reference: "ref".into(),
        })),
    );
    assert_eq!(turn.published_names(), ["payment-confirmed"]);
    kit.advance(days(1));
    assert!(kit.fire_due_timers().is_empty(), "nothing left to ask");
}

#[test]
fn an_attempt_that_never_reached_the_provider_failed_softly() {
    let mut kit = kit();
    kit.event(requested(1, "tok_ok"));
    authorised(&mut kit, gave_up());
    kit.advance(hours(1));
    kit.fire_due_timers();
    let turn = looked_up(&mut kit, Outcome::Done(None));
    assert_eq!(turn.published::<PaymentFailed>()[0].kind, FailureKind::Soft);
}

// PaymentRefundRequested.

#[test]
fn undoing_an_authorised_payment_voids_it() {
    let mut kit = kit();
    kit.event(requested(1, "tok_ok"));
    authorised(&mut kit, done());
    let turn = kit.event(undo());
    assert!(turn.published_names().is_empty(), "not before it is true");
    assert_eq!(turn.planned::<VoidHeld>()[0].authorisation, "ref");
    let turn = voided(&mut kit, done());
    let refunded = &turn.published::<PaymentRefunded>()[0];
    assert_eq!(
        (refunded.kind, refunded.amount),
        (RefundKind::Voided, eur(0))
    );
    assert_eq!(view(&mut kit).status, PaymentStatus::Voided);
}

#[test]
fn undoing_a_captured_payment_pays_all_of_it_back() {
    let mut kit = captured_kit();
    let turn = kit.event(undo());
    assert_eq!(turn.planned::<PayBack>()[0].amount, eur(1_998));
    let turn = paid_back(&mut kit, done());
    let refunded = &turn.published::<PaymentRefunded>()[0];
    assert_eq!(
        (refunded.kind, refunded.amount),
        (RefundKind::Refunded, eur(1_998))
    );
    assert_eq!(view(&mut kit).status, PaymentStatus::Refunded);
    let again = kit.event(undo());
    assert_eq!(
        again.published::<PaymentRefunded>()[0].amount,
        eur(0),
        "once"
    );
}

#[test]
fn undoing_before_the_request_refuses_the_late_request() {
    let mut kit = kit();
    let turn = kit.event(undo());
    let refunded = &turn.published::<PaymentRefunded>()[0];
    assert_eq!(
        (refunded.kind, refunded.payment_id),
        (RefundKind::Voided, None)
    );
    let late = kit.event(requested(1, "tok_ok"));
    assert!(late.planned_names().is_empty(), "never charged");
    assert_eq!(
        late.published::<PaymentFailed>()[0].reason,
        "order_cancelled"
    );
    kit.advance(days(30));
    kit.fire_due_timers();
    assert!(kit.rows(UNDONE_ORDERS).is_empty());
}

#[test]
fn undoing_while_the_provider_is_asked_waits_for_its_answer_and_then_undoes() {
    let mut kit = kit();
    kit.event(requested(1, "tok_slow"));
    assert!(kit.event(undo()).is_quiet(), "nothing is known yet");
    let turn = authorised(&mut kit, done());
    assert!(turn.published_names().is_empty(), "not confirmed any more");
    assert_eq!(turn.planned_names(), ["void-payment"]);
    let turn = voided(&mut kit, done());
    assert_eq!(
        turn.published::<PaymentRefunded>()[0].kind,
        RefundKind::Voided
    );
}

#[test]
fn undoing_an_unknown_attempt_asks_at_once() {
    let mut kit = kit();
    kit.event(requested(1, "tok_ok"));
    authorised(&mut kit, gave_up());
    assert_eq!(kit.event(undo()).planned_names(), ["look-up-payment"]);
    let turn = looked_up(&mut kit, Outcome::Done(None));
    assert_eq!(turn.published_names(), ["payment-refunded"]);
}

#[test]
fn an_undo_that_the_provider_refuses_is_reported_and_tried_again_when_asked() {
    let mut kit = captured_kit();
    kit.event(undo());
    let turn = paid_back(&mut kit, declined(FailureKind::Hard, "account_closed"));
    assert_eq!(turn.published_names(), ["payment-refund-failed"]);
    assert!(turn.planned_names().is_empty(), "not again by itself");
    let turn = kit.event(undo());
    let again = &turn.planned::<PayBack>()[0];
    assert!(again.key.to_string().ends_with("-2"), "another key");
    let turn = paid_back(&mut kit, done());
    assert_eq!(turn.published::<PaymentRefunded>()[0].amount, eur(1_998));
}

#[test]
fn a_request_after_the_undo_is_never_charged() {
    let mut kit = kit();
    kit.event(requested(1, "tok_declined"));
    authorised(&mut kit, declined(FailureKind::Hard, "no"));
    let turn = kit.event(undo());
    assert_eq!(turn.published_names(), ["payment-refunded"]);
    let late = kit.event(requested(2, "tok_ok"));
    assert!(late.planned_names().is_empty());
    assert_eq!(
        late.published::<PaymentFailed>()[0].reason,
        "order_cancelled"
    );
}

#[test]
fn a_part_can_be_paid_back_before_the_rest_is_undone() {
    let mut kit = captured_kit();
    let mut part = undo();
    part.refund_id = RefundId(Uuid::from_u128(77));
    part.amount = Some(eur(500));
    kit.event(part.clone());
    assert!(kit.event(part).is_quiet(), "the same return");
    let turn = paid_back(&mut kit, done());
    assert_eq!(turn.published::<PaymentRefunded>()[0].amount, eur(500));
    assert_eq!(view(&mut kit).status, PaymentStatus::PartiallyRefunded);
    let turn = kit.event(undo());
    assert_eq!(turn.planned::<PayBack>()[0].amount, eur(1_498));
}

// ShipmentDispatched.

#[test]
fn dispatch_takes_the_money_once() {
    let mut kit = kit();
    kit.event(requested(1, "tok_ok"));
    authorised(&mut kit, done());
    let turn = kit.event(dispatched());
    assert_eq!(turn.planned::<CaptureHeld>()[0].amount, eur(1_998));
    let turn = captured(&mut kit, done());
    assert_eq!(turn.published::<PaymentCompleted>()[0].captured, eur(1_998));
    assert!(kit.event(dispatched()).is_quiet());
    let shown = view(&mut kit);
    assert_eq!(
        (shown.status, shown.authorised, shown.captured),
        (PaymentStatus::Captured, eur(1_998), eur(1_998))
    );
}

#[test]
fn a_capture_that_is_refused_is_reported_and_can_be_tried_again_by_a_person() {
    let mut kit = kit();
    kit.event(requested(1, "tok_capture_fails"));
    authorised(&mut kit, done());
    kit.event(dispatched());
    let turn = captured(&mut kit, declined(FailureKind::Hard, "capture_refused"));
    assert_eq!(
        turn.published::<PaymentCaptureFailed>()[0].reason,
        "capture_refused"
    );
    assert_eq!(view(&mut kit).captured, eur(0));
    assert!(kit.event(dispatched()).is_quiet(), "not by itself");
    kit.command(CapturePayment { order_id: order() }).reply();
    let turn = captured(&mut kit, done());
    assert_eq!(turn.published_names(), ["payment-completed"]);
}

#[test]
fn dispatch_without_an_authorised_payment_is_reported() {
    let mut kit = kit();
    let turn = kit.event(dispatched());
    assert_eq!(
        turn.published::<PaymentCaptureFailed>()[0].reason,
        "no_payment"
    );
    kit.event(requested(1, "tok_ok"));
    let turn = kit.event(dispatched());
    assert_eq!(
        turn.published::<PaymentCaptureFailed>()[0].reason,
        "not_authorised"
    );
    assert!(turn.planned_names().is_empty());
}

#[test]
fn undoing_while_the_money_is_taken_waits_and_pays_it_back() {
    let mut kit = kit();
    kit.event(requested(1, "tok_ok"));
    authorised(&mut kit, done());
    kit.event(dispatched());
    assert!(kit.event(undo()).is_quiet());
    let turn = captured(&mut kit, done());
    assert_eq!(turn.published_names(), ["payment-completed"]);
    assert_eq!(turn.planned_names(), ["refund-payment"]);
    let turn = paid_back(&mut kit, done());
    assert_eq!(turn.published_names(), ["payment-refunded"]);
}

// Commands.

#[test]
fn a_refund_by_a_person_never_exceeds_what_is_left() {
    let mut kit = captured_kit();
    let payment_id = id(&mut kit);
    let refund = |amount| RefundPayment {
        payment_id,
        amount: eur(amount),
        reason: "goodwill".into(),
    };
    let turn = kit.command(refund(1_000));
    assert_eq!(turn.planned::<PayBack>()[0].amount, eur(1_000));
    let more = kit.command(refund(999));
    assert_eq!(more.rejection().code, "more_than_captured");
    assert_eq!(kit.command(refund(0)).rejection().code, "invalid_amount");
    assert_eq!(kit.command(refund(998)).rejected(), None);
    let mut foreign = refund(1);
    foreign.amount.currency = "USD".parse().unwrap();
    assert_eq!(kit.command(foreign).rejection().code, "foreign_currency");
    let turn = paid_back(&mut kit, done());
    assert_eq!(turn.published_names(), ["payment-refunded"]);
    assert!(turn.notifies(&payment_id));
}

#[test]
fn money_that_was_not_taken_cannot_be_refunded_by_a_person() {
    let mut kit = kit();
    kit.event(requested(1, "tok_ok"));
    authorised(&mut kit, done());
    let payment_id = id(&mut kit);
    let turn = kit.command(RefundPayment {
        payment_id,
        amount: eur(1),
        reason: "goodwill".into(),
    });
    assert_eq!(turn.rejection().code, "not_captured");
    let early = kit.command(CapturePayment { order_id: order() });
    assert_eq!(early.rejection().code, "not_dispatched");
}

// Webhooks.

#[test]
fn a_webhook_that_overtakes_the_answer_is_applied_and_the_answer_changes_nothing() {
    let mut kit = kit();
    kit.event(requested(1, "tok_duplicate_webhook"));
    let key = format!("{}-1", order());
    let told = webhook("evt_1", WebhookKind::Authorised, &key, 1_998);
    let turn = kit.command(told.clone());
    assert_eq!(turn.reply(), &WebhookOutcome::Applied);
    assert_eq!(turn.published_names(), ["payment-confirmed"]);
    assert_eq!(kit.command(told).reply(), &WebhookOutcome::Duplicate);
    assert!(authorised(&mut kit, done()).is_quiet());
    kit.advance(days(30));
    kit.fire_due_timers();
    assert!(kit.rows(WEBHOOKS_SEEN).is_empty(), "forgotten in time");
}

#[test]
fn a_webhook_about_nothing_we_asked_for_is_ignored() {
    let mut kit = kit();
    kit.event(requested(1, "tok_ok"));
    let key = |rest: &str| format!("{}-{rest}", order());
    for (kind, key, amount) in [
        (WebhookKind::Authorised, "garbage".to_owned(), 1_998),
        (WebhookKind::Authorised, key("2"), 1_998),
        (WebhookKind::Authorised, key("1"), 1),
        (WebhookKind::Captured, key("1"), 1_998),
        (WebhookKind::Captured, key("1-capture-1"), 1_998),
        (WebhookKind::Voided, key("1-void-1"), 1_998),
    ] {
        let turn = kit.command(webhook("evt", kind, &key, amount));
        assert_eq!(turn.reply(), &WebhookOutcome::Ignored, "{kind:?} {key}");
        assert!(turn.is_quiet());
    }
    assert_eq!(view(&mut kit).status, PaymentStatus::Pending);
    let empty = kit.command(webhook("", WebhookKind::Authorised, &key("1"), 1_998));
    assert_eq!(empty.rejection().code, "invalid_id");
}

#[test]
fn a_failure_by_webhook_is_looked_up_before_it_is_believed() {
    let mut kit = kit();
    kit.event(requested(1, "tok_insufficient_funds"));
    let key = format!("{}-1", order());
    let turn = kit.command(webhook("evt", WebhookKind::Failed, &key, 1_998));
    assert_eq!(turn.planned_names(), ["look-up-payment"]);
    // Nothing is applied yet, so nobody is told that it was.
    assert_eq!(turn.reply(), &WebhookOutcome::Asked);
    assert!(turn.published_names().is_empty());
    let turn = looked_up(
        &mut kit,
        Outcome::Done(Some(Answer::Declined {
            kind: FailureKind::Soft,
            reason: "insufficient_funds".into(),
        })),
    );
    assert_eq!(turn.published::<PaymentFailed>()[0].kind, FailureKind::Soft);
    let late = authorised(&mut kit, declined(FailureKind::Soft, "insufficient_funds"));
    assert!(late.is_quiet());
}

#[test]
fn money_that_is_held_after_a_failure_was_told_is_freed() {
    let mut kit = kit();
    kit.event(requested(1, "tok_ok"));
    authorised(&mut kit, declined(FailureKind::Hard, "no"));
    let key = format!("{}-1", order());
    let turn = kit.command(webhook("evt", WebhookKind::Authorised, &key, 1_998));
    assert_eq!(turn.planned_names(), ["void-payment"]);
    assert!(turn.published_names().is_empty());
}

#[test]
fn unknown_payments_are_not_found() {
    let mut kit = kit();
    let payment_id = PaymentId(Uuid::from_u128(5));
    let missing = kit.query(PaymentById { payment_id }).unwrap_err();
    assert_eq!(missing.code, "no_such_payment");
    assert!(kit.query(PaymentOfOrder { order_id: order() }).is_err());
    let refund = kit.command(RefundPayment {
        payment_id,
        amount: eur(1),
        reason: "goodwill".into(),
    });
    assert_eq!(refund.rejection().code, "no_such_payment");
    assert!(kit.rows(PAYMENTS).is_empty());
}

#[test]
fn a_refund_by_a_person_keeps_its_reason_and_needs_one() {
    let mut kit = captured_kit();
    let payment_id = id(&mut kit);
    let refund = |reason: &str| RefundPayment {
        payment_id,
        amount: eur(1),
        reason: reason.to_owned(),
    };
    for reason in ["", "  ", &"x".repeat(501)] {
        let turn = kit.command(refund(reason));
        assert_eq!(turn.rejection().code, "invalid_text");
        assert!(turn.is_quiet());
    }
    kit.command(refund(" a scratch ")).reply();
    let kept = kit.get(PAYMENTS, &payment_id).unwrap();
    assert_eq!(kept.refunds[0].reason.as_deref(), Some("a scratch"));
}
