#![allow(clippy::unwrap_used)]
//! Sagas as a host sees them: the fulfilment of an order in one service, and a second saga that
//! hears the same events.

use crate::prelude::*;
use crate::saga::{CancelAnswer, Orchestrator, ResolveAnswer, RetryAnswer, StepEffect};
use crate::testing::{Decided, ServiceKit};

macro_rules! events {
    ($($name:ident $wire:literal { $($field:ident: $kind:ty),* })*) => {$(
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        struct $name { order: u64, $($field: $kind),* }
        impl Message for $name {
            const NAME: &'static str = $wire;
            fn key(&self) -> Key { Key::of(&self.order) }
        }
        impl Event for $name {}
    )*};
}

events! {
    ReservationRequested "reservation-requested" {}
    ReservationReleased "reservation-released" {}
    ReservationConfirmed "reservation-confirmed" {}
    ReservationFailed "reservation-failed" {}
    ReservationExpired "reservation-expired" {}
    StockReleased "stock-released" {}
    PaymentRequested "payment-requested" { attempt: u32, card: String }
    PaymentConfirmed "payment-confirmed" { attempt: u32, payment: u64 }
    PaymentFailed "payment-failed" { attempt: u32, soft: bool }
    RefundRequested "refund-requested" { attempt: u32 }
    PaymentRefunded "payment-refunded" { attempt: u32 }
    OrderConfirmed "order-confirmed" {}
    CancellationRequested "cancellation-requested" {}
    ShipmentDispatched "shipment-dispatched" {}
    ShipmentCancelled "shipment-cancelled" {}
    CancellationRefused "cancellation-refused" {}
    Delivered "delivered" {}
    Returned "returned" {}
    OrderCancelled "order-cancelled" { reason: String }
    OrderReturned "order-returned" {}
}

const STATUS: Table<u64, String> = Table::new("status");
const SEEN: Table<u64, u32> = Table::new("seen");

struct Orders;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Facts {
    card: String,
    payment: Option<u64>,
}

struct Fulfilment;

impl Saga for Fulfilment {
    const NAME: &'static str = "fulfilment";
    type Service = Orders;
    type Id = u64;
    type Data = Facts;

    fn steps(steps: &mut Steps<Self>) {
        steps
            .step("reserve")
            .publishes(|order| ReservationRequested { order: *order.id })
            .succeeds_on(|e: &ReservationConfirmed| e.order)
            .fails_on(|e: &ReservationFailed| e.order, |_| Failure::last("short"))
            .fails_on(
                |e: &ReservationExpired| e.order,
                |_| Failure::last("expired"),
            )
            .deadline(seconds(30))
            .undo_publishes(|order| ReservationReleased { order: *order.id })
            .undone_on(|e: &StockReleased| e.order);
        steps
            .step("authorise")
            .publishes(|order| PaymentRequested {
                order: *order.id,
                attempt: order.attempt,
                card: order.data.card.clone(),
            })
            .succeeds_with(
                |e: &PaymentConfirmed| (e.order, e.attempt),
                |facts, e| facts.payment = Some(e.payment),
            )
            .fails_on(
                |e: &PaymentFailed| (e.order, e.attempt),
                |e| match e.soft {
                    true => Failure::hold("declined"),
                    false => Failure::last("declined for good"),
                },
            )
            .deadline(minutes(2))
            .undo_publishes(|order| RefundRequested {
                order: *order.id,
                attempt: order.attempt,
            })
            .undone_on(|e: &PaymentRefunded| (e.order, e.attempt));
        steps
            .step("confirm")
            .publishes(|order| OrderConfirmed { order: *order.id })
            .succeeds_on(|e: &OrderConfirmed| e.order);
        steps
            .step("dispatch")
            .succeeds_on(|e: &ShipmentDispatched| e.order)
            .undo_publishes(|order| CancellationRequested { order: *order.id })
            .undone_on(|e: &ShipmentCancelled| e.order)
            .undo_refused_on(|e: &CancellationRefused| e.order);
        steps.step("deliver").succeeds_on(|e: &Delivered| e.order);
    }

