//! Templates and preferences, as people write and ask for them.

use super::*;
use crate::ids::TemplateId;
use crate::page::Page;
use redeliver::RejectionKind;

fn written(name: &str, active: Option<bool>) -> TemplateText {
    TemplateText {
        name: name.into(),
        event: Some(Occasion::OrderShipped),
        channel: Channel::Email,
        subject: "Order {{order_id}}".into(),
        body: "Hello {{first_name}}: {{carrier}}".into(),
        active,
    }
}

fn write(kit: &mut ServiceKit<Notifications>, text: TemplateText) -> TemplateView {
    kit.command(WriteTemplate { text }).reply().clone()
}

fn switch(template_id: TemplateId, active: bool, if_version: Option<Vec<u64>>) -> SwitchTemplate {
    SwitchTemplate {
        template_id,
        if_version,
        active,
    }
}

#[test]
fn the_defaults_are_there_from_the_first_start() {
    let mut kit = kit();
    let page = Page {
        limit: Some(200),
        cursor: None,
    };
    let all = kit.query(TemplatesList { page }).unwrap();
    assert_eq!(all.items.len(), 33);
    let template_id = defaults::id(Occasion::OrderCreated, Channel::Email);
    let one = kit.query(TemplateById { template_id }).unwrap();
    assert_eq!(
        (one.name.as_str(), one.active, one.version),
        ("order-created", true, 1)
    );
    assert!(one.variables.contains(&"total".to_owned()));
}

#[test]
fn templates_are_listed_page_by_page_defaults_and_written_ones_alike() {
    let mut kit = kit();
    let own = write(&mut kit, written("Mine", None)).id;
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let page = Page {
            limit: Some(10),
            cursor,
        };
        let listing = kit.query(TemplatesList { page }).unwrap();
        seen.extend(listing.items.into_iter().map(|template| template.id));
        cursor = listing.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((seen.len(), seen.last()), (34, Some(&own)));
    let page = Page {
        limit: None,
        cursor: Some("zz".into()),
    };
    assert_eq!(
        kit.query(TemplatesList { page }).unwrap_err().code,
        "invalid_cursor"
    );
}

#[test]
fn a_written_template_is_sent_once_it_is_activated() {
    let mut kit = kit();
    let view = write(&mut kit, written("Mine", None));
    assert!(!view.active);
    assert_eq!(kit.event(shipped(1, ADA)).planned::<SendEmail>().len(), 1);
    let turn = kit.command(switch(view.id, true, None));
    assert_eq!((turn.reply().active, turn.reply().version), (true, 2));
    let mails = kit.event(shipped(2, ADA)).planned::<SendEmail>();
    assert_eq!(mails.len(), 2);
    assert!(text_of(&mails[1].0).contains("Hello Ada: Example Post"));
}

#[test]
fn a_rewritten_default_is_sent_as_rewritten_and_counts_on() {
    let mut kit = kit();
    let template_id = defaults::id(Occasion::OrderShipped, Channel::Email);
    let change = RewriteTemplate {
        template_id,
        if_version: Some(vec![1]),
        text: written("order-shipped", None),
    };
    let view = kit.command(change.clone()).reply().clone();
    assert_eq!((view.version, view.active), (2, true));
    let text = text_of(&mail(&kit.event(shipped(1, ADA))));
    assert_eq!(text, format!("Order {}\nHello Ada: Example Post", order(1)));
    assert_eq!(rows(&mut kit)[0].1.template_version, 2);
    let late = kit.command(change);
    assert_eq!(late.rejection().kind, RejectionKind::Precondition);
}

#[test]
fn a_default_that_tells_of_something_else_now_is_not_sent_for_the_old() {
    let mut kit = kit();
    let mut text = written("order-shipped", None);
    text.event = Some(Occasion::OrderCreated);
    text.body = "{{lines}}".into();
    kit.command(RewriteTemplate {
        template_id: defaults::id(Occasion::OrderShipped, Channel::Email),
        if_version: None,
        text,
    })
    .reply();
    assert!(kit.event(shipped(1, ADA)).planned_names().is_empty());
    assert_eq!(kit.event(created(1, ADA)).planned::<SendEmail>().len(), 2);
}

#[test]
fn what_was_queued_keeps_the_words_of_its_time() {
    let mut kit = kit();
    kit.event(shipped(1, BOB)).reply();
    kit.command(RewriteTemplate {
        template_id: defaults::id(Occasion::OrderShipped, Channel::Email),
        if_version: None,
        text: written("order-shipped", None),
    })
    .reply();
    let turn = kit.event(profile_updated(BOB));
    assert!(text_of(&mail(&turn)).contains("has left with Example Post"));
}

