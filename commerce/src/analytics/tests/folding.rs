//! The fold: the order of facts does not matter, and counting again gives the same bytes.

use proptest::prelude::*;
use redeliver::codec::{Subject, seal};
use redeliver::{Table, TableKey};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::facts::Fact;
use super::super::tables::{
    FACTS, Generation, LEVELS, SALES, SALES_BY_REVENUE, SALES_BY_UNITS, SALES_OF_DAYS,
    SALES_OF_MONTHS,
};
use super::super::{Range, Rebuild, RebuildProgress, SalesOrder, TopSelling};
use super::*;
use crate::page::Page;

/// An event of any kind.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) enum Told {
    Created(OrderCreated),
    Confirmed(OrderConfirmed),
    Cancelled(OrderCancelled),
    Delivered(OrderDelivered),
    Captured(PaymentCompleted),
    Refunded(PaymentRefunded),
    Viewed(ProductViewed),
    Added(ProductAddedToCart),
    Purchased(ProductPurchased),
    Adjusted(StockAdjusted),
}

impl Told {
    pub(super) fn tell(self, kit: &mut Kit) {
        match self {
            Told::Created(event) => kit.event(event),
            Told::Confirmed(event) => kit.event(event),
            Told::Cancelled(event) => kit.event(event),
            Told::Delivered(event) => kit.event(event),
            Told::Captured(event) => kit.event(event),
            Told::Refunded(event) => kit.event(event),
            Told::Viewed(event) => kit.event(event),
            Told::Added(event) => kit.event(event),
            Told::Purchased(event) => kit.event(event),
            Told::Adjusted(event) => kit.event(event),
        }
        .reply();
    }
}

/// Events of four months, about three products and customers.
pub(super) fn any() -> impl Strategy<Value = Told> {
    let when = (1..5u32, 1..29u32, 0..24u32)
        .prop_map(|(month, day, hour)| format!("2026-{month:02}-{day:02}T{hour:02}:00:00Z"));
    (0..10u8, when, 1..4u128, 1..5_000i64).prop_map(|(kind, when, n, amount)| match kind {
        0 => Told::Created(created(n, &when)),
        1 => Told::Confirmed(confirmed(&when)),
        2 => Told::Cancelled(cancelled(&when)),
        3 => Told::Delivered(delivered(&when)),
        4 => Told::Captured(captured(n, eur(amount), &when)),
        5 if amount % 2 == 0 => Told::Refunded(refunded(RefundKind::Voided, eur(0), &when)),
        5 => Told::Refunded(refunded(RefundKind::Refunded, eur(amount), &when)),
        6 => Told::Viewed(viewed(n, &when)),
        7 => Told::Added(added(n, &when)),
        8 => {
            let mut bought = purchased(n, amount as u32 % 9 + 1, eur(amount), &when);
            bought.name = format!("Name {}", amount % 3);
            Told::Purchased(bought)
        }
        _ => Told::Adjusted(adjusted(n, amount - 2_500, &when)),
    })
}

/// Every row of the live generation as bytes, without the generation: table, key, value.
pub(super) fn live_bytes(kit: &mut Kit) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let live = books(kit).live;
    let mut rows = Vec::new();
    bytes(DAYS, live, kit, &mut rows);
    bytes(MONTHS, live, kit, &mut rows);
    bytes(SALES, live, kit, &mut rows);
    bytes(SALES_OF_DAYS, live, kit, &mut rows);
    bytes(SALES_OF_MONTHS, live, kit, &mut rows);
    bytes(ACCOUNTS, live, kit, &mut rows);
    bytes(LEVELS, live, kit, &mut rows);
    let span = redeliver::Span::prefix(&live).limit(usize::MAX);
    for ((_, units), (_, product)) in kit.view(|view| Ok(view.index(SALES_BY_UNITS, &span)?)) {
        rows.push((
            "sales_by_units",
            (units, product).to_bytes().to_vec(),
            Vec::new(),
        ));
    }
    for ((_, revenue), (_, product)) in kit.view(|view| Ok(view.index(SALES_BY_REVENUE, &span)?)) {
        rows.push((
            "sales_by_revenue",
            (revenue, product).to_bytes().to_vec(),
            Vec::new(),
        ));
    }
    rows
}