    fn moved(
        id: &u64,
        _: &Facts,
        state: &SagaState,
        cx: &mut Context<Orders>,
    ) -> Result<(), Rejection> {
        let status = match state {
            SagaState::Running { step: "reserve" } => "pending",
            SagaState::Running { step: "authorise" } => "reserved",
            SagaState::Running { step: "confirm" } => "paid",
            SagaState::Running { step: "dispatch" } => "confirmed",
            SagaState::Running { .. } => "shipped",
            SagaState::Held { .. } => "payment_failed",
            SagaState::Undoing { .. } => "cancelling",
            SagaState::Completed => "delivered",
            SagaState::Undone { .. } => "cancelled",
            SagaState::Review { .. } => "manual_review",
        };
        Ok(cx.put(STATUS, id, &status.to_owned())?)
    }

    fn finished(
        id: &u64,
        _: &Facts,
        outcome: &SagaOutcome,
        cx: &mut Context<Orders>,
    ) -> Result<(), Rejection> {
        if let SagaOutcome::Undone { reason } = outcome {
            let (order, reason) = (*id, reason.clone());
            cx.publish(OrderCancelled { order, reason });
        }
        Ok(())
    }
}

/// A parcel that came back: it starts by itself, and hears the same refund.
struct Return;

impl Saga for Return {
    const NAME: &'static str = "return";
    type Service = Orders;
    type Id = u64;
    type Data = ();

    fn steps(steps: &mut Steps<Self>) {
        steps.starts_on(|e: &Returned| Some((e.order, ())));
        steps
            .step("refund")
            .publishes(|order| RefundRequested {
                order: *order.id,
                attempt: 1,
            })
            .succeeds_on(|e: &PaymentRefunded| e.order);
    }

    fn finished(
        id: &u64,
        (): &(),
        _: &SagaOutcome,
        cx: &mut Context<Orders>,
    ) -> Result<(), Rejection> {
        cx.publish(OrderReturned { order: *id });
        Ok(())
    }
}

impl Service for Orders {
    const NAME: &'static str = "orders";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(STATUS)
            .table(SEEN)
            .saga::<Fulfilment>()
            .saga::<Return>()
            .event(|_, refunded: PaymentRefunded, cx| {
                if refunded.attempt == 99 {
                    return Err(Rejection::invalid("attempt", "there is no such attempt"));
                }
                Ok(cx.put(SEEN, &refunded.order, &refunded.attempt)?)
            })
            .publishes_outside::<OrderConfirmed>()
            .publishes_outside::<OrderCancelled>()
            .publishes_outside::<OrderReturned>();
    }
}

const ORDER: u64 = 7;

fn started() -> ServiceKit<Orders> {
    let mut kit = ServiceKit::of(Orders);
    let facts = Facts {
        card: "first".to_owned(),
        payment: None,
    };
    let turn = kit.turn(|_, cx| Fulfilment::start(&ORDER, facts, cx));
    assert_eq!(turn.published_names(), ["reservation-requested"]);
    kit
}

fn reserved() -> ServiceKit<Orders> {
    let mut kit = started();
    let turn = kit.event(ReservationConfirmed { order: ORDER });
    assert_eq!(turn.published::<PaymentRequested>().len(), 1);
    kit
}

fn confirmed() -> ServiceKit<Orders> {
    let mut kit = reserved();
    let turn = kit.event(paid(1));
    assert_eq!(turn.published_names(), ["order-confirmed"]);
    assert_eq!(status(&mut kit), "paid");
    kit.deliver_own();
    assert_eq!(status(&mut kit), "confirmed");
    kit
}

fn paid(attempt: u32) -> PaymentConfirmed {
    PaymentConfirmed {
        order: ORDER,
        attempt,
        payment: 70,
    }
}

