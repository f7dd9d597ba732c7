//! A rebuild under live events: right at every moment, and the same bytes in the end.

use proptest::prelude::*;
use redeliver::testing::ServiceKit;

use super::super::rebuild::{RebuildStep, STEP_ROWS};
use super::super::tables::{FACTS, Generation};
use super::super::{OrdersSummary, Range, Rebuild, RebuildProgress};
use super::folding::{Told, any, finish, generations, live_bytes};
use super::*;

fn views(kit: &mut Kit, many: usize) {
    for n in 0..many {
        Told::Captured(captured(n as u128, eur(1), NOON)).tell(kit);
    }
}

fn revenue(kit: &mut Kit) -> usize {
    let summary = kit.query(OrdersSummary { range: Range::ALL }).unwrap();
    summary.revenue.amount as usize
}

#[test]
fn figures_are_right_at_every_step_and_after_every_event() {
    let mut kit = kit();
    let mut counted = 3 * STEP_ROWS + 7;
    views(&mut kit, counted);
    kit.command(Rebuild { restart: false }).reply();
    let mut switched = false;
    while kit.fire_next_timer().is_some() {
        assert_eq!(revenue(&mut kit), counted);
        views(&mut kit, 5);
        counted += 5;
        assert_eq!(revenue(&mut kit), counted);
        switched |= books(&mut kit).live == Generation(1);
    }
    assert!(switched);
    assert_eq!(generations(&mut kit), [Generation(1)].into());
}

#[test]
fn a_step_folds_a_bounded_number_of_facts_and_says_how_far_it_is() {
    let mut kit = kit();
    views(&mut kit, 2 * STEP_ROWS + 1);
    let begun = kit.command(Rebuild { restart: false });
    assert!(begun.reply().running);
    assert_eq!(begun.timers::<RebuildStep>().len(), 1);
    for folded in [STEP_ROWS, 2 * STEP_ROWS] {
        kit.fire_next_timer().unwrap().reply();
        let progress = kit.query(RebuildProgress {}).unwrap();
        assert_eq!((progress.running, progress.folded), (true, folded as u64));
        assert_eq!(progress.generation, 0);
    }
    kit.fire_next_timer().unwrap().reply();
    let progress = kit.query(RebuildProgress {}).unwrap();
    assert_eq!((progress.running, progress.generation), (false, 1));
    assert!(progress.clearing && progress.finished_at.is_some());
}

#[test]
fn nothing_to_fold_is_rebuilt_at_once() {
    let mut kit = kit();
    kit.command(Rebuild { restart: false }).reply();
    finish(&mut kit);
    let progress = kit.query(RebuildProgress {}).unwrap();
    assert_eq!((progress.generation, progress.facts), (1, 0));
}

#[test]
fn asking_again_while_it_runs_begins_no_second_one() {
    let mut kit = kit();
    views(&mut kit, 10);
    kit.command(Rebuild { restart: false }).reply();
    let again = kit.command(Rebuild { restart: false });
    assert!(again.reply().running && again.is_quiet());
    finish(&mut kit);
    assert_eq!(books(&mut kit).live, Generation(1));
}

#[test]
fn one_that_is_given_up_leaves_nothing_and_its_last_step_does_nothing() {
    let mut kit = kit();
    views(&mut kit, 2 * STEP_ROWS);
    let before = live_bytes(&mut kit);
    kit.command(Rebuild { restart: false }).reply();
    kit.fire_next_timer().unwrap().reply();
    let mut live = [Generation(0), Generation(1)].into();
    assert_eq!(generations(&mut kit), live);
    kit.command(Rebuild { restart: true }).reply();
    let stale = kit.timer(RebuildStep { chain: 1 });
    assert!(stale.is_quiet());
    finish(&mut kit);
    live = [Generation(2)].into();
    assert_eq!(generations(&mut kit), live);
    assert_eq!(live_bytes(&mut kit), before);
}

#[test]
fn a_missing_fact_stops_the_rebuild_and_leaves_the_figures() {
    let mut kit = kit();
    views(&mut kit, 10);
    kit.turn(|_, cx| Ok(cx.remove(FACTS, &4)?)).reply();
    kit.command(Rebuild { restart: false }).reply();
    let step = kit.fire_next_timer().unwrap();
    assert_eq!(step.rejection().code, "facts_missing");
    assert_eq!(revenue(&mut kit), 10);
    assert_eq!(books(&mut kit).live, Generation(0));
}

#[test]
fn a_list_that_is_being_read_goes_on_after_a_rebuild() {
    use super::super::{SalesOrder, TopSelling};
    use crate::page::Page;
    let mut kit = kit();
    (1..=3).for_each(|n| {
        Told::Purchased(purchased(n, n as u32, eur(1), NOON)).tell(&mut kit);
    });
    let ask = |cursor| TopSelling {
        range: Range::ALL,
        by: SalesOrder::Units,
        page: Page {
            limit: Some(2),
            cursor,
        },
    };
    let first = kit.query(ask(None)).unwrap();
    kit.command(Rebuild { restart: false }).reply();
    finish(&mut kit);
    let second = kit.query(ask(first.next_cursor)).unwrap();
    assert_eq!(second.items.len(), 1);
    assert_eq!(second.items[0].product_id, product(1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Events come between any two steps; another shop that is never rebuilt hears the same.
    #[test]
    fn whatever_comes_during_a_rebuild_its_rows_are_those_of_one_that_was_never_rebuilt(
        before in prop::collection::vec(any(), 0..600),
        during in prop::collection::vec((any(), 0..3u8), 0..60),
    ) {
        let (mut rebuilt, mut never): (ServiceKit<Analytics>, ServiceKit<Analytics>) = (kit(), kit());
        for event in before {
            event.clone().tell(&mut rebuilt);
            event.tell(&mut never);
        }
        rebuilt.command(Rebuild { restart: false }).reply();
        for (event, steps) in during {
            for _ in 0..steps {
                if let Some(turn) = rebuilt.fire_next_timer() {
                    turn.reply();
                }
            }
            event.clone().tell(&mut rebuilt);
            event.tell(&mut never);
            prop_assert_eq!(live_bytes(&mut rebuilt), live_bytes(&mut never));
        }
        finish(&mut rebuilt);
        prop_assert_eq!(live_bytes(&mut rebuilt), live_bytes(&mut never));
        prop_assert_eq!(rebuilt.rows(FACTS), never.rows(FACTS));
    }
}