fn bytes<K, V>(
    table: Table<(Generation, K), V>,
    live: Generation,
    kit: &mut Kit,
    into: &mut Vec<(&'static str, Vec<u8>, Vec<u8>)>,
) where
    K: TableKey,
    V: Serialize + DeserializeOwned,
{
    for ((generation, key), value) in kit.rows(table) {
        if generation == live {
            let key = key.to_bytes().to_vec();
            let value = seal(Subject::row(table.name(), &key), 1, &value).unwrap();
            into.push((table.name(), key, value));
        }
    }
}

/// Fires step after step until the rebuild is over and everything old is gone.
pub(super) fn finish(kit: &mut Kit) {
    while kit.fire_next_timer().is_some_and(|turn| {
        turn.reply();
        true
    }) {}
    let progress = kit.query(RebuildProgress {}).unwrap();
    assert!(!progress.running && !progress.clearing, "{progress:?}");
}

/// Generations of which there are rows.
pub(super) fn generations(kit: &mut Kit) -> std::collections::BTreeSet<Generation> {
    let mut found = std::collections::BTreeSet::new();
    found.extend(kit.rows(DAYS).into_iter().map(|((of, _), _)| of));
    found.extend(kit.rows(MONTHS).into_iter().map(|((of, _), _)| of));
    found.extend(kit.rows(SALES).into_iter().map(|((of, _), _)| of));
    found.extend(kit.rows(SALES_OF_DAYS).into_iter().map(|((of, _), _)| of));
    found.extend(kit.rows(SALES_OF_MONTHS).into_iter().map(|((of, _), _)| of));
    found.extend(kit.rows(ACCOUNTS).into_iter().map(|((of, _), _)| of));
    found.extend(kit.rows(LEVELS).into_iter().map(|((of, _), _)| of));
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_events_does_not_matter(
        (events, shuffled) in prop::collection::vec(any(), 1..60)
            .prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle()))
    ) {
        let (mut one, mut other) = (kit(), kit());
        events.into_iter().for_each(|event| event.tell(&mut one));
        shuffled.into_iter().for_each(|event| event.tell(&mut other));
        prop_assert_eq!(live_bytes(&mut one), live_bytes(&mut other));
    }

    #[test]
    fn what_was_sold_on_some_days_is_what_was_bought_on_them(
        events in prop::collection::vec(any(), 0..200),
        (from, to) in (0..150i64, 0..150i64),
    ) {
        let first = at("2025-12-20T00:00:00Z");
        let nth = |n: i64| Day::of(Timestamp(first.0 + n * 86_400_000_000));
        let range = Range { from: Some(nth(from.min(to))), to: Some(nth(from.max(to))) };
        let mut bought = std::collections::BTreeMap::new();
        for event in &events {
            if let Told::Purchased(event) = event
                && range.from <= Some(Day::of(event.at))
                && Some(Day::of(event.at)) <= range.to
            {
                *bought.entry(event.product_id).or_insert(0) += u64::from(event.quantity);
            }
        }
        let mut kit = kit();
        events.into_iter().for_each(|event| event.tell(&mut kit));
        let (by, page) = (SalesOrder::Units, Page::default());
        let top = kit.query(TopSelling { range, by, page }).unwrap().items;
        prop_assert!(top.is_sorted_by(|one, next| one.units >= next.units));
        let told = top.into_iter().map(|item| (item.product_id, item.units));
        prop_assert_eq!(told.collect::<std::collections::BTreeMap<_, _>>(), bought);
    }

    #[test]
    fn a_rebuild_gives_the_same_bytes(events in prop::collection::vec(any(), 0..400)) {
        let mut kit = kit();
        events.into_iter().for_each(|event| event.tell(&mut kit));
        let before = live_bytes(&mut kit);
        kit.command(Rebuild { restart: false }).reply();
        finish(&mut kit);
        prop_assert_eq!(books(&mut kit).live, Generation(1));
        prop_assert!(generations(&mut kit).iter().all(|of| *of == Generation(1)));
        prop_assert_eq!(live_bytes(&mut kit), before);
    }
}

/// An order of one line, from the first look to its arrival; the sizes are those in the module's
/// introduction.
#[test]
fn the_facts_of_an_order_take_less_than_500_bytes() {
    let mut kit = kit();
    Told::Viewed(viewed(1, NOON)).tell(&mut kit);
    Told::Added(added(1, NOON)).tell(&mut kit);
    Told::Created(created(1, NOON)).tell(&mut kit);
    Told::Confirmed(confirmed(NOON)).tell(&mut kit);
    Told::Adjusted(adjusted(1, -2, NOON)).tell(&mut kit);
    Told::Captured(captured(1, eur(1_998), NOON)).tell(&mut kit);
    Told::Purchased(purchased(1, 2, eur(999), NOON)).tell(&mut kit);
    Told::Delivered(delivered(NOON)).tell(&mut kit);
    let facts: Vec<(u64, Fact)> = kit.rows(FACTS);
    let size = |(number, fact): &(u64, Fact)| {
        let key = number.to_bytes();
        let row = seal(Subject::row(FACTS.name(), &key), 1, fact).unwrap();
        key.len() + row.len()
    };
    let sizes: Vec<usize> = facts.iter().map(size).collect();
    let total: usize = sizes.iter().sum();
    println!("{sizes:?} {total}");
    assert_eq!(sizes.len(), 8);
    assert!(
        sizes.iter().all(|bytes| (30..=90).contains(bytes)),
        "{sizes:?}"
    );
    assert!(total < 500, "{total}");
}