fn declined(attempt: u32, soft: bool) -> PaymentFailed {
    PaymentFailed {
        order: ORDER,
        attempt,
        soft,
    }
}

fn refunded(attempt: u32) -> PaymentRefunded {
    PaymentRefunded {
        order: ORDER,
        attempt,
    }
}

fn status(kit: &mut ServiceKit<Orders>) -> String {
    kit.get(STATUS, &ORDER).unwrap()
}

fn state(kit: &mut ServiceKit<Orders>) -> SagaState {
    kit.view(|view| Fulfilment::state(&ORDER, view)).unwrap()
}

fn cancel(kit: &mut ServiceKit<Orders>) -> Decided<Orders, CancelAnswer> {
    kit.turn(|_, cx| Fulfilment::cancel(&ORDER, "changed my mind", cx))
}

fn retry(kit: &mut ServiceKit<Orders>) -> Decided<Orders, RetryAnswer> {
    kit.turn(|_, cx| Fulfilment::retry(&ORDER, cx))
}

fn resolve(kit: &mut ServiceKit<Orders>, decision: Resolve) -> Decided<Orders, ResolveAnswer> {
    kit.turn(|_, cx| Fulfilment::resolve(&ORDER, decision, cx))
}

#[test]
fn an_order_goes_forward_step_by_step() {
    let mut kit = confirmed();
    assert!(kit.event(ShipmentDispatched { order: ORDER }).is_quiet());
    assert_eq!(status(&mut kit), "shipped");
    kit.event(Delivered { order: ORDER });
    assert_eq!(state(&mut kit), SagaState::Completed);
    let progress = kit.view(|view| Fulfilment::progress(&ORDER, view)).unwrap();
    assert_eq!(progress.data.payment, Some(70));
    assert!(
        progress
            .steps
            .iter()
            .all(|step| step.effect == StepEffect::Done)
    );
}

#[test]
fn a_hard_decline_undoes_what_has_happened_and_nothing_else() {
    let mut kit = reserved();
    let turn = kit.event(declined(1, false));
    assert_eq!(turn.published_names(), ["reservation-released"]);
    assert_eq!(status(&mut kit), "cancelling");
    let turn = kit.event(StockReleased { order: ORDER });
    let reason = "declined for good".to_owned();
    assert_eq!(
        turn.published::<OrderCancelled>(),
        [OrderCancelled {
            order: ORDER,
            reason
        }]
    );
    assert_eq!(status(&mut kit), "cancelled");
}

#[test]
fn a_soft_decline_waits_for_a_retry_that_uses_the_amended_facts() {
    let mut kit = reserved();
    assert!(kit.event(declined(1, true)).is_quiet());
    assert_eq!(status(&mut kit), "payment_failed");
    kit.turn(|_, cx| Fulfilment::amend(&ORDER, |facts| facts.card = "second".to_owned(), cx));
    let turn = retry(&mut kit);
    assert_eq!(turn.reply(), &RetryAnswer::Started { attempt: 2 });
    let asked = turn.published::<PaymentRequested>();
    assert_eq!((asked[0].attempt, asked[0].card.as_str()), (2, "second"));
    assert_eq!(retry(&mut kit).reply(), &RetryAnswer::NotHeld);
    kit.event(declined(2, true));
    retry(&mut kit);
    kit.event(declined(3, true));
    assert_eq!(retry(&mut kit).reply(), &RetryAnswer::Exhausted);
}

#[test]
fn an_expired_reservation_cancels_an_order_that_is_held() {
    let mut kit = reserved();
    kit.event(declined(1, true));
    let turn = kit.event(ReservationExpired { order: ORDER });
    assert_eq!(turn.published_names(), ["order-cancelled"]);
    assert_eq!(status(&mut kit), "cancelled");
}

