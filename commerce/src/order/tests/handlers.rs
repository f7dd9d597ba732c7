//! The six core handlers, each by what it promises.

use super::*;

// InventoryReservationConfirmed.

#[test]
fn a_reservation_leads_to_the_payment_of_the_fixed_total() {
    let mut shop = Shop::placed();
    let turn = shop.event(shop.stock_held());
    let asked = turn.published::<PaymentRequested>().remove(0);
    assert_eq!((asked.order_id, asked.attempt), (shop.id, 1));
    assert_eq!(asked.amount, eur(2_448));
    assert_eq!(asked.method, card("tok_ok"));
    assert!(turn.notifies(&shop.id));
    assert_eq!(shop.status(), "reserved");
    assert_eq!(
        shop.last_entry(),
        "inventory-reservation-confirmed: pending -> reserved"
    );
}

#[test]
fn a_second_reservation_asks_for_no_second_payment() {
    let mut shop = Shop::reserved();
    assert!(shop.event(shop.stock_held()).is_quiet());
    assert_eq!(shop.status(), "reserved");
}

#[test]
fn a_reservation_that_comes_after_its_deadline_is_released() {
    let mut shop = Shop::placed();
    shop.kit.advance(seconds(30));
    let turns = shop.kit.fire_due_timers();
    assert_eq!(
        turns[0].published_names(),
        ["inventory-reservation-released"]
    );
    assert_eq!(shop.last_entry(), "deadline: pending -> cancelling");
    shop.event(shop.stock_held());
    shop.event(shop.stock_free());
    shop.kit.deliver_own();
    assert_eq!(shop.status(), "cancelled");
    // Later still, it is released once more, and the order stays cancelled.
    let turn = shop.event(shop.stock_held());
    assert_eq!(turn.published_names(), ["inventory-reservation-released"]);
    let turn = shop.event(shop.stock_free());
    assert!(turn.published_names().is_empty());
    assert_eq!(shop.status(), "cancelled");
}

#[test]
fn a_renewed_reservation_is_noted_and_answers_nothing() {
    let mut shop = Shop::confirmed();
    let renewed = InventoryReservationConfirmed {
        renewed: true,
        ..shop.stock_held()
    };
    assert!(shop.event(renewed).is_quiet());
    assert_eq!(shop.status(), "confirmed");
    let detail = shop.timeline().pop().unwrap().detail.unwrap();
    assert!(detail.contains("renewed"), "{detail}");
}

// InventoryReservationFailed.

#[test]
fn an_order_that_is_short_is_cancelled_and_names_what_is_short() {
    let mut shop = Shop::placed();
    let turn = shop.event(shop.stock_short());
    assert_eq!(turn.published_names(), ["order-cancelled"]);
    assert_eq!(shop.status(), "cancelling");
    shop.kit.deliver_own();
    let order = shop.view();
    assert_eq!(order.status, OrderStatus::Cancelled);
    assert_eq!(
        order.cancel_reason.unwrap(),
        "out_of_stock: 2 of mug wanted, 1 there"
    );
}

#[test]
fn a_confirmed_order_whose_reservation_is_lost_is_cancelled_with_compensation() {
    let mut shop = Shop::confirmed();
    let turn = shop.event(shop.stock_short());
    assert_eq!(turn.published_names(), ["shipment-cancellation-requested"]);
    let turn = shop.event(shop.kept_back());
    assert_eq!(turn.published_names(), ["payment-refund-requested"]);
    let turn = shop.event(shop.refunded(RefundKind::Voided));
    assert_eq!(turn.published_names(), ["inventory-reservation-released"]);
    let turn = shop.event(shop.stock_free());
    assert_eq!(turn.published_names(), ["order-cancelled"]);
    shop.kit.deliver_own();
    assert_eq!(shop.status(), "cancelled");
}

#[test]
fn a_lost_reservation_of_an_order_that_has_left_changes_nothing() {
    let mut shop = Shop::confirmed();
    shop.event(shop.stock_short());
    // Too late: shipping has sent it.
    shop.event(shop.dispatched());
    let turn = shop.event(shop.not_kept_back());
    assert_eq!(turn.published_names(), ["order-shipped"]);
    assert_eq!(shop.status(), "shipped");
    assert!(shop.event(shop.stock_short()).is_quiet());
    assert_eq!(shop.status(), "shipped");
    assert_eq!(shop.view().cancel_reason, None);
}

#[test]
fn a_failed_reservation_of_a_cancelled_order_is_noted_only() {
    let mut shop = Shop::placed();
    shop.event(shop.stock_short());
    shop.kit.deliver_own();
    assert!(shop.event(shop.stock_short()).is_quiet());
    assert_eq!(shop.status(), "cancelled");
}

// PaymentConfirmed.

#[test]
fn the_current_attempt_confirms_the_order() {
    let mut shop = Shop::reserved();
    let turn = shop.event(shop.authorised(1));
    let confirmed = turn.published::<OrderConfirmed>().remove(0);
    assert_eq!(confirmed.payment_id, PAYMENT);
    assert_eq!(confirmed.total, eur(2_448));
    assert_eq!(confirmed.ship_to, sealed_address());
    assert_eq!(confirmed.lines.len(), 2);
    assert_eq!(shop.status(), "paid");
    assert_eq!(shop.view().payment_id, Some(PAYMENT));
}

