//! Cancelling: at every step an order stands at, and what becomes of it when the others do not
//! answer, refuse, or answer late.

use super::*;

/// A step, and an answer to what was asked there that comes after the cancellation.
type Crossing = (fn() -> Shop, fn(&mut Shop));
type Stage = (&'static str, fn() -> Shop, &'static [&'static str]);

/// Every step at which an order can be cancelled, and what is asked for then, in order.
const STAGES: [Stage; 5] = [
    ("pending", Shop::placed, &[RELEASE]),
    ("reserved", Shop::reserved, &[REFUND, RELEASE]),
    // Nothing is held for an attempt that was declined.
    ("payment_failed", Shop::payment_failed, &[RELEASE]),
    ("paid", Shop::paid, &[KEEP_BACK, REFUND, RELEASE]),
    ("confirmed", Shop::confirmed, &[KEEP_BACK, REFUND, RELEASE]),
];

const KEEP_BACK: &str = "shipment-cancellation-requested";
const REFUND: &str = "payment-refund-requested";
const RELEASE: &str = "inventory-reservation-released";

/// Answers the one request that is outstanding.
fn answer(shop: &mut Shop, request: &str) -> Decided<Orders> {
    match request {
        KEEP_BACK => shop.event(shop.kept_back()),
        REFUND => shop.event(shop.refunded(RefundKind::Voided)),
        RELEASE => shop.event(shop.stock_free()),
        other => panic!("{other} is no compensation"),
    }
}

#[test]
fn cancelling_undoes_what_has_happened_in_reverse_one_step_at_a_time() {
    for (status, stage, undone) in STAGES {
        let mut shop = stage();
        assert_eq!(shop.status(), status);
        let turn = shop.cancel();
        assert_eq!(turn.reply().status, OrderStatus::Cancelling, "{status}");
        let mut asked = turn.published_names();
        for (request, next) in undone
            .iter()
            .zip(undone.iter().skip(1).chain([&"order-cancelled"]))
        {
            assert_eq!(asked, [*request], "cancelled when {status}");
            assert_eq!(shop.status(), "cancelling");
            asked = answer(&mut shop, request).published_names();
            assert_eq!(asked, [*next], "cancelled when {status}");
        }
        shop.kit.deliver_own();
        let order = shop.view();
        assert_eq!(order.status, OrderStatus::Cancelled, "{status}");
        assert_eq!(order.cancel_reason.as_deref(), Some("changed my mind"));
        assert_eq!(order.review_reason, None);
    }
}

#[test]
fn an_order_that_is_cancelled_while_authorising_names_its_payment() {
    let mut shop = Shop::reserved();
    assert_eq!(shop.view().payment_id, None);
    shop.cancel();
    answer(&mut shop, REFUND);
    assert_eq!(shop.view().payment_id, Some(PAYMENT));
    // Who never had one has none.
    let mut shop = Shop::reserved();
    shop.cancel();
    let mut never_paid = shop.refunded(RefundKind::Voided);
    never_paid.payment_id = None;
    shop.event(never_paid);
    assert_eq!(shop.view().payment_id, None);
}

#[test]
fn an_order_that_has_left_or_is_over_cannot_be_cancelled() {
    for stage in [Shop::shipped as fn() -> Shop, Shop::delivered] {
        let mut shop = stage();
        let before = shop.view();
        let refused = shop.cancel();
        assert_eq!(refused.rejection().code, "already_shipped");
        assert_eq!(shop.view(), before);
    }
}

#[test]
fn an_order_that_is_cancelled_cannot_be_cancelled_again_but_one_on_its_way_there_can() {
    let mut shop = Shop::placed();
    shop.cancel().reply();
    let again = shop.cancel();
    assert_eq!(again.reply().status, OrderStatus::Cancelling);
    assert!(again.published_names().is_empty());
    shop.event(shop.stock_free());
    shop.kit.deliver_own();
    let before = shop.view();
    assert_eq!(before.status, OrderStatus::Cancelled);
    assert_eq!(shop.cancel().rejection().code, "already_cancelled");
    assert_eq!(shop.view(), before);
}

#[test]
fn an_answer_that_crosses_the_cancellation_changes_nothing_about_it() {
    // What was asked for before the cancellation is answered after it.
    let crossings: [Crossing; 5] = [
        (Shop::placed, |shop| drop(shop.event(shop.stock_held()))),
        (Shop::placed, |shop| drop(shop.event(shop.stock_short()))),
        (Shop::reserved, |shop| drop(shop.event(shop.authorised(1)))),
        (Shop::reserved, |shop| {
            drop(shop.event(shop.declined(1, FailureKind::Hard)));
        }),
        (Shop::paid, |shop| drop(shop.kit.deliver_own())),
    ];
    for (stage, cross) in crossings {
        let mut shop = stage();
        let mut asked = shop.cancel().published_names();
        cross(&mut shop);
        while let Some(request) = asked.pop().filter(|asked| asked != "order-cancelled") {
            assert_eq!(shop.status(), "cancelling");
            asked = answer(&mut shop, &request).published_names();
        }
        shop.kit.deliver_own();
        assert_eq!(shop.status(), "cancelled");
    }
}

#[test]
fn a_cancellation_that_shipping_refuses_lets_the_order_go_on() {
    let mut shop = Shop::confirmed();
    shop.cancel().reply();
    // It left at that very moment.
    shop.event(shop.dispatched());
    assert_eq!(shop.status(), "cancelling");
    let turn = shop.event(shop.not_kept_back());
    assert_eq!(turn.published_names(), ["order-shipped"]);
    assert_eq!(shop.status(), "shipped");
    assert_eq!(shop.view().cancel_reason, None);
    assert_eq!(shop.cancel().rejection().code, "already_shipped");
    shop.event(shop.arrived());
    assert_eq!(shop.status(), "delivered");
}

#[test]
fn a_parcel_that_arrives_while_its_order_is_cancelled_is_shipped_and_delivered_once_refused() {
    let mut shop = Shop::confirmed();
    shop.cancel().reply();
    shop.event(shop.dispatched());
    shop.event(shop.arrived());
    let turn = shop.event(shop.not_kept_back());
    assert_eq!(turn.published_names(), ["order-shipped", "order-delivered"]);
    assert_eq!(shop.status(), "delivered");
}

#[test]
fn a_compensation_without_an_answer_is_asked_for_until_a_person_must_look() {
    let mut shop = Shop::reserved();
    shop.cancel().reply();
    let mut asked = 0;
    while shop.status() == "cancelling" {
        let turn = shop.kit.fire_next_timer().unwrap();
        asked += turn.published::<PaymentRefundRequested>().len();
    }
    assert!(asked > 10, "{asked}");
    let order = shop.view();
    assert_eq!(order.status, OrderStatus::ManualReview);
    assert!(order.review_reason.unwrap().contains("authorise"));
    assert_eq!(shop.cancel().rejection().code, "in_review");
}

#[test]
fn a_refund_that_fails_is_asked_for_again_and_its_success_ends_the_cancellation() {
    let mut shop = Shop::reserved();
    shop.cancel().reply();
    assert!(shop.event(shop.not_refunded()).is_quiet());
    assert_eq!(shop.status(), "cancelling");
    let turn = shop.kit.fire_next_timer().unwrap();
    assert_eq!(turn.published_names(), [REFUND]);
    shop.event(shop.refunded(RefundKind::Voided));
    shop.event(shop.stock_free());
    shop.kit.deliver_own();
    assert_eq!(shop.status(), "cancelled");
}

#[test]
fn a_person_resolves_a_stuck_compensation() {
    let stuck = || {
        let mut shop = Shop::placed();
        shop.cancel().reply();
        while shop.status() == "cancelling" {
            shop.kit.fire_next_timer().unwrap();
        }
        assert_eq!(shop.status(), "manual_review");
        shop
    };
    for action in [Resolve::Retry, Resolve::Cancel] {
        let mut shop = stuck();
        let turn = shop.resolve(action);
        assert_eq!(turn.published_names(), [RELEASE]);
        assert_eq!(turn.reply().status, OrderStatus::Cancelling);
        shop.event(shop.stock_free());
        shop.kit.deliver_own();
        assert_eq!(shop.status(), "cancelled");
    }
    let mut shop = stuck();
    let turn = shop.resolve(Resolve::Accept);
    assert_eq!(turn.published_names(), ["order-cancelled"]);
    shop.kit.deliver_own();
    assert_eq!(shop.status(), "cancelled");
    assert_eq!(
        shop.resolve(Resolve::Accept).rejection().code,
        "not_in_review"
    );
}

#[test]
fn an_expired_reservation_cancels_an_order_only_before_it_is_paid() {
    for (stage, ends) in [
        (Shop::reserved as fn() -> Shop, "cancelling"),
        (Shop::payment_failed, "cancelling"),
        (Shop::paid, "paid"),
        (Shop::confirmed, "confirmed"),
        (Shop::shipped, "shipped"),
    ] {
        let mut shop = stage();
        shop.event(shop.stock_expired());
        assert_eq!(shop.status(), ends);
    }
}

#[test]
fn the_deadlines_are_those_that_the_order_was_accepted_with() {
    let deadlines = Deadlines {
        reservation: seconds(1),
        ..Deadlines::default()
    };
    let mut kit = ServiceKit::of(Orders {
        deadlines,
        ..Orders::default()
    });
    list(&mut kit, MUG, "MUG", eur(999));
    let mut wish = wish();
    wish.items.truncate(1);
    let id = kit.command(wish).reply().id;
    kit.advance(seconds(1));
    assert_eq!(kit.fire_due_timers().len(), 1);
    let mut shop = Shop { kit, id };
    assert_eq!(shop.status(), "cancelling");
    assert!(shop.view().cancel_reason.unwrap().contains("reserve"));
}
