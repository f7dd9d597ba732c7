//! Each handler: given users and preferences, when a fact comes, then what is queued.

use super::*;
use crate::identity::UserAccountLocked;
use crate::inventory::LowStockAlert;
use crate::payment::PaymentCompleted;
use crate::shipping::ShipmentDelivered;

fn completed(n: u128) -> PaymentCompleted {
    PaymentCompleted {
        order_id: order(n),
        payment_id: PaymentId(Uuid::from_u128(5)),
        customer_id: ADA,
        captured: euros(1_998),
        at: AT,
    }
}

fn delivered(n: u128) -> ShipmentDelivered {
    ShipmentDelivered {
        order_id: order(n),
        shipment_id: ShipmentId(Uuid::from_u128(9)),
        customer_id: ADA,
        at: AT,
    }
}

fn locked(at: Timestamp) -> UserAccountLocked {
    UserAccountLocked {
        user_id: ADA,
        until: AT.plus(minutes(15)),
        at,
    }
}

fn low_stock(at: Timestamp) -> LowStockAlert {
    LowStockAlert {
        product_id: ProductId(Uuid::from_u128(1)),
        sku: "MUG".into(),
        name: "Blue mug".into(),
        available: 5,
        reorder_level: 100,
        at,
    }
}

/// Ada does not want to be told of these by e-mail.
fn switch_off(kit: &mut ServiceKit<Notifications>, change: fn(&mut Switches)) {
    let mut preferences = Preferences::default();
    change(&mut preferences.email);
    kit.command(SetPreferences {
        user_id: ADA,
        if_version: None,
        preferences,
    })
    .reply();
}

// OrderCreated

#[test]
fn an_accepted_order_is_told_with_its_lines_and_total() {
    let mut kit = kit();
    let turn = kit.event(created(1, ADA));
    let text = text_of(&mail(&turn));
    assert!(text.starts_with(&format!("We have received your order {}", order(1))));
    assert!(text.contains("Dear Ada Lovelace,"), "{text}");
    assert!(text.contains("2 x Blue mug, 9.99 EUR each\n\nTotal: 19.98 EUR"));
    assert_eq!(
        progress(&mut kit),
        [(Occasion::OrderCreated, Progress::Sending)]
    );
}

#[test]
fn an_accepted_order_is_told_once_however_often_it_is_heard() {
    let mut kit = kit();
    let first = mail(&kit.event(created(1, ADA)));
    assert!(kit.event(created(1, ADA)).is_quiet());
    ends(&mut kit, first, Outcome::Done(()));
    assert!(
        kit.event(created(1, ADA)).is_quiet(),
        "also once it is sent"
    );
    assert_eq!(
        progress(&mut kit),
        [(Occasion::OrderCreated, Progress::Sent)]
    );
    mail(&kit.event(created(2, ADA)));
}

#[test]
fn an_accepted_order_of_somebody_unknown_waits_for_the_contact() {
    let mut kit = kit();
    let turn = kit.event(created(1, BOB));
    assert!(turn.planned_names().is_empty());
    assert_eq!(
        progress(&mut kit),
        [(Occasion::OrderCreated, Progress::WaitsForContact)]
    );
    let turn = kit.event(registered(BOB));
    let mails = turn.planned::<SendEmail>();
    assert_eq!(mails.len(), 2, "the order and the welcome");
    assert_eq!(mails[0].0.to.as_ref().unwrap().user, BOB);
}

#[test]
fn an_accepted_order_with_very_many_lines_is_told_in_short() {
    let mut kit = kit();
    let mut event = created(1, ADA);
    event.lines = vec![event.lines[0].clone(); 100];
    let text = text_of(&mail(&kit.event(event)));
    assert!(text.contains("and 80 more"), "{text}");
}

// OrderShipped

#[test]
fn a_shipped_order_is_told_with_its_tracking_number() {
    let mut kit = kit();
    let text = text_of(&mail(&kit.event(shipped(1, ADA))));
    assert!(text.contains("has left with Example Post. Its tracking number is RD1."));
}

#[test]
fn a_shipped_order_is_not_told_to_whom_has_switched_shipping_off() {
    let mut kit = kit();
    switch_off(&mut kit, |email| email.shipping = false);
    assert!(kit.event(shipped(1, ADA)).planned_names().is_empty());
    assert_eq!(
        progress(&mut kit),
        [(Occasion::OrderShipped, Progress::Suppressed)]
    );
    assert_eq!(reason(&mut kit, 0), "switched_off");
    // Orders are another topic.
    mail(&kit.event(created(1, ADA)));
}

