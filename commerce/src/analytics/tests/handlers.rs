//! Each handler: given what was counted, when an event comes, then what is counted.

use super::super::facts::What;
use super::super::tables::{FACTS, LEVELS, SALES};
use super::*;

fn facts(kit: &mut Kit) -> Vec<What> {
    let rows = kit.rows(FACTS);
    rows.into_iter().map(|(_, fact)| fact.what).collect()
}

// OrderCreated.

#[test]
fn an_accepted_order_is_counted_in_its_day_and_month_and_its_lines_in_the_funnel() {
    let mut kit = kit();
    let turn = kit.event(created(3, NOON));
    assert!(turn.is_quiet());
    for figures in [
        figures(&mut kit, "2026-03-01"),
        month(&mut kit, "2026-03-01"),
    ] {
        assert_eq!((figures.created, figures.ordered), (1, 3));
        assert!(!figures.money.is_any());
    }
    assert_eq!(account(&mut kit, 1), Revenue::default());
}

#[test]
fn an_order_accepted_a_microsecond_before_midnight_belongs_to_the_day_that_ends() {
    let mut kit = kit();
    kit.event(created(1, "2026-02-28T23:59:59.999999Z"));
    kit.event(created(1, "2026-03-01T00:00:00Z"));
    assert_eq!(figures(&mut kit, "2026-02-28").created, 1);
    assert_eq!(figures(&mut kit, "2026-03-01").created, 1);
    assert_eq!(month(&mut kit, "2026-02-01").created, 1);
    assert_eq!(month(&mut kit, "2026-03-31").created, 1);
}

#[test]
fn an_order_that_is_told_late_is_counted_in_its_own_day() {
    let mut kit = kit();
    kit.event(created(1, NOON));
    kit.event(created(2, "2025-12-24T18:00:00Z"));
    assert_eq!(figures(&mut kit, "2025-12-24").ordered, 2);
    assert_eq!(figures(&mut kit, "2026-03-01").ordered, 1);
}

#[test]
fn an_order_in_a_foreign_currency_is_refused_and_counted_nowhere() {
    let mut kit = kit();
    kit.event(created(1, NOON));
    let mut foreign = created(1, NOON);
    foreign.total = pounds(100);
    assert_eq!(kit.event(foreign).rejection().code, "foreign_currency");
    assert_eq!(figures(&mut kit, "2026-03-01").created, 1);
    assert_eq!(facts(&mut kit).len(), 1);
}

// OrderConfirmed.

#[test]
fn a_confirmed_order_is_counted_and_brings_no_revenue_yet() {
    let mut kit = kit();
    kit.event(created(1, NOON));
    kit.event(confirmed(NOON));
    let figures = figures(&mut kit, "2026-03-01");
    assert_eq!((figures.created, figures.confirmed), (1, 1));
    assert!(!figures.money.is_any());
}

#[test]
fn an_order_confirmed_on_the_next_day_is_counted_there() {
    let mut kit = kit();
    kit.event(created(1, "2026-03-01T23:59:59Z"));
    kit.event(confirmed("2026-03-02T00:00:01Z"));
    assert_eq!(figures(&mut kit, "2026-03-01").confirmed, 0);
    assert_eq!(figures(&mut kit, "2026-03-02").confirmed, 1);
    assert_eq!(month(&mut kit, "2026-03-01").confirmed, 1);
}

#[test]
fn a_confirmation_that_overtakes_its_order_is_counted_all_the_same() {
    let mut kit = kit();
    kit.event(confirmed(NOON));
    assert_eq!(figures(&mut kit, "2026-03-01").confirmed, 1);
    kit.event(created(1, NOON));
    assert_eq!(figures(&mut kit, "2026-03-01").created, 1);
}

#[test]
fn what_is_kept_of_a_confirmation_knows_no_address() {
    let mut kit = kit();
    kit.event(confirmed(NOON));
    assert_eq!(facts(&mut kit), [What::Confirmed { order: order(1) }]);
}

// OrderCancelled.

#[test]
fn a_cancelled_order_stays_counted_as_created() {
    let mut kit = kit();
    kit.event(created(1, NOON));
    kit.event(cancelled(NOON));
    let figures = figures(&mut kit, "2026-03-01");
    assert_eq!((figures.created, figures.cancelled), (1, 1));
}

#[test]
fn what_a_cancelled_order_would_have_cost_is_no_refund() {
    let mut kit = kit();
    kit.event(cancelled(NOON));
    assert!(!figures(&mut kit, "2026-03-01").money.is_any());
    assert_eq!(account(&mut kit, 1), Revenue::default());
}

