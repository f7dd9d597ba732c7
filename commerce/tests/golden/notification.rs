//! What users were told, by which templates, and what they want to be told.

use commerce::ids::{NotificationId, TemplateId};
use commerce::notification::messages::{
    CancelledOrderForgotten, ContactWaitOver, DeletedUserForgotten, MoreQueued, NextRound, SweepDue,
};
use commerce::notification::occasion::Fact;
use commerce::notification::sender::{
    DiscardLetters, Dispatch, ForgetLetters, SendEmail, SendPush, SendSms,
};
use commerce::notification::tables::{
    CANCELLED_ORDERS, CONTACTS, ContactOf, NOTIFICATIONS, Notification, PREFERENCES, Preferred,
    Progress, SWEEP, TEMPLATES,
};
use commerce::notification::templates::Template;
use commerce::notification::text::{Personal, Piece};
use commerce::notification::{
    Channel, NotificationFailed, NotificationSent, Occasion, Preferences, Switches,
};
use uuid::Uuid;

use super::{AT, Golden, LATER, ORDER, USER, sealed, text};

pub(super) const TEMPLATE: TemplateId = TemplateId(Uuid::from_u128(12));
const LETTER: NotificationId = NotificationId(Uuid::from_u128(13));

pub(super) fn preferences() -> Preferences {
    let mut preferences = Preferences::default();
    preferences.email.orders = false;
    preferences.sms = Switches {
        orders: false,
        shipping: true,
        payments: false,
        account: true,
    };
    preferences
}

fn pieces() -> Vec<Piece> {
    vec![
        Piece::Text(text("Dear ")),
        Piece::Personal(Personal::FirstName),
        Piece::Variable(text("total")),
        Piece::Personal(Personal::LastName),
        Piece::Personal(Personal::Email),
    ]
}

pub(super) fn samples(golden: &mut Golden) {
    let (notification_id, user_id, order_id, at) = (LETTER, USER, ORDER, AT);
    golden.message(&NotificationSent {
        notification_id,
        user_id: Some(user_id),
        order_id: Some(order_id),
        channel: Channel::Email,
        template: text("order-created"),
        at,
    });
    golden.message(&NotificationFailed {
        notification_id,
        user_id: Some(user_id),
        order_id: Some(order_id),
        channel: Channel::Push,
        template: text("order-created"),
        reason: text("refused"),
        at,
    });
    golden.message(&ContactWaitOver { notification_id });
    golden.message(&NextRound { notification_id });
    golden.message(&MoreQueued {
        user_id,
        after: (order_id.0, notification_id),
    });
    golden.message(&SweepDue {});
    golden.message(&CancelledOrderForgotten { order_id });
    golden.message(&DeletedUserForgotten { user_id });
    let dispatch = Dispatch {
        notification_id,
        to: Some(sealed(9)),
        subject: text("Thank you"),
        body: pieces(),
        at,
    };
    golden.activity("send-email", &SendEmail(dispatch.clone()));
    golden.activity("send-sms", &SendSms(dispatch.clone()));
    golden.activity("send-push", &SendPush(dispatch));
    golden.activity("forget-letters", &ForgetLetters { user_id });
    let letters = vec![(Some(user_id), notification_id), (None, notification_id)];
    golden.activity("discard-letters", &DiscardLetters { letters });
    golden.numbers("channel", Channel::ALL.to_vec());
    golden.numbers("occasion", Occasion::ALL.to_vec());
    let progress = [
        Progress::WaitsForContact,
        Progress::WaitsItsTurn,
        Progress::Sending,
        Progress::Rests,
        Progress::Sent,
        Progress::Failed,
        Progress::Suppressed,
    ];
    golden.numbers("progress of a notification", progress.to_vec());
    let known = ContactOf::Known(sealed(9));
    golden.form_of_row(CONTACTS, "known", &user_id, &known);
    golden.form_of_row(CONTACTS, "gone", &user_id, &ContactOf::Gone { at });
    let template = Template {
        name: text("order-created"),
        occasion: Some(Occasion::OrderCreated),
        channel: Channel::Email,
        subject: text("Thank you"),
        body: text("Dear {{first_name}}"),
        active: true,
        version: 2,
    };
    golden.row(TEMPLATES, &TEMPLATE, &template);
    let preferred = Preferred {
        preferences: preferences(),
        version: 1,
    };
    golden.row(PREFERENCES, &user_id, &preferred);
    let told = Notification {
        user_id: Some(user_id),
        fact: Fact {
            occasion: Occasion::PaymentFailed,
            about: order_id.0,
            nth: 2,
        },
        channel: Channel::Sms,
        template_id: TEMPLATE,
        template: text("payment-failed"),
        template_version: 2,
        subject: text("Your payment"),
        body: pieces(),
        progress: Progress::Rests,
        withdrawn: Some(text("why")),
        reason: Some(text("unavailable")),
        rounds: 3,
        created_at: at,
        over_at: Some(LATER),
    };
    golden.row(NOTIFICATIONS, &notification_id, &told);
    golden.row(CANCELLED_ORDERS, &order_id, &at);
    golden.row(SWEEP, &(), &at);
}