#[test]
fn a_shipped_order_is_told_by_every_active_template_and_by_no_other() {
    let mut kit = kit();
    let sms = defaults::id(Occasion::OrderShipped, Channel::Sms);
    let active = |kit: &mut ServiceKit<Notifications>, template_id, active| {
        kit.command(SwitchTemplate {
            template_id,
            if_version: None,
            active,
        })
        .reply();
    };
    active(&mut kit, sms, true);
    let mut preferences = Preferences::default();
    preferences.sms.shipping = true;
    kit.command(SetPreferences {
        user_id: ADA,
        if_version: None,
        preferences,
    });
    assert_eq!(
        kit.event(shipped(1, ADA)).planned_names(),
        ["send-email", "send-sms"]
    );
    active(
        &mut kit,
        defaults::id(Occasion::OrderShipped, Channel::Email),
        false,
    );
    assert_eq!(kit.event(shipped(2, ADA)).planned_names(), ["send-sms"]);
}

#[test]
fn a_carriers_name_cannot_put_a_line_into_a_mails_head() {
    let mut kit = kit();
    let mut event = shipped(1, ADA);
    event.tracking_number = "RD1\r\nBcc: all@example.com {{email}}".into();
    let mail = mail(&kit.event(event));
    assert!(!mail.subject.contains('\n'));
    assert!(text_of(&mail).contains("RD1  Bcc: all@example.com {{email}}."));
}

// OrderConfirmed, OrderCancelled

#[test]
fn a_confirmed_order_is_told() {
    let mut kit = kit();
    let text = text_of(&mail(&kit.event(confirmed(1, ADA))));
    assert!(text.contains("is confirmed"), "{text}");
}

#[test]
fn a_cancelled_order_is_told_with_its_reason() {
    let mut kit = kit();
    let text = text_of(&mail(&kit.event(cancelled(1, ADA))));
    assert!(
        text.contains("over 19.98 EUR is cancelled: changed my mind."),
        "{text}"
    );
}

#[test]
fn confirmed_is_not_told_after_cancelled() {
    let mut kit = kit();
    kit.event(cancelled(1, ADA)).reply();
    assert!(kit.event(confirmed(1, ADA)).planned_names().is_empty());
    let expected = [
        (Occasion::OrderCancelled, Progress::Sending),
        (Occasion::OrderConfirmed, Progress::Suppressed),
    ];
    assert_eq!(progress(&mut kit), expected);
    assert_eq!(reason(&mut kit, 1), "order_cancelled");
    // Another order of the same customer is another matter.
    mail(&kit.event(confirmed(2, ADA)));
}

#[test]
fn a_confirmation_that_still_waits_is_suppressed_when_its_order_is_cancelled() {
    let mut kit = kit();
    kit.event(confirmed(1, BOB)).reply();
    kit.event(cancelled(1, BOB)).reply();
    let expected = [
        (Occasion::OrderConfirmed, Progress::Suppressed),
        (Occasion::OrderCancelled, Progress::WaitsForContact),
    ];
    assert_eq!(progress(&mut kit), expected);
    let mails = kit.event(registered(BOB)).planned::<SendEmail>();
    assert!(
        mails
            .iter()
            .all(|mail| !mail.0.subject.contains("confirmed"))
    );
}

#[test]
fn a_confirmation_that_rests_between_two_rounds_is_suppressed_when_its_order_is_cancelled() {
    let mut kit = kit();
    let first = mail(&kit.event(confirmed(1, ADA)));
    ends(&mut kit, first, gave_up());
    assert_eq!(
        progress(&mut kit),
        [(Occasion::OrderConfirmed, Progress::Rests)]
    );
    mail(&kit.event(cancelled(1, ADA)));
    kit.advance(hours(3));
    kit.fire_due_timers();
    assert_eq!(
        progress(&mut kit)[0],
        (Occasion::OrderConfirmed, Progress::Suppressed)
    );
    assert_eq!(
        kit.pending::<SendEmail>().len(),
        1,
        "only that it is cancelled"
    );
}

