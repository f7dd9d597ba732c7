//! The event feed: what those outside of the system are shown of what services have published.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::time::Duration;

use common::{Copies, Notes, both, note, small};
use redeliver::testing::TestSystem;
use redeliver::{Config, EventFeed, EventNumber, FeedItem, Gap, GapReason, PublishedEvent, System};

/// A quarter of the log is a few hundred events.
fn little() -> Config {
    Config {
        events_bytes_max: 64 * 1024,
        ..small()
    }
}

async fn little_system(seed: u64) -> TestSystem {
    let copies = Copies::default();
    let build = move |system: redeliver::SystemBuilder| {
        system
            .config(little())
            .service(Notes)
            .service(copies.clone())
    };
    TestSystem::start(seed, build).await.unwrap()
}

async fn take(system: &System, numbers: std::ops::RangeInclusive<u64>) {
    // Nobody notes the number of the beast.
    for n in numbers.filter(|n| *n != 666) {
        system.service::<Notes>().call(note("a", n)).await.unwrap();
    }
}

/// Everything after a number, a page at a time.
async fn read_all(
    feed: &EventFeed,
    mut after: u64,
    limit: usize,
) -> (Vec<PublishedEvent>, Vec<Gap>) {
    let (mut events, mut gaps) = (Vec::new(), Vec::new());
    loop {
        let page = feed.read(EventNumber(after), limit).await.unwrap();
        if page.items.is_empty() {
            assert_eq!(page.through.0, after);
            return (events, gaps);
        }
        for item in page.items {
            // The row has no hole and no step back: each piece begins where the last one ended.
            let (first, last) = match &item {
                FeedItem::Event(event) => (event.number.0, event.number.0),
                FeedItem::Gap(gap) => (gap.first.0, gap.last.0),
            };
            assert_eq!(first, after + 1, "{item:?}");
            after = last;
            match item {
                FeedItem::Event(event) => events.push(*event),
                FeedItem::Gap(gap) => gaps.push(gap),
            }
        }
        assert_eq!(page.through.0, after);
    }
}

/// The `n` of a `Noted`.
fn noted(event: &PublishedEvent) -> u64 {
    let json: serde_json::Value = serde_json::from_slice(&event.json().unwrap()).unwrap();
    json["n"].as_u64().unwrap()
}

#[tokio::test(start_paused = true)]
async fn events_keep_their_dense_numbers_over_checkpoints_crashes_and_restarts() {
    let mut test = TestSystem::start(1, both(&Copies::default()))
        .await
        .unwrap();
    let mut seen: Vec<PublishedEvent> = Vec::new();
    for round in 0..6 {
        take(test.system(), round * 100 + 1..=round * 100 + 100).await;
        let feed = test.system().events();
        let (events, gaps) = read_all(&feed, 0, 7).await;
        assert!(gaps.is_empty(), "{gaps:?}");
        let all: Vec<u64> = events.iter().map(noted).collect();
        assert_eq!(all, (1..=round * 100 + 100).collect::<Vec<u64>>());
        for (old, new) in seen.iter().zip(&events) {
            assert_eq!((old.number, old.id, old.at), (new.number, new.id, new.at));
        }
        // A reader that has come to a number goes on from there.
        let (rest, _) = read_all(&feed, round * 100, 1_000).await;
        assert_eq!(rest.len(), 100);
        seen = events;
        match round % 3 {
            0 => test.crash(),
            1 => test.kill(),
            _ => {}
        }
        test.reopen().await.unwrap();
    }
    assert!(test.system().report().store.checkpoint > 0);
}