#[test]
fn a_late_failure_of_attempt_one_cannot_cancel_what_attempt_two_paid() {
    let mut kit = reserved();
    kit.event(declined(1, true));
    retry(&mut kit);
    assert!(kit.event(declined(1, false)).is_quiet());
    kit.event(paid(2));
    assert_eq!(status(&mut kit), "paid");
    assert!(kit.event(declined(1, false)).is_quiet());
    assert_eq!(status(&mut kit), "paid");
}

#[test]
fn a_late_success_of_an_old_attempt_is_undone_beside_the_order() {
    let mut kit = reserved();
    kit.event(declined(1, true));
    retry(&mut kit);
    let turn = kit.event(paid(1));
    assert_eq!(turn.published::<RefundRequested>()[0].attempt, 1);
    assert_eq!(status(&mut kit), "reserved");
    kit.event(paid(2));
    kit.event(refunded(1));
    assert_eq!(status(&mut kit), "paid");
    let progress = kit.view(|view| Fulfilment::progress(&ORDER, view)).unwrap();
    assert!(progress.compensating.is_empty());
}

#[test]
fn a_step_without_an_answer_in_time_is_undone_like_one_that_happened() {
    let mut kit = reserved();
    kit.advance(minutes(2));
    let turns = kit.fire_due_timers();
    assert_eq!(turns[0].published_names(), ["refund-requested"]);
    // Its answer is on the way while the undo is: the undo covers it.
    assert!(kit.event(paid(1)).is_quiet());
    let turn = kit.event(refunded(1));
    assert_eq!(turn.published_names(), ["reservation-released"]);
    kit.event(StockReleased { order: ORDER });
    assert_eq!(
        state(&mut kit),
        SagaState::Undone {
            reason: "step `authorise` had no answer in time".to_owned()
        }
    );
}

#[test]
fn a_success_after_the_end_is_undone_again_and_the_end_is_told_once() {
    let mut kit = started();
    kit.advance(seconds(30));
    kit.fire_due_timers();
    let turn = kit.event(StockReleased { order: ORDER });
    assert_eq!(turn.published_names(), ["order-cancelled"]);
    let turn = kit.event(ReservationConfirmed { order: ORDER });
    assert_eq!(turn.published_names(), ["reservation-released"]);
    assert_eq!(status(&mut kit), "cancelling");
    assert!(
        kit.event(StockReleased { order: ORDER })
            .published_names()
            .is_empty()
    );
    assert_eq!(status(&mut kit), "cancelled");
}

#[test]
fn cancelling_undoes_in_reverse_one_step_at_a_time() {
    let mut kit = confirmed();
    let turn = cancel(&mut kit);
    assert_eq!(turn.reply(), &CancelAnswer::Cancelling);
    assert_eq!(turn.published_names(), ["cancellation-requested"]);
    let again = cancel(&mut kit);
    assert_eq!(again.reply(), &CancelAnswer::AlreadyCancelling);
    assert!(again.is_quiet());
    let turn = kit.event(ShipmentCancelled { order: ORDER });
    assert_eq!(turn.published_names(), ["refund-requested"]);
    let turn = kit.event(refunded(1));
    assert_eq!(turn.published_names(), ["reservation-released"]);
    let turn = kit.event(StockReleased { order: ORDER });
    assert_eq!(turn.published_names(), ["order-cancelled"]);
    assert_eq!(cancel(&mut kit).reply(), &CancelAnswer::AlreadyUndone);
}

#[test]
fn a_refused_undo_lets_the_order_go_on() {
    let mut kit = confirmed();
    cancel(&mut kit);
    kit.event(CancellationRefused { order: ORDER });
    assert_eq!(status(&mut kit), "confirmed");
    let refusal = CancelAnswer::Refused { step: "dispatch" };
    assert_eq!(cancel(&mut kit).reply(), &refusal);
    kit.event(ShipmentDispatched { order: ORDER });
    assert_eq!(status(&mut kit), "shipped");
    assert_eq!(cancel(&mut kit).reply(), &refusal);
}