#[test]
fn cancelled_waits_until_it_is_known_whether_confirmed_went_out() {
    for (outcome, then) in [
        (Outcome::Done(()), Progress::Sent),
        (gave_up(), Progress::Suppressed),
        (
            Outcome::Failed("mail_refused (550)".into()),
            Progress::Suppressed,
        ),
    ] {
        let mut kit = kit();
        let confirming = mail(&kit.event(confirmed(1, ADA)));
        assert!(kit.event(cancelled(1, ADA)).planned_names().is_empty());
        let expected = [
            (Occasion::OrderConfirmed, Progress::Sending),
            (Occasion::OrderCancelled, Progress::WaitsItsTurn),
        ];
        assert_eq!(progress(&mut kit), expected);
        let turn = ends(&mut kit, confirming, outcome);
        assert!(mail(&turn).subject.contains("is cancelled"));
        let expected = [
            (Occasion::OrderConfirmed, then),
            (Occasion::OrderCancelled, Progress::Sending),
        ];
        assert_eq!(progress(&mut kit), expected);
    }
}

#[test]
fn a_cancelled_order_is_remembered_for_a_while_only() {
    let mut kit = kit();
    kit.event(cancelled(1, ADA)).reply();
    assert!(kit.get(tables::CANCELLED_ORDERS, &order(1)).is_some());
    kit.advance(days(31));
    kit.fire_due_timers();
    assert!(kit.get(tables::CANCELLED_ORDERS, &order(1)).is_none());
}

// PaymentCompleted

#[test]
fn money_that_was_taken_is_told() {
    let mut kit = kit();
    let text = text_of(&mail(&kit.event(completed(1))));
    assert!(text.contains("we have taken 19.98 EUR"), "{text}");
}

#[test]
fn money_that_was_taken_is_told_once() {
    let mut kit = kit();
    mail(&kit.event(completed(1)));
    assert!(kit.event(completed(1)).is_quiet());
    assert_eq!(rows(&mut kit).len(), 1);
}

#[test]
fn money_that_was_taken_is_not_told_to_whom_has_switched_payments_off() {
    let mut kit = kit();
    switch_off(&mut kit, |email| email.payments = false);
    assert!(kit.event(completed(1)).planned_names().is_empty());
    assert_eq!(
        progress(&mut kit),
        [(Occasion::PaymentCompleted, Progress::Suppressed)]
    );
}

#[test]
fn nobody_is_told_of_money_while_no_template_is_active() {
    let mut kit = kit();
    kit.command(SwitchTemplate {
        template_id: defaults::id(Occasion::PaymentCompleted, Channel::Email),
        if_version: None,
        active: false,
    });
    kit.event(completed(1)).reply();
    assert!(rows(&mut kit).is_empty());
}

// PaymentFailed

#[test]
fn a_declined_card_is_told_with_what_to_do() {
    let mut kit = kit();
    let event = declined(1, 1, FailureKind::Soft, "insufficient_funds");
    let text = text_of(&mail(&kit.event(event)));
    assert!(text.contains("attempt 1"), "{text}");
    assert!(text.contains("(insufficient_funds). You can try again with another card."));
}

#[test]
fn every_declined_attempt_is_told_and_each_once() {
    let mut kit = kit();
    for attempt in [1, 2, 2, 1] {
        kit.event(declined(1, attempt, FailureKind::Soft, "card_declined"))
            .reply();
    }
    assert_eq!(kit.pending::<SendEmail>().len(), 2);
}

#[test]
fn a_card_that_is_declined_for_good_is_told_as_such() {
    let mut kit = kit();
    let event = declined(1, 1, FailureKind::Hard, "card_declined");
    let text = text_of(&mail(&kit.event(event)));
    assert!(
        text.contains("The order is cancelled; nothing is charged."),
        "{text}"
    );
}

#[test]
fn a_payment_refused_because_its_order_is_cancelled_is_nothing_to_tell() {
    let mut kit = kit();
    let event = declined(1, 1, FailureKind::Hard, "order_cancelled");
    assert!(kit.event(event).is_quiet());
    assert!(rows(&mut kit).is_empty());
}

// The others

#[test]
fn every_return_of_money_is_told_and_one_without_money_is_not() {
    let mut kit = kit();
    assert!(text_of(&mail(&kit.event(refunded(1, 1, 500)))).contains("paid back 5.00 EUR"));
    assert!(text_of(&mail(&kit.event(refunded(1, 2, 300)))).contains("paid back 3.00 EUR"));
    assert!(
        kit.event(refunded(1, 2, 300)).is_quiet(),
        "the same return again"
    );
    assert!(kit.event(refunded(1, 3, 0)).is_quiet(), "nothing came back");
    assert_eq!(rows(&mut kit).len(), 2);
}

#[test]
fn a_delivered_parcel_is_told() {
    let mut kit = kit();
    assert!(
        mail(&kit.event(delivered(1)))
            .subject
            .contains("has arrived")
    );
}