#[tokio::test(start_paused = true)]
async fn an_event_says_what_it_is_and_where_it_comes_from() {
    let test = TestSystem::start(2, both(&Copies::default()))
        .await
        .unwrap();
    take(test.system(), 5..=5).await;
    let (events, _) = read_all(&test.system().events(), 0, 10).await;
    let event = &events[0];
    assert_eq!((event.name.as_str(), event.version), ("noted", 1));
    assert_eq!(&*event.service, "notes");
    assert_eq!(event.json().unwrap(), br#"{"key":"a","n":5}"#);
    assert_eq!(event.causation, event.correlation);
    assert_ne!(event.id, event.causation);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_durable_is_not_shown() {
    let mut test = TestSystem::start(3, both(&Copies::default()))
        .await
        .unwrap();
    take(test.system(), 1..=3).await;
    let feed = test.system().events();
    let notes = test.system().service::<Notes>();
    let call = tokio::spawn(async move { notes.call(note("a", 4)).await });
    // Virtual time stands still while anything can run, and so does the disk.
    loop {
        let store = test.system().report().store;
        if store.queued > store.durable {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(feed.last(), EventNumber(3));
    assert!(
        feed.read(EventNumber(3), 10)
            .await
            .unwrap()
            .items
            .is_empty()
    );
    drop(feed);
    test.crash();
    call.abort();
    test.reopen().await.unwrap();
    // Whether the commit survived or not, its number was shown to nobody.
    take(test.system(), 7..=7).await;
    let (events, gaps) = read_all(&test.system().events(), 0, 10).await;
    assert!(gaps.is_empty());
    assert_eq!(noted(events.last().unwrap()), 7);
}

#[tokio::test(start_paused = true)]
async fn news_wakes_its_reader_when_the_event_is_durable_and_not_before() {
    let test = TestSystem::start(4, both(&Copies::default()))
        .await
        .unwrap();
    let feed = test.system().events();
    let quiet = tokio::time::timeout(Duration::from_secs(3_600), feed.news(EventNumber(0)));
    assert!(quiet.await.is_err(), "there is nothing to tell");
    let reader = {
        let feed = feed.clone();
        tokio::spawn(async move { feed.news(EventNumber(0)).await })
    };
    tokio::task::yield_now().await;
    take(test.system(), 1..=1).await;
    // It was told by the time the answer was given: there is nothing to wait for.
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    assert!(reader.is_finished());
    assert_eq!(reader.await.unwrap(), Some(EventNumber(1)));
}

#[tokio::test(start_paused = true)]
async fn news_ends_with_the_drain_and_with_the_store() {
    for crash in [false, true] {
        let mut test = TestSystem::start(5, both(&Copies::default()))
            .await
            .unwrap();
        let feed = test.system().events();
        let reader = {
            let feed = feed.clone();
            tokio::spawn(async move { feed.news(EventNumber(0)).await })
        };
        tokio::task::yield_now().await;
        if crash {
            test.crash_at(1);
            let notes = test.system().service::<Notes>();
            assert!(notes.call(note("a", 1)).await.is_err());
        } else {
            test.reopen().await.unwrap();
        }
        assert_eq!(reader.await.unwrap(), None);
        assert_eq!(feed.news(EventNumber(0)).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn trimmed_events_are_told_as_one_gap_before_the_first_that_is_kept() {
    let mut test = little_system(6).await;
    take(test.system(), 1..=2_000).await;
    for reopened in [false, true] {
        let (events, gaps) = read_all(&test.system().events(), 0, 100).await;
        let [gap] = gaps[..] else { panic!("{gaps:?}") };
        assert_eq!((gap.first.0, gap.reason), (1, GapReason::Trimmed));
        assert!(gap.last.0 > 500, "{gap:?}");
        let numbers: Vec<u64> = events.iter().map(|event| event.number.0).collect();
        assert_eq!(numbers, (gap.last.0 + 1..2_000).collect::<Vec<u64>>());
        if !reopened {
            test.crash();
            test.reopen().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn damaged_events_are_told_as_a_gap_and_the_others_are_shown() {
    let mut test = little_system(7).await;
    take(test.system(), 1..=400).await;
    test.reopen().await.unwrap();
    let mut segments: Vec<_> = test
        .disk()
        .files()
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    segments.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "events")
    });
    segments.sort();
    assert!(segments.len() > 3, "{segments:?}");
    assert!(test.disk().flip(&segments[1], 700, 0x10));
    let (events, gaps) = read_all(&test.system().events(), 0, 64).await;
    assert!(!gaps.is_empty());
    assert!(gaps.iter().all(|gap| gap.reason == GapReason::Damaged));
    let lost: u64 = gaps.iter().map(|gap| gap.last.0 - gap.first.0 + 1).sum();
    assert_eq!(events.len() as u64 + lost, 400);
    assert!(lost < 10, "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_number_from_elsewhere_is_told_and_reading_goes_on_at_the_end() {
    let test = TestSystem::start(8, both(&Copies::default()))
        .await
        .unwrap();
    take(test.system(), 1..=3).await;
    let feed = test.system().events();
    assert_eq!(feed.news(EventNumber(99)).await, Some(EventNumber(3)));
    let page = feed.read(EventNumber(99), 10).await.unwrap();
    let FeedItem::Gap(gap) = &page.items[0] else {
        panic!("{page:?}")
    };
    assert_eq!(
        (gap.first.0, gap.last.0, gap.reason),
        (4, 99, GapReason::Unknown)
    );
    assert_eq!(page.through, EventNumber(3));
}

#[tokio::test(start_paused = true)]
async fn old_events_go_while_nothing_happens() {
    let mut test = TestSystem::start(9, both(&Copies::default()))
        .await
        .unwrap();
    take(test.system(), 1..=20).await;
    // An orderly end puts them into the log.
    test.reopen().await.unwrap();
    test.advance(redeliver::days(6)).await;
    let (events, _) = read_all(&test.system().events(), 0, 10).await;
    assert_eq!(events.len(), 20);
    test.advance(redeliver::days(2)).await;
    let (events, gaps) = read_all(&test.system().events(), 0, 10).await;
    assert_eq!((events.len(), gaps.len()), (0, 1));
    // Numbers go on where they were.
    take(test.system(), 1..=1).await;
    assert_eq!(test.system().events().last(), EventNumber(21));
}