#[test]
fn an_order_cancelled_in_another_month_is_counted_in_that() {
    let mut kit = kit();
    kit.event(created(1, NOON));
    kit.event(cancelled("2026-04-01T00:00:00Z"));
    assert_eq!(month(&mut kit, "2026-03-01").cancelled, 0);
    assert_eq!(month(&mut kit, "2026-04-30").cancelled, 1);
}

// OrderDelivered.

#[test]
fn a_delivered_order_is_counted_on_the_day_it_arrived() {
    let mut kit = kit();
    kit.event(created(1, NOON));
    kit.event(delivered("2026-03-04T09:00:00Z"));
    assert_eq!(figures(&mut kit, "2026-03-01").delivered, 0);
    assert_eq!(figures(&mut kit, "2026-03-04").delivered, 1);
}

// PaymentCompleted.

#[test]
fn money_that_was_taken_is_revenue_of_the_day_of_the_month_and_of_the_customer() {
    let mut kit = kit();
    kit.event(captured(1, eur(1_998), NOON));
    let expected = Revenue {
        orders: 1,
        captured: 1_998,
        refunded: 0,
    };
    assert_eq!(figures(&mut kit, "2026-03-01").money, expected);
    assert_eq!(month(&mut kit, "2026-03-01").money, expected);
    assert_eq!(account(&mut kit, 1), expected);
}

#[test]
fn captures_of_several_customers_add_up_and_stay_apart() {
    let mut kit = kit();
    kit.event(captured(1, eur(100), NOON));
    kit.event(captured(2, eur(30), NOON));
    kit.event(captured(1, eur(1), "2026-03-02T12:00:00Z"));
    assert_eq!(account(&mut kit, 1).captured, 101);
    assert_eq!(account(&mut kit, 2).captured, 30);
    assert_eq!(figures(&mut kit, "2026-03-01").money.captured, 130);
    assert_eq!(month(&mut kit, "2026-03-01").money.orders, 3);
}

#[test]
fn captures_beyond_what_an_amount_can_hold_are_still_counted() {
    let mut kit = kit();
    kit.event(captured(1, eur(i64::MAX), NOON));
    kit.event(captured(1, eur(i64::MAX), NOON));
    assert_eq!(account(&mut kit, 1).captured, 2 * i128::from(i64::MAX));
}

#[test]
fn a_capture_in_a_foreign_currency_is_refused_and_counted_nowhere() {
    let mut kit = kit();
    let turn = kit.event(captured(1, pounds(100), NOON));
    assert_eq!(turn.rejection().code, "foreign_currency");
    assert!(facts(&mut kit).is_empty());
}

// PaymentRefunded.

#[test]
fn money_paid_back_is_counted_on_the_day_it_went_back() {
    let mut kit = kit();
    kit.event(captured(1, eur(1_000), NOON));
    kit.event(refunded(
        RefundKind::Refunded,
        eur(400),
        "2026-04-02T00:00:00Z",
    ));
    assert_eq!(figures(&mut kit, "2026-03-01").money.refunded, 0);
    assert_eq!(figures(&mut kit, "2026-04-02").money.refunded, 400);
    assert_eq!(month(&mut kit, "2026-04-02").money.orders, 0);
    assert_eq!(account(&mut kit, 1).net(), Ok(600));
}

#[test]
fn a_void_is_no_revenue_either_way() {
    let mut kit = kit();
    kit.event(refunded(RefundKind::Voided, eur(0), NOON));
    assert_eq!(figures(&mut kit, "2026-03-01"), Figures::default());
    assert_eq!(account(&mut kit, 1), Revenue::default());
    assert_eq!(facts(&mut kit), [What::Voided { order: order(1) }]);
}

#[test]
fn partial_refunds_add_up() {
    let mut kit = kit();
    kit.event(captured(1, eur(1_000), NOON));
    for amount in [100, 200, 0] {
        kit.event(refunded(RefundKind::Refunded, eur(amount), NOON));
    }
    assert_eq!(account(&mut kit, 1).refunded, 300);
    assert_eq!(figures(&mut kit, "2026-03-01").money.refunded, 300);
}

#[test]
fn a_refund_that_overtakes_its_capture_leaves_the_same_figures() {
    let (mut one, mut other) = (kit(), kit());
    one.event(captured(1, eur(10), NOON));
    one.event(refunded(RefundKind::Refunded, eur(10), NOON));
    other.event(refunded(RefundKind::Refunded, eur(10), NOON));
    assert_eq!(account(&mut other, 1).net(), Ok(-10));
    other.event(captured(1, eur(10), NOON));
    assert_eq!(account(&mut one, 1), account(&mut other, 1));
}

// ProductViewed.

#[test]
fn a_view_is_counted_in_the_funnel_of_its_day() {
    let mut kit = kit();
    kit.event(viewed(1, NOON));
    let figures = figures(&mut kit, "2026-03-01");
    assert_eq!((figures.viewed, figures.added_to_cart), (1, 0));
}