#[test]
fn a_new_user_is_welcomed() {
    let mut kit = kit();
    let turn = kit.event(registered(BOB));
    assert!(text_of(&mail(&turn)).contains("You sign in with ada@example.com."));
    assert!(kit.event(registered(BOB)).is_quiet());
}

#[test]
fn a_changed_contact_is_used_from_then_on() {
    let mut kit = kit();
    kit.event(created(1, BOB)).reply();
    let sent = kit.event(profile_updated(BOB));
    assert!(
        mail(&sent).subject.contains("received"),
        "what has waited goes out"
    );
    let newer = keyring();
    let other = Contact {
        email: "bob@example.com".into(),
        first_name: "Bob".into(),
        last_name: "B".into(),
    };
    let contact = newer.seal(BOB, &other).unwrap();
    let event = UserProfileUpdated {
        user_id: BOB,
        contact: contact.clone(),
        at: AT,
    };
    assert!(kit.event(event).is_quiet());
    let turn = kit.event(created(2, BOB));
    assert_eq!(mail(&turn).to, Some(contact));
}

#[test]
fn every_lock_of_an_account_is_told() {
    let mut kit = kit();
    let text = text_of(&mail(&kit.event(locked(AT))));
    assert!(text.contains("until 2026-01-01T12:15:00.000000Z"), "{text}");
    assert!(kit.event(locked(AT)).is_quiet());
    mail(&kit.event(locked(AT.plus(hours(1)))));
}

#[test]
fn the_shop_itself_is_told_what_is_running_out() {
    let mut kit = kit();
    let alert = mail(&kit.event(low_stock(AT)));
    assert_eq!(alert.to, None);
    assert!(text_of(&alert).starts_with("Running out: Blue mug (MUG)\n"));
    assert!(kit.event(low_stock(AT)).is_quiet());
    mail(&kit.event(low_stock(AT.plus(hours(1)))));
    assert_eq!(rows(&mut kit)[0].1.user_id, None);
}

#[test]
fn a_deleted_user_is_told_nothing_more() {
    let mut kit = kit();
    switch_off(&mut kit, |email| email.orders = false);
    kit.event(shipped(1, ADA)).reply();
    kit.advance(seconds(1));
    let rests = mail(&kit.event(declined(2, 1, FailureKind::Soft, "x")));
    ends(&mut kit, rests, gave_up());
    let turn = kit.event(deleted(ADA));
    assert_eq!(turn.planned_names(), ["forget-letters"]);
    let expected = [
        // Known only once its attempts are over.
        (Occasion::OrderShipped, Progress::Sending),
        (Occasion::PaymentFailed, Progress::Suppressed),
    ];
    assert_eq!(progress(&mut kit), expected);
    assert!(kit.get(tables::PREFERENCES, &ADA).is_none());
    // Whatever comes later is about nobody.
    assert!(kit.event(created(3, ADA)).is_quiet());
    assert!(kit.event(registered(ADA)).is_quiet());
    assert!(kit.event(profile_updated(ADA)).is_quiet());
    assert!(kit.event(deleted(ADA)).is_quiet());
}

#[test]
fn what_was_under_way_when_its_user_was_deleted_leaves_no_copy() {
    for (outcome, then) in [
        (Outcome::Done(()), Progress::Sent),
        (
            Outcome::Failed(sender::FORGOTTEN.into()),
            Progress::Suppressed,
        ),
        (gave_up(), Progress::Suppressed),
    ] {
        let mut kit = kit();
        let sending = mail(&kit.event(shipped(1, ADA)));
        kit.event(deleted(ADA)).reply();
        let turn = ends(&mut kit, sending, outcome);
        assert_eq!(turn.planned_names(), ["forget-letters"]);
        assert_eq!(progress(&mut kit), [(Occasion::OrderShipped, then)]);
    }
}

#[test]
fn a_deleted_user_is_remembered_as_long_as_notifications() {
    let mut kit = kit();
    kit.event(deleted(ADA)).reply();
    kit.advance(days(91));
    kit.fire_due_timers();
    assert!(kit.get(tables::CONTACTS, &ADA).is_none());
}

#[test]
fn nothing_that_is_stored_or_published_names_the_recipient() {
    let mut kit = kit();
    let sending = mail(&kit.event(created(1, ADA)));
    let shown = format!("{:?} {sending:?}", rows(&mut kit));
    let turn = ends(&mut kit, sending, Outcome::Done(()));
    let published = format!("{:?}", turn.published::<NotificationSent>());
    for text in [shown, published] {
        assert!(!text.contains("Ada") && !text.contains("ada@"), "{text}");
    }
}
