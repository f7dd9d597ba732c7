//! Any order of answers, cancellations and deadlines: a small world of the other three services,
//! which answer when the test lets them, and the promises that hold whatever it chooses.
//!
//! The world keeps the contract of the streams: what one service says to another about an order
//! arrives in the order of saying. Between two streams nothing is promised.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::world::{Asked, Box, Money, REQUESTS, Said, Stock, World};
use super::*;
use crate::order::tables;

/// The choice that lets something arrive.
const PROGRESS: u8 = 15;
/// The choice that lets a service say something out of turn.
const LATE: u8 = 16;

struct Run {
    shop: Shop,
    world: World,
    statuses: Vec<&'static str>,
    /// Whether a service has said something out of turn.
    late: bool,
}

impl Run {
    fn new() -> Run {
        let mut kit = Shop::open();
        let turn = kit.command(wish());
        let id = turn.reply().id;
        let mut run = Run {
            shop: Shop { kit, id },
            world: World::new(),
            statuses: Vec::new(),
            late: false,
        };
        run.route(&turn);
        run
    }

    /// Puts what the order has published on its ways.
    fn route<R>(&mut self, turn: &Decided<Orders, R>) {
        let world = &mut self.world;
        let mut pays = turn.published::<PaymentRequested>().into_iter();
        for name in turn.published_names() {
            match name.as_str() {
                "inventory-reservation-requested" => world.to_inventory.push_back(Asked::Reserve),
                "inventory-reservation-released" => world.to_inventory.push_back(Asked::Release),
                "order-confirmed" => {
                    world.to_inventory.push_back(Asked::Confirmed);
                    world.to_shipping.push_back(Asked::Confirmed);
                }
                "payment-requested" => {
                    let attempt = pays.next().unwrap().attempt;
                    world.to_payment.push_back(Asked::Pay { attempt });
                }
                "payment-refund-requested" => world.to_payment.push_back(Asked::Refund),
                "shipment-cancellation-requested" => world.to_shipping.push_back(Asked::KeepBack),
                _ => {}
            }
            world.told.push(name);
        }
        let status = self.shop.status();
        if self.statuses.last() != Some(&status) {
            self.statuses.push(status);
        }
    }

    fn hear(&mut self, said: Said) {
        let shop = &mut self.shop;
        let turn = match said {
            Said::Held => shop.event(shop.stock_held()),
            Said::Short => shop.event(shop.stock_short()),
            Said::Expired => shop.event(shop.stock_expired()),
            Said::Free => shop.event(shop.stock_free()),
            Said::Authorised(attempt) => shop.event(shop.authorised(attempt)),
            Said::Declined(attempt, kind) => shop.event(shop.declined(attempt, kind)),
            Said::Charged => shop.event(shop.charged()),
            Said::NotCharged => shop.event(shop.not_charged()),
            Said::Refunded(kind) => shop.event(shop.refunded(kind)),
            Said::NotRefunded => shop.event(shop.not_refunded()),
            Said::Packed => shop.event(shop.packed()),
            Said::Dispatched => shop.event(shop.dispatched()),
            Said::Arrived => shop.event(shop.arrived()),
            Said::CameBack => shop.event(shop.came_back()),
            Said::KeptBack => shop.event(shop.kept_back()),
            Said::NotKeptBack => shop.event(shop.not_kept_back()),
        };
        self.route(&turn);
    }

    /// One of the things that are on their way arrives.
    fn progress(&mut self, luck: u8) -> bool {
        let first = luck % 9;
        (0..9).any(|next| self.happens((first + next) % 9, luck / 9))
    }

