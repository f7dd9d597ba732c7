//! The way of a notification after it is queued.

use super::*;

#[test]
fn what_a_channel_has_taken_is_sent_and_keeps_no_body() {
    let mut kit = kit();
    let sending = mail(&kit.event(created(1, ADA)));
    let turn = ends(&mut kit, sending, Outcome::Done(()));
    let told = &turn.published::<NotificationSent>()[0];
    assert_eq!((told.user_id, told.order_id), (Some(ADA), Some(order(1))));
    assert_eq!(told.template, "order-created");
    let (id, row) = rows(&mut kit).remove(0);
    assert!(row.body.is_empty());
    let shown = kit
        .query(NotificationById {
            notification_id: id,
        })
        .unwrap();
    assert_eq!(shown.status, NotificationStatus::Sent);
    assert_eq!(shown.sent_at, Some(kit.now()));
}

#[test]
fn what_is_refused_for_good_fails_at_once_and_says_why() {
    let mut kit = kit();
    let sending = mail(&kit.event(created(1, ADA)));
    let turn = ends(&mut kit, sending, Outcome::Failed("bad_address".into()));
    let failed = &turn.published::<NotificationFailed>()[0];
    assert_eq!(failed.reason, "bad_address");
    assert_eq!(
        progress(&mut kit),
        [(Occasion::OrderCreated, Progress::Failed)]
    );
    assert!(turn.timer_names().is_empty());
}

#[test]
fn rounds_rest_longer_and_longer_until_the_time_is_up() {
    let mut kit = kit();
    let mut sending = mail(&kit.event(created(1, ADA)));
    let (began, mut rounds) = (kit.now(), 1);
    loop {
        let turn = ends(&mut kit, sending, gave_up());
        if let Some(failed) = turn.published::<NotificationFailed>().first() {
            assert_eq!(failed.reason, "mail_server_unreachable");
            break;
        }
        let (due, _) = turn.timers::<messages::NextRound>().remove(0);
        kit.advance(due.since(kit.now()));
        let next = kit.fire_due_timers();
        sending = next
            .iter()
            .find(|turn| !turn.planned_names().is_empty())
            .map(mail)
            .unwrap();
        rounds += 1;
    }
    assert!(kit.now().since(began) <= hours(24));
    assert!(kit.now().since(began) > hours(20));
    // 1, 2, 4 … 64 minutes, then every two hours.
    assert_eq!(rounds, 18);
    assert_eq!(
        progress(&mut kit),
        [(Occasion::OrderCreated, Progress::Failed)]
    );
}

#[test]
fn a_round_after_a_rest_uses_the_contact_of_that_time() {
    let mut kit = kit();
    let sending = mail(&kit.event(created(1, ADA)));
    ends(&mut kit, sending.clone(), gave_up());
    kit.event(profile_updated(ADA)).reply();
    kit.event(deleted(ADA)).reply();
    kit.advance(minutes(2));
    let turns = kit.fire_due_timers();
    assert!(turns.iter().all(|turn| turn.planned_names().is_empty()));
    assert_eq!(reason(&mut kit, 0), sender::FORGOTTEN);
}

#[test]
fn a_recipient_who_never_becomes_known_is_waited_for_and_then_the_notification_fails() {
    let mut kit = kit();
    kit.event(created(1, BOB)).reply();
    kit.advance(minutes(9));
    assert!(kit.fire_due_timers().is_empty());
    kit.advance(minutes(1));
    let turns = kit.fire_due_timers();
    assert_eq!(
        turns[0].published::<NotificationFailed>()[0].reason,
        "contact_unknown"
    );
    assert_eq!(
        progress(&mut kit),
        [(Occasion::OrderCreated, Progress::Failed)]
    );
}

#[test]
fn the_wait_for_a_contact_ends_with_the_contact() {
    let mut kit = kit();
    kit.event(created(1, BOB)).reply();
    kit.event(registered(BOB)).reply();
    kit.advance(minutes(11));
    kit.fire_due_timers();
    assert_eq!(
        progress(&mut kit)[0],
        (Occasion::OrderCreated, Progress::Sending)
    );
}

#[test]
fn very_many_that_wait_for_one_contact_go_out_over_several_turns() {
    let mut kit = kit();
    for n in 0..450 {
        kit.event(created(n, BOB)).reply();
    }
    let turn = kit.event(profile_updated(BOB));
    assert_eq!(turn.planned::<SendEmail>().len(), 200);
    kit.fire_due_timers();
    assert_eq!(kit.pending::<SendEmail>().len(), 450);
}

#[test]
fn very_many_of_a_deleted_user_are_suppressed_over_several_turns() {
    let mut kit = kit();
    for n in 0..450 {
        kit.event(created(n, BOB)).reply();
    }
    kit.event(deleted(BOB)).reply();
    kit.fire_due_timers();
    let all = progress(&mut kit);
    assert!(
        all.iter()
            .all(|(_, progress)| *progress == Progress::Suppressed)
    );
    assert_eq!(all.len(), 450);
}

#[test]
fn old_notifications_go_with_their_copies_and_new_ones_stay() {
    let mut kit = kit();
    let sending = mail(&kit.event(created(1, ADA)));
    ends(&mut kit, sending, Outcome::Done(()));
    let old = rows(&mut kit).remove(0).0;
    kit.advance(days(89));
    let sending = mail(&kit.event(created(2, ADA)));
    ends(&mut kit, sending, Outcome::Done(()));
    kit.advance(days(1));
    let swept = kit.fire_due_timers();
    let discarded: Vec<_> = swept
        .iter()
        .flat_map(|turn| turn.planned::<sender::DiscardLetters>())
        .flat_map(|discard| discard.letters)
        .collect();
    assert_eq!(discarded, [(Some(ADA), old)]);
    assert_eq!(rows(&mut kit).len(), 1);
    // The last one's going ends the sweeps, the next one's coming begins them again.
    kit.advance(days(90));
    kit.fire_due_timers();
    assert!(rows(&mut kit).is_empty());
    assert!(kit.waiting_timers::<messages::SweepDue>().is_empty());
    kit.event(created(3, ADA)).reply();
    assert_eq!(kit.waiting_timers::<messages::SweepDue>().len(), 1);
}

#[test]
fn a_sweep_takes_a_bounded_part_of_very_many_and_goes_on() {
    let mut kit = kit();
    for n in 0..450 {
        kit.event(created(n, BOB)).reply();
    }
    kit.advance(minutes(10));
    kit.fire_due_timers();
    kit.advance(days(90));
    let swept = kit.fire_due_timers();
    let most = swept
        .iter()
        .flat_map(|turn| turn.planned::<sender::DiscardLetters>())
        .map(|discard| discard.letters.len())
        .max();
    assert_eq!(most, Some(200));
    assert!(rows(&mut kit).is_empty());
}

#[test]
fn an_end_that_comes_for_nothing_changes_nothing() {
    let mut kit = kit();
    let sending = mail(&kit.event(created(1, ADA)));
    ends(&mut kit, sending.clone(), Outcome::Done(()));
    assert!(ends(&mut kit, sending.clone(), gave_up()).is_quiet());
    assert_eq!(
        progress(&mut kit),
        [(Occasion::OrderCreated, Progress::Sent)]
    );
    let unknown = Dispatch {
        notification_id: NotificationId(Uuid::from_u128(1)),
        ..sending
    };
    assert!(ends(&mut kit, unknown, Outcome::Done(())).is_quiet());
}