#[test]
fn an_order_dispatched_while_it_is_cancelled_is_shipped_once_refused() {
    let mut kit = confirmed();
    cancel(&mut kit);
    kit.event(ShipmentDispatched { order: ORDER });
    assert_eq!(status(&mut kit), "cancelling");
    kit.event(CancellationRefused { order: ORDER });
    assert_eq!(status(&mut kit), "shipped");
}

#[test]
fn an_undo_is_sent_again_until_its_deadline_and_then_a_person_decides() {
    let mut kit = reserved();
    cancel(&mut kit);
    let begun = kit.now();
    let mut sent = 1;
    while status(&mut kit) == "cancelling" {
        sent += kit.fire_next_timer().unwrap().published_names().len();
    }
    assert_eq!(status(&mut kit), "manual_review");
    assert_eq!(kit.now().since(begun), hours(24));
    assert_eq!(sent, 30, "30 s, doubled up to one hour, for a day");
    assert!(kit.fire_next_timer().is_none());
    assert_eq!(cancel(&mut kit).reply(), &CancelAnswer::InReview);
    let turn = resolve(&mut kit, Resolve::Retry);
    assert_eq!(turn.published_names(), ["refund-requested"]);
    assert_eq!(
        resolve(&mut kit, Resolve::Accept).reply(),
        &ResolveAnswer::NotInReview
    );
    let turn = kit.event(refunded(1));
    assert_eq!(turn.published_names(), ["reservation-released"]);
}

#[test]
fn an_answer_ends_a_review_by_itself() {
    let mut kit = reserved();
    cancel(&mut kit);
    while status(&mut kit) == "cancelling" {
        kit.fire_next_timer();
    }
    let turn = kit.event(refunded(1));
    assert_eq!(turn.published_names(), ["reservation-released"]);
    assert_eq!(status(&mut kit), "cancelling");
}

#[test]
fn what_comes_before_its_step_is_not_lost() {
    let mut kit = reserved();
    kit.event(ShipmentDispatched { order: ORDER });
    assert_eq!(status(&mut kit), "reserved");
    kit.event(paid(1));
    kit.deliver_own();
    assert_eq!(status(&mut kit), "shipped");
}

#[test]
fn several_sagas_and_the_service_hear_one_event() {
    let mut kit = confirmed();
    kit.event(ShipmentDispatched { order: ORDER });
    kit.event(Delivered { order: ORDER });
    let turn = kit.event(Returned { order: ORDER });
    assert_eq!(turn.published_names(), ["refund-requested"]);
    let turn = kit.event(refunded(1));
    assert_eq!(turn.published_names(), ["order-returned"]);
    assert_eq!(kit.get(SEEN, &ORDER), Some(1));
    assert!(kit.event(Returned { order: ORDER }).is_quiet());
}

#[test]
fn what_the_service_rejects_its_sagas_do_not_hear() {
    let mut kit = confirmed();
    kit.event(Returned { order: ORDER });
    assert_eq!(kit.event(refunded(99)).rejection().code, "attempt");
    let state = kit.view(|view| Return::state(&ORDER, view));
    assert_eq!(state, Some(SagaState::Running { step: "refund" }));
}

#[test]
fn an_event_about_no_saga_changes_nothing() {
    let mut kit = started();
    assert!(kit.event(ReservationConfirmed { order: 8 }).is_quiet());
    assert_eq!(kit.view(|view| Fulfilment::state(&8, view)), None);
    let answer = kit.turn(|_, cx| Fulfilment::cancel(&8, "?", cx));
    assert_eq!(answer.reply(), &CancelAnswer::NotFound);
}

#[test]
fn a_second_start_is_a_conflict() {
    let mut kit = started();
    let facts = Facts {
        card: String::new(),
        payment: None,
    };
    let turn = kit.turn(|_, cx| Fulfilment::start(&ORDER, facts, cx));
    assert_eq!(turn.rejection().code, "saga_exists");
}