#[test]
fn an_older_attempt_neither_confirms_nor_undoes_the_order() {
    let mut shop = Shop::payment_failed();
    shop.retry("tok_other").reply();
    assert!(shop.event(shop.authorised(1)).is_quiet());
    assert_eq!(shop.status(), "reserved");
    shop.event(shop.authorised(2));
    assert_eq!(shop.status(), "paid");
}

#[test]
fn an_authorisation_after_its_deadline_is_given_back() {
    let mut shop = Shop::reserved();
    shop.kit.advance(minutes(2));
    let turns = shop.kit.fire_due_timers();
    assert_eq!(turns[0].published_names(), ["payment-refund-requested"]);
    assert_eq!(shop.status(), "cancelling");
    // The refund was asked for after the payment, so its answer covers it.
    assert!(shop.event(shop.authorised(1)).is_quiet());
    shop.event(shop.refunded(RefundKind::Voided));
    shop.event(shop.stock_free());
    shop.kit.deliver_own();
    assert_eq!(shop.status(), "cancelled");
}

#[test]
fn an_authorisation_of_a_cancelled_order_is_given_back() {
    let mut shop = Shop::reserved();
    shop.cancel().reply();
    shop.event(shop.refunded(RefundKind::Voided));
    shop.event(shop.stock_free());
    shop.kit.deliver_own();
    let turn = shop.event(shop.authorised(1));
    assert_eq!(turn.published_names(), ["payment-refund-requested"]);
    assert_eq!(shop.status(), "cancelled");
    assert!(
        shop.event(shop.refunded(RefundKind::Voided))
            .published::<OrderCancelled>()
            .is_empty()
    );
    assert_eq!(shop.status(), "cancelled");
}

// PaymentFailed.

#[test]
fn a_hard_decline_cancels_at_once_and_releases_the_goods() {
    let mut shop = Shop::reserved();
    let turn = shop.event(shop.declined(1, FailureKind::Hard));
    assert_eq!(turn.published_names(), ["inventory-reservation-released"]);
    assert_eq!(shop.last_entry(), "payment-failed: reserved -> cancelling");
    shop.event(shop.stock_free());
    shop.kit.deliver_own();
    let order = shop.view();
    assert_eq!(order.status, OrderStatus::Cancelled);
    assert_eq!(order.cancel_reason.as_deref(), Some("card_declined"));
}

#[test]
fn a_soft_decline_keeps_the_reservation_until_it_expires() {
    let mut shop = Shop::reserved();
    assert!(
        shop.event(shop.declined(1, FailureKind::Soft))
            .published_names()
            .is_empty()
    );
    assert_eq!(shop.status(), "payment_failed");
    assert_eq!(
        shop.view().payment_failure.as_deref(),
        Some("card_declined")
    );
    shop.event(shop.stock_expired());
    shop.event(shop.stock_free());
    shop.kit.deliver_own();
    let order = shop.view();
    assert_eq!(order.status, OrderStatus::Cancelled);
    assert_eq!(order.cancel_reason.as_deref(), Some("reservation_expired"));
}

#[test]
fn a_late_failure_of_attempt_one_cannot_cancel_what_attempt_two_paid() {
    let mut shop = Shop::payment_failed();
    shop.retry("tok_other").reply();
    shop.event(shop.authorised(2));
    shop.kit.deliver_own();
    for kind in [FailureKind::Soft, FailureKind::Hard] {
        assert!(shop.event(shop.declined(1, kind)).is_quiet());
        assert_eq!(shop.status(), "confirmed");
        assert_eq!(shop.view().payment_failure, None);
    }
}

#[test]
fn a_payment_is_tried_three_times_with_the_method_given_last() {
    let mut shop = Shop::payment_failed();
    for attempt in [2, 3] {
        let turn = shop.retry("tok_other");
        let asked = turn.published::<PaymentRequested>().remove(0);
        assert_eq!(asked.attempt, attempt);
        assert_eq!(asked.method, card("tok_other"));
        assert_eq!(turn.reply().payment_attempts, attempt);
        assert_eq!(turn.reply().status, OrderStatus::Reserved);
        shop.event(shop.declined(attempt, FailureKind::Soft));
    }
    let refused = shop.retry("tok_ok");
    assert_eq!(refused.rejection().code, "payment_attempts_exhausted");
    assert_eq!(shop.status(), "payment_failed");
}

// OrderConfirmed.

#[test]
fn its_own_confirmation_makes_an_order_confirmed() {
    let mut shop = Shop::paid();
    assert_eq!(shop.status(), "paid");
    let turn = shop.kit.deliver_own().remove(0);
    assert!(turn.notifies(&shop.id));
    assert_eq!(shop.status(), "confirmed");
    assert_eq!(shop.last_entry(), "order-confirmed: paid -> confirmed");
}

