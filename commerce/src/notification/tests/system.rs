//! The service in a running system, in virtual time: a sender that fails, and what goes on.

use redeliver::testing::TestSystem;

use super::*;
use crate::page::Page;

/// Says what the other services would say.
struct Desk;

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Tell {
    Registered(UserId),
    Created(u128, UserId),
    Shipped(u128, UserId),
}

impl Message for Tell {
    const NAME: &'static str = "tell";
}

impl Command for Tell {
    type Reply = ();
}

impl Service for Desk {
    const NAME: &'static str = "desk";

    fn handlers(on: &mut Handlers<Self>) {
        use crate::identity::UserAccountLocked;
        use crate::inventory::LowStockAlert;
        use crate::payment::PaymentCompleted;
        use crate::shipping::ShipmentDelivered;
        on.command(Self::tell);
        on.publishes::<OrderCreated>()
            .publishes::<OrderConfirmed>()
            .publishes::<OrderShipped>()
            .publishes::<OrderCancelled>()
            .publishes::<ShipmentDelivered>()
            .publishes::<PaymentCompleted>()
            .publishes::<PaymentFailed>()
            .publishes::<PaymentRefunded>()
            .publishes::<UserRegistered>()
            .publishes::<UserProfileUpdated>()
            .publishes::<UserAccountLocked>()
            .publishes::<UserDeleted>()
            .publishes::<LowStockAlert>();
    }
}

impl Desk {
    fn tell(&self, tell: Tell, cx: &mut Context<Self>) -> Result<(), Rejection> {
        match tell {
            Tell::Registered(user) => cx.publish(registered(user)),
            Tell::Created(n, user) => cx.publish(created(n, user)),
            Tell::Shipped(n, user) => cx.publish(shipped(n, user)),
        }
        Ok(())
    }
}

async fn start(pigeon: &Arc<Pigeon>) -> TestSystem {
    let sender = pigeon.clone();
    let build = move |system: redeliver::SystemBuilder| {
        let mut notifications = Notifications::new(sender.clone(), keyring());
        notifications.retry_for = hours(1);
        system.service(Desk).service(notifications)
    };
    TestSystem::start(3, build).await.unwrap()
}

async fn tell(test: &TestSystem, tell: Tell) {
    test.system().service::<Desk>().call(tell).await.unwrap();
}

async fn statuses(test: &TestSystem, user: UserId) -> Vec<(String, NotificationStatus)> {
    let query = NotificationsOf {
        user_id: Some(user),
        page: Page::default(),
    };
    let service = test.system().service::<Notifications>();
    let mut listing = service.query(query).await.unwrap().items;
    listing.reverse();
    listing
        .into_iter()
        .map(|told| (told.template, told.status))
        .collect()
}

fn sent(pigeon: &Pigeon) -> Vec<String> {
    let sent = pigeon.sent.lock().unwrap();
    sent.iter().map(|letter| letter.subject.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_fails_is_tried_again_then_fails_visibly_and_the_rest_goes_on() {
    let pigeon = Arc::new(Pigeon::default());
    let down = SendError::Unavailable("mail_server_unreachable".into());
    *pigeon.fails.lock().unwrap() = Some(("has left", down));
    let test = start(&pigeon).await;
    tell(&test, Tell::Registered(ADA)).await;
    tell(&test, Tell::Shipped(1, ADA)).await;
    tell(&test, Tell::Created(2, ADA)).await;
    test.quiet().await;
    assert_eq!(sent(&pigeon).len(), 2, "{:?}", sent(&pigeon));
    let shipped = ("order-shipped".to_owned(), NotificationStatus::Queued);
    assert!(statuses(&test, ADA).await.contains(&shipped));
    test.advance(hours(2)).await;
    test.quiet().await;
    let shipped = ("order-shipped".to_owned(), NotificationStatus::Failed);
    let all = statuses(&test, ADA).await;
    assert!(all.contains(&shipped), "{all:?}");
    let rounds = *pigeon.tries.lock().unwrap() / 4;
    // 0, 1, 3, 7, 15 and 31 minutes and what the rounds took themselves.
    assert!((5..=6).contains(&rounds), "{rounds}");
    // It holds nobody up, also afterwards.
    tell(&test, Tell::Created(3, ADA)).await;
    test.quiet().await;
    assert_eq!(sent(&pigeon).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_comes_back_carries_what_has_waited_once() {
    let pigeon = Arc::new(Pigeon::default());
    let down = SendError::Unavailable("mail_server_unreachable".into());
    *pigeon.fails.lock().unwrap() = Some(("", down));
    let mut test = start(&pigeon).await;
    tell(&test, Tell::Registered(ADA)).await;
    tell(&test, Tell::Created(1, ADA)).await;
    test.advance(minutes(5)).await;
    test.crash();
    test.reopen().await.unwrap();
    *pigeon.fails.lock().unwrap() = None;
    test.advance(hours(1)).await;
    test.quiet().await;
    let sent = sent(&pigeon);
    assert_eq!(sent.len(), 2, "{sent:?}");
    for (_, status) in statuses(&test, ADA).await {
        assert_eq!(status, NotificationStatus::Sent);
    }
}

#[tokio::test(start_paused = true)]
async fn a_letter_is_filled_in_from_the_recipients_contact() {
    let pigeon = Arc::new(Pigeon::default());
    let test = start(&pigeon).await;
    tell(&test, Tell::Created(1, BOB)).await;
    test.quiet().await;
    assert!(sent(&pigeon).is_empty(), "the contact is not known yet");
    tell(&test, Tell::Registered(BOB)).await;
    test.quiet().await;
    let sent = pigeon.sent.lock().unwrap();
    let order = sent
        .iter()
        .find(|letter| letter.body.contains("Blue mug"))
        .unwrap();
    assert_eq!(order.address, "ada@example.com");
    assert_eq!(order.name.as_deref(), Some("Ada Lovelace"));
    assert!(order.body.starts_with("Dear Ada Lovelace,\n"));
    assert!(!format!("{order:?}").contains("Ada"));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_gone_suppresses_what_was_for_its_user() {
    let pigeon = Arc::new(Pigeon::default());
    let keys = keyring();
    let (sender, service_keys) = (pigeon.clone(), keys.clone());
    let build = move |system: redeliver::SystemBuilder| {
        let notifications = Notifications::new(sender.clone(), service_keys.clone());
        system.service(Desk).service(notifications)
    };
    let test = TestSystem::start(3, build).await.unwrap();
    keys.destroy(ADA).unwrap();
    tell(&test, Tell::Registered(ADA)).await;
    test.quiet().await;
    let expected = [("user-registered".to_owned(), NotificationStatus::Suppressed)];
    assert_eq!(statuses(&test, ADA).await, expected);
    assert!(sent(&pigeon).is_empty());
}
