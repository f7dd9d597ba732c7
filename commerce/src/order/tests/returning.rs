//! What happens after the parcel has left: captures that fail, parcels that come back.

use super::*;

#[test]
fn a_returned_parcel_is_paid_back_and_then_returned() {
    for stage in [Shop::shipped as fn() -> Shop, Shop::delivered] {
        let mut shop = stage();
        shop.event(shop.charged());
        let before = shop.status();
        let turn = shop.event(shop.came_back());
        let asked = turn.published::<PaymentRefundRequested>().remove(0);
        assert_eq!(asked.refund_id, RefundId::of_whole_order(shop.id));
        assert_eq!(asked.amount, None);
        assert_eq!(turn.published_names(), ["payment-refund-requested"]);
        assert_eq!(shop.status(), before);
        shop.event(shop.refunded(RefundKind::Refunded));
        assert_eq!(shop.status(), "returned");
        // Once.
        assert!(shop.event(shop.came_back()).is_quiet());
        assert!(shop.event(shop.refunded(RefundKind::Refunded)).is_quiet());
        assert_eq!(shop.status(), "returned");
        assert_eq!(shop.cancel().rejection().code, "already_cancelled");
    }
}

#[test]
fn three_failed_deliveries_are_noted_and_the_parcel_comes_back() {
    let mut shop = Shop::shipped();
    for attempt in 1..=3 {
        assert!(shop.event(shop.not_arrived(attempt)).is_quiet());
        assert_eq!(shop.status(), "shipped");
    }
    let detail = shop.timeline().pop().unwrap().detail.unwrap();
    assert!(detail.contains("goes back"), "{detail}");
    shop.event(shop.came_back());
    shop.event(shop.refunded(RefundKind::Refunded));
    assert_eq!(shop.status(), "returned");
}

#[test]
fn a_return_whose_refund_has_no_answer_is_asked_for_until_a_person_must_look() {
    let stuck = || {
        let mut shop = Shop::delivered();
        shop.event(shop.came_back());
        let mut asked = 0;
        while shop.status() == "delivered" {
            let turn = shop.kit.fire_next_timer().unwrap();
            asked += turn.published::<PaymentRefundRequested>().len();
        }
        assert!(asked > 10, "{asked}");
        assert_eq!(shop.status(), "manual_review");
        assert!(
            shop.view()
                .review_reason
                .unwrap()
                .starts_with("refund_failed")
        );
        shop
    };
    let mut shop = stuck();
    let turn = shop.resolve(Resolve::Retry);
    assert_eq!(turn.published_names(), ["payment-refund-requested"]);
    assert_eq!(shop.status(), "delivered");
    shop.event(shop.refunded(RefundKind::Refunded));
    assert_eq!(shop.status(), "returned");

    let mut shop = stuck();
    shop.resolve(Resolve::Accept).reply();
    assert_eq!(shop.status(), "returned");

    let mut shop = stuck();
    shop.event(shop.refunded(RefundKind::Refunded));
    assert_eq!(
        shop.status(),
        "returned",
        "an answer ends a review by itself"
    );
}

#[test]
fn a_capture_that_fails_calls_a_person_and_the_parcel_goes_on() {
    let mut shop = Shop::shipped();
    shop.event(shop.not_charged());
    let order = shop.view();
    assert_eq!(order.status, OrderStatus::ManualReview);
    assert_eq!(
        order.review_reason.as_deref(),
        Some("capture_failed: capture_refused")
    );
    let turn = shop.event(shop.arrived());
    assert_eq!(turn.published_names(), ["order-delivered"]);
    assert_eq!(shop.status(), "manual_review");
    shop.resolve(Resolve::Accept).reply();
    assert_eq!(shop.status(), "delivered");
}

#[test]
fn a_capture_that_fails_before_the_dispatch_is_known_calls_a_person_all_the_same() {
    let mut shop = Shop::confirmed();
    shop.event(shop.not_charged());
    assert_eq!(shop.status(), "manual_review");
    let turn = shop.event(shop.dispatched());
    assert_eq!(turn.published_names(), ["order-shipped"]);
    assert_eq!(shop.status(), "manual_review");
    shop.resolve(Resolve::Accept).reply();
    assert_eq!(shop.status(), "shipped");
}

#[test]
fn a_failed_capture_is_tried_again_and_its_success_ends_the_review() {
    let mut shop = Shop::shipped();
    shop.event(shop.not_charged());
    let turn = shop.resolve(Resolve::Retry);
    let sent = turn.sent::<CapturePayment>();
    assert_eq!(sent[0].order_id, shop.id);
    assert_eq!(shop.status(), "manual_review");
    let turn = shop.event(shop.charged());
    assert_eq!(turn.published::<ProductPurchased>().len(), 2);
    assert_eq!(shop.status(), "shipped");
    // One that fails after that is old news.
    shop.event(shop.not_charged());
    assert_eq!(shop.status(), "shipped");
}

#[test]
fn a_capture_that_is_given_up_frees_the_money_and_cancels_the_order() {
    let mut shop = Shop::shipped();
    shop.event(shop.not_charged());
    let turn = shop.resolve(Resolve::Cancel);
    assert_eq!(turn.published_names(), ["payment-refund-requested"]);
    assert_eq!(turn.reply().status, OrderStatus::Cancelling);
    let turn = shop.event(shop.refunded(RefundKind::Voided));
    assert_eq!(turn.published_names(), ["order-cancelled"]);
    shop.kit.deliver_own();
    assert_eq!(shop.status(), "cancelled");
    // The parcel is still on its way.
    assert!(shop.event(shop.arrived()).published_names().is_empty());
    assert_eq!(shop.status(), "cancelled");
}

#[test]
fn a_parcel_that_comes_back_uncharged_ends_the_review() {
    let mut shop = Shop::shipped();
    shop.event(shop.not_charged());
    shop.event(shop.came_back());
    assert_eq!(shop.status(), "manual_review");
    shop.event(shop.refunded(RefundKind::Voided));
    assert_eq!(shop.status(), "returned");
}

#[test]
fn a_persons_partial_refund_leaves_the_status() {
    let mut shop = Shop::delivered();
    let partial = PaymentRefunded {
        refund_id: RefundId(Uuid::from_u128(77)),
        amount: eur(100),
        ..shop.refunded(RefundKind::Refunded)
    };
    shop.event(shop.came_back());
    shop.event(partial);
    assert_eq!(shop.status(), "delivered");
}