#[test]
fn a_confirmation_does_not_stop_a_cancellation() {
    let mut shop = Shop::paid();
    let turn = shop.cancel();
    assert_eq!(turn.published_names(), ["shipment-cancellation-requested"]);
    shop.kit.deliver_own();
    assert_eq!(shop.status(), "cancelling");
    shop.event(shop.kept_back());
    assert_eq!(shop.status(), "cancelling");
}

#[test]
fn a_parcel_that_leaves_before_the_confirmation_is_heard_is_not_lost() {
    let mut shop = Shop::paid();
    shop.event(shop.dispatched());
    assert_eq!(shop.status(), "paid");
    assert_eq!(shop.cancel().rejection().code, "already_shipped");
    let turn = shop.kit.deliver_own().remove(0);
    assert_eq!(turn.published_names(), ["order-shipped"]);
    assert_eq!(shop.status(), "shipped");
}

// OrderCancelled.

#[test]
fn its_own_cancellation_makes_an_order_cancelled() {
    let mut shop = Shop::placed();
    let turn = shop.cancel();
    assert_eq!(turn.reply().status, OrderStatus::Cancelling);
    let turn = shop.event(shop.stock_free());
    let cancelled = turn.published::<OrderCancelled>().remove(0);
    assert_eq!(cancelled.reason, "changed my mind");
    assert_eq!(cancelled.total, eur(2_448));
    assert_eq!(shop.status(), "cancelling");
    let turn = shop.kit.deliver_own().remove(0);
    assert!(turn.notifies(&shop.id));
    assert_eq!(shop.status(), "cancelled");
    assert_eq!(
        shop.last_entry(),
        "order-cancelled: cancelling -> cancelled"
    );
}

#[test]
fn a_cancelled_order_stays_cancelled_whatever_comes() {
    let mut shop = Shop::placed();
    shop.event(shop.stock_short());
    shop.kit.deliver_own();
    shop.event(shop.authorised(1));
    shop.event(shop.declined(1, FailureKind::Soft));
    shop.event(shop.stock_expired());
    shop.event(shop.kept_back());
    shop.event(shop.refunded(RefundKind::Voided));
    shop.event(shop.not_charged());
    shop.event(shop.came_back());
    assert_eq!(shop.status(), "cancelled");
    assert!(shop.kit.deliver_own().is_empty());
}

#[test]
fn cancelling_again_changes_nothing() {
    let mut shop = Shop::placed();
    shop.cancel().reply();
    let before = shop.view();
    assert!(shop.cancel().is_quiet());
    assert_eq!(shop.view(), before);
    shop.event(shop.stock_free());
    shop.kit.deliver_own();
    let before = shop.view();
    assert!(shop.cancel().is_quiet());
    assert_eq!(shop.view(), before);
}

// All of them.

#[test]
fn a_message_about_an_unknown_order_changes_nothing() {
    let mut shop = Shop::placed();
    shop.id = OrderId(Uuid::from_u128(99));
    assert!(shop.event(shop.stock_held()).is_quiet());
    assert!(shop.event(shop.stock_short()).is_quiet());
    assert!(shop.event(shop.authorised(1)).is_quiet());
    assert!(shop.event(shop.charged()).is_quiet());
    assert!(shop.event(shop.came_back()).is_quiet());
}

#[test]
fn an_order_goes_forward_step_by_step_and_its_timeline_tells_so() {
    let mut shop = Shop::confirmed();
    let turn = shop.event(shop.dispatched());
    let shipped = turn.published::<OrderShipped>().remove(0);
    assert_eq!(shipped.tracking_number, "T1");
    let turn = shop.event(shop.charged());
    let bought = turn.published::<ProductPurchased>();
    let bought: Vec<_> = bought.iter().map(|p| (p.product_id, p.quantity)).collect();
    assert_eq!(bought, [(MUG, 2), (PLATE, 1)]);
    assert!(shop.event(shop.charged()).published_names().is_empty());
    let turn = shop.event(shop.arrived());
    assert_eq!(turn.published_names(), ["order-delivered"]);
    let entries: Vec<_> = shop.timeline();
    let told: Vec<_> = entries
        .iter()
        .map(|entry| {
            (
                entry.service.as_str(),
                entry.message.as_str(),
                entry.to.as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("order", "place-order", "pending"),
            ("inventory", "inventory-reservation-confirmed", "reserved"),
            ("payment", "payment-confirmed", "paid"),
            ("order", "order-confirmed", "confirmed"),
            ("shipping", "shipment-created", "confirmed"),
            ("shipping", "shipment-dispatched", "shipped"),
            ("payment", "payment-completed", "shipped"),
            ("payment", "payment-completed", "shipped"),
            ("shipping", "shipment-delivered", "delivered"),
        ]
    );
    let order = shop.view();
    assert_eq!(order.version, 9);
    assert_eq!(order.shipment_id, Some(PARCEL));
    for pair in entries.windows(2) {
        assert_eq!(pair[1].from, Some(pair[0].to));
    }
}