#[test]
fn views_of_several_products_add_up() {
    let mut kit = kit();
    for n in [1, 2, 1] {
        kit.event(viewed(n, NOON));
    }
    assert_eq!(figures(&mut kit, "2026-03-01").viewed, 3);
    assert_eq!(month(&mut kit, "2026-03-01").viewed, 3);
}

#[test]
fn a_view_sells_nothing() {
    let mut kit = kit();
    kit.event(viewed(1, NOON));
    assert!(kit.rows(SALES).is_empty());
    assert!(!figures(&mut kit, "2026-03-01").money.is_any());
}

// ProductAddedToCart.

#[test]
fn a_product_in_a_cart_is_counted_once_however_many_there_are_of_it() {
    let mut kit = kit();
    kit.event(added(1, NOON));
    assert_eq!(figures(&mut kit, "2026-03-01").added_to_cart, 1);
}

#[test]
fn products_put_into_carts_on_two_days_are_counted_on_each() {
    let mut kit = kit();
    kit.event(added(1, "2026-03-01T23:59:59.999999Z"));
    kit.event(added(1, "2026-03-02T00:00:00Z"));
    assert_eq!(figures(&mut kit, "2026-03-01").added_to_cart, 1);
    assert_eq!(figures(&mut kit, "2026-03-02").added_to_cart, 1);
    assert_eq!(month(&mut kit, "2026-03-02").added_to_cart, 2);
}

#[test]
fn a_product_in_a_cart_is_neither_ordered_nor_sold() {
    let mut kit = kit();
    kit.event(added(1, NOON));
    let figures = figures(&mut kit, "2026-03-01");
    assert_eq!((figures.ordered, figures.purchased), (0, 0));
    assert!(kit.rows(SALES).is_empty());
}

// ProductPurchased.

#[test]
fn a_purchase_counts_units_and_revenue_of_its_product() {
    let mut kit = kit();
    kit.event(purchased(1, 3, eur(50), NOON));
    kit.event(purchased(1, 2, eur(40), NOON));
    let sales = kit.rows(SALES);
    assert_eq!(sales.len(), 1);
    assert_eq!((sales[0].1.units, sales[0].1.revenue), (5, 230));
    assert_eq!(sales[0].1.name, "Product 1");
    assert_eq!(figures(&mut kit, "2026-03-01").purchased, 2);
}

#[test]
fn a_purchase_is_not_the_capture_that_it_follows_from() {
    let mut kit = kit();
    kit.event(captured(1, eur(100), NOON));
    kit.event(purchased(1, 1, eur(100), NOON));
    assert_eq!(figures(&mut kit, "2026-03-01").money.captured, 100);
    assert_eq!(account(&mut kit, 1).captured, 100);
}

#[test]
fn the_name_of_the_latest_purchase_stands_also_when_an_earlier_one_comes_late() {
    let mut kit = kit();
    let mut renamed = purchased(1, 1, eur(1), "2026-03-02T12:00:00Z");
    renamed.name = "Better product".to_owned();
    kit.event(renamed);
    kit.event(purchased(1, 1, eur(1), NOON));
    assert_eq!(kit.rows(SALES)[0].1.name, "Better product");
}

#[test]
fn a_price_times_its_quantity_is_counted_beyond_what_an_amount_can_hold() {
    let mut kit = kit();
    kit.event(purchased(1, 999, eur(i64::MAX), NOON));
    assert_eq!(kit.rows(SALES)[0].1.revenue, 999 * i128::from(i64::MAX));
}

// StockAdjusted.

fn level(kit: &mut Kit, n: u128) -> Option<i128> {
    let live = books(kit).live;
    kit.get(LEVELS, &(live, product(n)))
}

#[test]
fn stock_is_the_sum_of_its_changes() {
    let mut kit = kit();
    for delta in [100, -30, 5] {
        kit.event(adjusted(1, delta, NOON));
    }
    assert_eq!(level(&mut kit, 1), Some(75));
}

#[test]
fn stock_of_each_product_is_its_own() {
    let mut kit = kit();
    kit.event(adjusted(1, 10, NOON));
    kit.event(adjusted(2, 7, NOON));
    assert_eq!(
        (level(&mut kit, 1), level(&mut kit, 2)),
        (Some(10), Some(7))
    );
    assert_eq!(level(&mut kit, 3), None);
}

#[test]
fn a_change_of_stock_is_no_business_of_a_day() {
    let mut kit = kit();
    kit.event(adjusted(1, 10, NOON));
    assert!(kit.rows(DAYS).is_empty() && kit.rows(MONTHS).is_empty());
    assert_eq!(facts(&mut kit).len(), 1);
}