    /// One thing happens. Answers whether there was anything to do.
    fn happens(&mut self, what: u8, luck: u8) -> bool {
        match what {
            0 => match self.world.to_inventory.pop_front() {
                Some(asked) => self.world.inventory(asked, luck),
                None => return false,
            },
            1 => match self.world.to_payment.pop_front() {
                Some(asked) => self.world.payment(asked, luck),
                None => return false,
            },
            2 => match self.world.to_shipping.pop_front() {
                Some(asked) => self.world.shipping(asked),
                None => return false,
            },
            3 => match self.world.left_to_inventory.pop_front() {
                Some(asked) => self.world.inventory(asked, luck),
                None => return false,
            },
            4 => match self.world.left_to_payment.pop_front() {
                Some(asked) => self.world.payment(asked, luck),
                None => return false,
            },
            5 => match self.world.from_inventory.pop_front() {
                Some(said) => self.hear(said),
                None => return false,
            },
            6 => match self.world.from_payment.pop_front() {
                Some(said) => self.hear(said),
                None => return false,
            },
            7 => match self.world.from_shipping.pop_front() {
                Some(said) => self.hear(said),
                None => return false,
            },
            8 => {
                let turns = self.shop.kit.deliver_own();
                turns.iter().for_each(|turn| self.route(turn));
                return !turns.is_empty();
            }
            9 => {
                let turn = self.shop.cancel();
                self.route(&turn);
            }
            10 => {
                let turn = self.shop.retry("tok_ok");
                self.route(&turn);
            }
            11 => self.time_passes(),
            12 if self.world.stock == Stock::Held => {
                self.world.stock = Stock::Expired;
                self.world.from_inventory.push_back(Said::Expired);
            }
            13 => self.world.parcel(luck),
            14 => {
                let actions = [Resolve::Retry, Resolve::Cancel, Resolve::Accept];
                let turn = self.shop.resolve(actions[usize::from(luck % 3)]);
                let asks_capture = !turn.sent::<CapturePayment>().is_empty();
                self.route(&turn);
                if asks_capture {
                    self.world.to_payment.push_back(Asked::Left);
                }
            }
            LATE => {
                self.late = true;
                self.world.late(luck);
            }
            PROGRESS => return self.progress(luck),
            _ => {}
        }
        true
    }

    fn saga(&mut self) -> SagaState {
        let id = self.shop.id;
        let state = self.shop.kit.view(|view| Fulfilment::state(&id, view));
        state.unwrap()
    }

    fn is_over(&mut self) -> bool {
        match self.shop.status() {
            "returned" => true,
            // Or something late is still on its way back.
            "cancelled" => !matches!(self.saga(), SagaState::Undoing { .. }),
            // Or its money is.
            "delivered" => self.world.parcel != Box::Back,
            _ => false,
        }
    }

    /// The next deadline passes. What is remembered of an order that is over is not: that goes
    /// after 30 days, and nothing is as late as that.
    fn time_passes(&mut self) {
        let ended = matches!(self.saga(), SagaState::Undone { .. } | SagaState::Completed);
        let id = self.shop.id;
        let order = self.shop.kit.get(tables::ORDERS, &id).unwrap();
        let refund_is_due = order.take_back.is_some_and(|back| back.is_open());
        if (!ended || refund_is_due)
            && let Some(turn) = self.shop.kit.fire_next_timer()
        {
            self.route(&turn);
        }
    }

    /// Lets everything that is on its way arrive, and people do what is theirs to do.
    fn ends(&mut self) {
        for round in 0..2_000u32 {
            let luck = u8::try_from(round % 251).unwrap();
            let mut busy = false;
            for what in 0..=8 {
                busy |= self.happens(what, luck);
            }
            if busy {
                continue;
            }
            if self.is_over() {
                return;
            }
            match self.shop.status() {
                "confirmed" | "shipped" if self.world.parcel != Box::Back => self.world.parcel(1),
                "payment_failed" => {
                    self.happens(12, luck);
                }
                "manual_review" => {
                    // A person who gives a failed capture up stops looking at it.
                    self.happens(14, 2);
                }
                _ => self.time_passes(),
            }
        }
        panic!(
            "order never ends: {:?}, {:?}, {:?}",
            self.statuses,
            self.world,
            self.shop.timeline()
        );
    }

    fn count(&self, name: &str) -> usize {
        self.world.told.iter().filter(|told| *told == name).count()
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.world.told.iter().position(|told| told == name)
    }