#[test]
fn an_ended_saga_is_forgotten_in_time_and_leaves_no_timers() {
    let mut kit = started();
    kit.event(ReservationFailed { order: ORDER });
    assert_eq!(status(&mut kit), "cancelled");
    kit.advance(days(30));
    assert_eq!(kit.fire_due_timers().len(), 1);
    assert_eq!(kit.view(|view| Fulfilment::state(&ORDER, view)), None);
    assert!(kit.fire_next_timer().is_none());
}

/// A saga that belongs to nobody else.
struct Greeting;

impl Saga for Greeting {
    const NAME: &'static str = "greeting";
    type Service = Orchestrator<Greeting>;
    type Id = u64;
    type Data = String;

    fn steps(steps: &mut Steps<Self>) {
        steps
            .starts_on(|e: &OrderConfirmed| Some((e.order, "hello".to_owned())))
            .cancels_on(|e: &OrderCancelled| Some((e.order, e.reason.clone())))
            .also_publishes_outside::<OrderReturned>();
        steps
            .step("told")
            .sends::<Orders, _>(|order| Tell {
                text: order.data.clone(),
            })
            .succeeds_on(|e: &Delivered| e.order)
            .undo_sends::<Orders, _>(|order| Tell {
                text: format!("sorry: {}", order.reason.unwrap_or_default()),
            });
    }

    fn finished(
        id: &u64,
        _: &String,
        _: &SagaOutcome,
        cx: &mut Context<Orchestrator<Greeting>>,
    ) -> Result<(), Rejection> {
        cx.publish(OrderReturned { order: *id });
        Ok(())
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Tell {
    text: String,
}
impl Message for Tell {
    const NAME: &'static str = "tell";
}
impl Command for Tell {
    type Reply = ();
}

#[test]
fn a_saga_can_be_a_service_of_its_own() {
    let mut kit = ServiceKit::of(Orchestrator::<Greeting>::new());
    let text = "hello".to_owned();
    let turn = kit.event(OrderConfirmed { order: ORDER });
    assert_eq!(turn.sent::<Tell>(), [Tell { text }]);
    assert!(kit.event(OrderConfirmed { order: ORDER }).is_quiet());
    let reason = "rain".to_owned();
    let turn = kit.event(OrderCancelled {
        order: ORDER,
        reason,
    });
    let text = "sorry: rain".to_owned();
    assert_eq!(turn.sent::<Tell>(), [Tell { text }]);
    assert_eq!(turn.published_names(), ["order-returned"]);
}

#[test]
fn what_a_saga_uses_is_declared_by_its_registration() {
    let kit = ServiceKit::of(Orchestrator::<Greeting>::new());
    let declaration = kit.declaration();
    let handled: Vec<_> = declaration.handles.iter().map(|m| m.message).collect();
    assert_eq!(
        handled,
        [
            "order-confirmed",
            "order-cancelled",
            "delivered",
            "greeting"
        ]
    );
    assert_eq!(declaration.sends.len(), 1);
    assert_eq!(declaration.sagas[0].steps, ["told"]);
    let declaration = ServiceKit::of(Orders).declaration().clone();
    let mut published = declaration.publishes.iter();
    let confirmed = published.find(|event| event.message == "order-confirmed");
    assert!(confirmed.unwrap().outside, "declared by saga and service");
}

#[test]
fn a_handler_can_say_that_a_step_has_failed() {
    let mut kit = started();
    let fail = |cx: &mut Context<Orders>| {
        Fulfilment::fail(&ORDER, "reserve", Failure::last("no room"), cx)
    };
    let turn = kit.turn(|_, cx| fail(cx));
    assert_eq!(turn.reply(), &true);
    // It has certainly not happened, so there is nothing to undo.
    assert_eq!(turn.published_names(), ["order-cancelled"]);
    assert_eq!(kit.turn(|_, cx| fail(cx)).reply(), &false);
    let unknown = kit.turn(|_, cx| Fulfilment::fail(&ORDER, "dream", Failure::last("no room"), cx));
    assert_eq!(unknown.rejection().code, "unknown_step");
}