#[test]
fn switching_twice_changes_once_and_a_draft_stays_off() {
    let mut kit = kit();
    let view = write(&mut kit, written("Mine", Some(true)));
    assert_eq!(
        kit.command(switch(view.id, true, Some(vec![1])))
            .reply()
            .version,
        1
    );
    assert_eq!(
        kit.command(switch(view.id, false, Some(vec![1])))
            .reply()
            .version,
        2
    );
    let late = kit.command(switch(view.id, true, Some(vec![1])));
    assert_eq!(late.rejection().code, "version_changed");
    let mut draft = written("Draft", None);
    draft.event = None;
    let draft = write(&mut kit, draft).id;
    assert_eq!(
        kit.command(switch(draft, true, None)).rejection().code,
        "no_event"
    );
}

#[test]
fn two_templates_of_a_channel_do_not_share_a_name() {
    let mut kit = kit();
    let text = written("order-created", None);
    let refused = kit.command(WriteTemplate { text });
    assert_eq!(refused.rejection().code, "template_exists");
    let mut text = written("Mine", None);
    write(&mut kit, text.clone());
    text.channel = Channel::Sms;
    write(&mut kit, text);
}

#[test]
fn there_are_so_many_written_templates_and_no_more() {
    let mut kit = kit();
    for n in 0..200 {
        write(&mut kit, written(&format!("T{n}"), None));
    }
    let text = written("One more", None);
    let refused = kit.command(WriteTemplate { text });
    assert_eq!(refused.rejection().code, "too_many_templates");
}

#[test]
fn a_template_is_previewed_and_one_that_is_not_there_is_not() {
    let mut kit = kit();
    let template_id = defaults::id(Occasion::PaymentCompleted, Channel::Email);
    let variables = vec![("amount".to_owned(), "1.00 EUR".to_owned())];
    let preview = kit.query(PreviewTemplate {
        template_id,
        variables,
    });
    assert!(
        preview
            .unwrap()
            .body
            .contains("Dear Ada Lovelace,\n\nwe have taken 1.00 EUR")
    );
    let unknown = TemplateId(Uuid::from_u128(1));
    let error = kit.query(TemplateById {
        template_id: unknown,
    });
    assert_eq!(error.unwrap_err().code, "no_such_template");
    assert_eq!(
        kit.command(switch(unknown, true, None)).rejection().code,
        "no_such_template"
    );
}

#[test]
fn preferences_begin_as_everybodys_and_count_their_changes() {
    let mut kit = kit();
    let view = kit.query(PreferencesOf { user_id: BOB }).unwrap();
    assert_eq!(
        (view.preferences, view.version),
        (Preferences::default(), 0)
    );
    let change = SetPreferences {
        user_id: BOB,
        if_version: Some(vec![0]),
        preferences: Preferences {
            email: Switches::all(false),
            ..Preferences::default()
        },
    };
    assert_eq!(kit.command(change.clone()).reply().version, 1);
    let late = kit.command(change);
    assert_eq!(late.rejection().kind, RejectionKind::Precondition);
    let view = kit.query(PreferencesOf { user_id: BOB }).unwrap();
    assert!(!view.preferences.email.orders);
}

#[test]
fn a_deleted_user_has_no_preferences() {
    let mut kit = kit();
    kit.event(deleted(ADA)).reply();
    let error = kit.query(PreferencesOf { user_id: ADA }).unwrap_err();
    assert_eq!(error.code, "no_such_user");
    let change = SetPreferences {
        user_id: ADA,
        if_version: None,
        preferences: Preferences::default(),
    };
    assert_eq!(kit.command(change).rejection().code, "no_such_user");
}

#[test]
fn notifications_are_listed_newest_first_and_only_the_recipients() {
    let mut kit = kit();
    for n in 0..3 {
        kit.event(created(n, ADA)).reply();
        kit.advance(seconds(1));
    }
    kit.event(created(9, BOB)).reply();
    let of = |kit: &mut ServiceKit<Notifications>, user_id, cursor| {
        let page = Page {
            limit: Some(2),
            cursor,
        };
        kit.query(NotificationsOf { user_id, page }).unwrap()
    };
    let first = of(&mut kit, Some(ADA), None);
    let orders: Vec<_> = first
        .items
        .iter()
        .map(|told| told.order_id.unwrap())
        .collect();
    assert_eq!(orders, [order(2), order(1)]);
    let rest = of(&mut kit, Some(ADA), first.next_cursor);
    assert_eq!((rest.items.len(), rest.next_cursor), (1, None));
    assert_eq!(of(&mut kit, Some(BOB), None).items.len(), 1);
    assert!(of(&mut kit, None, None).items.is_empty());
    let unknown = NotificationId(Uuid::from_u128(1));
    let error = kit.query(NotificationById {
        notification_id: unknown,
    });
    assert_eq!(error.unwrap_err().code, "no_such_notification");
}