    fn check(&mut self, accepted: bool) {
        let statuses = &self.statuses;
        let end = *statuses.last().unwrap();

        // One terminal state, once: nothing follows it but the return of a delivered order.
        for pair in statuses.windows(2) {
            match pair[0] {
                "cancelled" | "returned" => panic!("{pair:?} in {statuses:?}"),
                "delivered" => {
                    assert!(
                        ["returned", "manual_review"].contains(&pair[1]),
                        "{pair:?} in {statuses:?}"
                    );
                }
                _ => {}
            }
        }
        for once in [
            "order-created",
            "order-cancelled",
            "order-shipped",
            "order-delivered",
        ] {
            assert!(self.count(once) <= 1, "{once} in {:?}", self.world.told);
        }
        assert!(self.count("order-confirmed") <= 1);

        // Never confirmed, shipped or delivered after it was cancelled.
        if let Some(cancelled) = self.place("order-cancelled") {
            for never in ["order-confirmed", "order-shipped", "order-delivered"] {
                if let Some(place) = self.place(never) {
                    assert!(place < cancelled, "{never} in {:?}", self.world.told);
                }
            }
        }

        // Compensations follow what they undo, and come in reverse.
        for (undo, of) in [
            (REQUESTS[3], REQUESTS[2]),
            (REQUESTS[4], REQUESTS[1]),
            (REQUESTS[5], REQUESTS[0]),
        ] {
            if let Some(undo) = self.place(undo) {
                assert!(self.place(of).unwrap() < undo, "{:?}", self.world.told);
            }
        }
        // What was held out of turn is given back out of turn, too.
        if end == "cancelled" && self.count("order-shipped") == 0 && !self.late {
            let places: Vec<usize> = REQUESTS[3..]
                .iter()
                .filter_map(|request| self.place(request))
                .collect();
            assert!(places.is_sorted(), "{:?}", self.world.told);
        }

        // An expiry ends only what is not paid yet.
        let order = self.shop.view();
        if order.cancel_reason.as_deref() == Some("reservation_expired") {
            assert!(!self.statuses.contains(&"paid"), "{:?}", self.statuses);
        }

        // What was replaced is never undone in place of what replaced it.
        if let Some(undo) = self.place(REQUESTS[4]) {
            let pays = self.world.told.iter().skip(undo);
            assert!(!pays.into_iter().any(|told| told == REQUESTS[1]));
        }
        if self.count("order-delivered") == 1 && end == "delivered" {
            assert_eq!(self.count(REQUESTS[4]), 0, "{:?}", self.world.told);
        }

        // The world agrees with the order; unless a person said that it does not matter.
        if accepted {
            return;
        }
        let world = &self.world;
        match end {
            "cancelled" => {
                assert!(
                    !matches!(world.stock, Stock::Held | Stock::Committed),
                    "{world:?}"
                );
                assert!(
                    matches!(world.money, Money::None | Money::Back),
                    "{world:?}"
                );
                assert!(matches!(world.parcel, Box::None | Box::Kept), "{world:?}");
            }
            "delivered" => {
                assert_eq!(world.parcel, Box::There);
                assert_eq!(world.money, Money::Taken);
                assert_eq!(world.stock, Stock::Gone);
            }
            "returned" => {
                assert_eq!(world.parcel, Box::Back);
                assert_eq!(world.money, Money::Back);
            }
            other => panic!("{other} is no end"),
        }
    }
}

fn run(choices: &[(u8, u8)]) {
    let mut run = Run::new();
    let mut reviewed = false;
    for (what, luck) in choices {
        run.happens(*what, *luck);
        reviewed |= run.shop.status() == "manual_review";
    }
    run.ends();
    reviewed |= run.statuses.contains(&"manual_review");
    run.check(reviewed);
    // What a timeline tells is what happened.
    let timeline = run.shop.timeline();
    for pair in timeline.windows(2) {
        assert_eq!(pair[1].from, Some(pair[0].to), "{timeline:?}");
    }
    let version = run.shop.view().version;
    assert_eq!(version, u64::try_from(timeline.len()).unwrap());
}

/// Mostly progress, now and then a person or a clock that interferes.
fn choices(late: u32) -> impl Strategy<Value = Vec<(u8, u8)>> {
    let what = prop_oneof![
        late => Just(LATE),
        100 => Just(PROGRESS),
        3 => Just(9u8),
        6 => Just(10u8),
        2 => Just(11u8),
        3 => Just(12u8),
        12 => Just(13u8),
        4 => Just(14u8),
    ];
    prop::collection::vec((what, any::<u8>()), 0..50)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn every_order_ends_once_and_the_world_agrees(choices in choices(0)) {
        run(&choices);
    }

    #[test]
    fn what_is_held_out_of_turn_is_given_back(choices in choices(12)) {
        run(&choices);
    }
}

#[test]
fn every_status_is_reached() {
    let mut runner = TestRunner::deterministic();
    let mut reached = std::collections::BTreeMap::new();
    for _ in 0..600 {
        let choices = choices(1).new_tree(&mut runner).unwrap().current();
        let mut run = Run::new();
        for (what, luck) in choices {
            run.happens(what, luck);
        }
        run.ends();
        for status in run.statuses {
            *reached.entry(status).or_insert(0) += 1;
        }
    }
    // Few of any of them would mean that the world above no longer tries it.
    for status in OrderStatus::ALL {
        let times = reached.get(status.as_str()).copied().unwrap_or(0);
        assert!(times >= 10, "{status} only {times} times: {reached:?}");
    }
}
