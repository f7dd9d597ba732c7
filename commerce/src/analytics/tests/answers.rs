//! What queries answer.

use redeliver::hours;

use super::super::{
    ConversionFunnel, Dashboard, LifetimeValue, OrdersSummary, Range, RevenueByDay, RevenueByMonth,
    RevenueView, SalesOrder, StockLevels, TopSelling,
};
use super::*;
use crate::page::Page;

fn range(from: &str, to: &str) -> Range {
    let some = |text: &str| (!text.is_empty()).then(|| day(text));
    Range {
        from: some(from),
        to: some(to),
    }
}

fn page(limit: u16, cursor: Option<String>) -> Page {
    Page {
        limit: Some(limit),
        cursor,
    }
}

/// One order paid on each of these days, of 10, 20, 30… cents.
fn paid_on(days: &[&str]) -> Kit {
    let mut kit = kit();
    for (n, day) in days.iter().enumerate() {
        let amount = 10 * (n as i64 + 1);
        kit.event(captured(1, eur(amount), &format!("{day}T12:00:00Z")));
    }
    kit
}

fn revenue_of(kit: &mut Kit, range: Range) -> i64 {
    let summary = kit.query(OrdersSummary { range }).unwrap();
    summary.revenue.amount
}

#[test]
fn a_summary_counts_the_days_of_its_range_both_ends_included() {
    let mut kit = paid_on(&[
        "2026-01-31",
        "2026-02-01",
        "2026-02-28",
        "2026-03-01",
        "2026-03-02",
    ]);
    for (from, to, revenue) in [
        ("", "", 150),
        ("2026-02-01", "2026-02-28", 50),
        ("2026-01-31", "2026-03-01", 100),
        ("2026-02-02", "", 120),
        ("", "2026-02-27", 30),
        ("2026-02-28", "2026-02-28", 30),
        ("2026-02-02", "2026-02-27", 0),
        ("2027-01-01", "", 0),
    ] {
        assert_eq!(
            revenue_of(&mut kit, range(from, to)),
            revenue,
            "{from}..{to}"
        );
    }
}

#[test]
fn a_range_that_ends_before_it_begins_is_refused() {
    let mut kit = kit();
    let range = range("2026-03-02", "2026-03-01");
    let page = Page::default();
    let codes = [
        kit.query(OrdersSummary { range }).unwrap_err().code,
        kit.query(ConversionFunnel { range }).unwrap_err().code,
        kit.query(RevenueByDay {
            range,
            page: page.clone(),
        })
        .unwrap_err()
        .code,
        kit.query(RevenueByMonth { range, page }).unwrap_err().code,
    ];
    assert_eq!(codes, ["invalid_range"; 4]);
}

#[test]
fn an_average_is_revenue_by_orders_paid_for() {
    let mut kit = paid_on(&["2026-03-01", "2026-03-01", "2026-03-01"]);
    kit.event(created(1, NOON));
    kit.event(captured(1, eur(1), NOON));
    let ask = OrdersSummary { range: Range::ALL };
    let summary = kit.query(ask).unwrap();
    assert_eq!(summary.revenue, eur(61));
    assert_eq!(summary.average_order_value, eur(15));
}

#[test]
fn revenue_lists_only_periods_in_which_money_moved_in_order_and_page_by_page() {
    let mut kit = paid_on(&["2026-03-05", "2026-02-01", "2026-03-01"]);
    kit.event(viewed(1, "2026-02-15T12:00:00Z"));
    kit.event(refunded(
        RefundKind::Refunded,
        eur(7),
        "2026-04-01T00:00:00Z",
    ));
    let mut periods = Vec::new();
    let mut cursor = None;
    loop {
        let ask = RevenueByDay {
            range: Range::ALL,
            page: page(3, cursor),
        };
        let listing = kit.query(ask).unwrap();
        periods.extend(listing.items);
        cursor = listing.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let shown: Vec<(&str, i64)> = periods
        .iter()
        .map(|item| (item.period.as_str(), item.net.amount))
        .collect();
    let days = [
        ("2026-02-01", 20),
        ("2026-03-01", 30),
        ("2026-03-05", 10),
        ("2026-04-01", -7),
    ];
    assert_eq!(shown, days);
    let ask = RevenueByMonth {
        range: range("2026-03-02", ""),
        page: page(1, None),
    };
    let march = kit.query(ask).unwrap();
    assert_eq!(
        march.items,
        [RevenueView {
            period: "2026-03".to_owned(),
            orders: 2,
            captured: eur(40),
            refunded: eur(0),
            net: eur(40),
        }]
    );
    assert!(march.next_cursor.is_some());
}

#[test]
fn the_best_selling_products_come_first_by_units_or_by_revenue() {
    let mut kit = kit();
    kit.event(purchased(1, 5, eur(10), NOON));
    kit.event(purchased(2, 1, eur(900), NOON));
    kit.event(purchased(3, 7, eur(1), NOON));
    kit.event(purchased(1, 4, eur(10), NOON));
    let mut first = |by, limit, cursor| {
        let page = page(limit, cursor);
        let range = Range::ALL;
        kit.query(TopSelling { range, by, page }).unwrap()
    };
    let places = |listing: &crate::page::Listing<super::super::SalesView>| {
        let products = listing.items.iter();
        products
            .map(|item| (item.product_id, item.units))
            .collect::<Vec<_>>()
    };
    let top = first(SalesOrder::Units, 2, None);
    assert_eq!(places(&top), [(product(1), 9), (product(3), 7)]);
    let rest = first(SalesOrder::Units, 2, top.next_cursor);
    assert_eq!(places(&rest), [(product(2), 1)]);
    let top = first(SalesOrder::Revenue, 1, None);
    assert_eq!(places(&top), [(product(2), 1)]);
    assert_eq!(top.items[0].revenue, eur(900));
}

#[test]
fn a_range_of_days_has_best_selling_products_of_its_own() {
    let mut kit = kit();
    kit.event(purchased(1, 9, eur(10), "2026-01-31T23:59:59Z"));
    kit.event(purchased(2, 2, eur(900), "2026-02-01T00:00:00Z"));
    kit.event(purchased(3, 3, eur(1), "2026-03-05T12:00:00Z"));
    kit.event(purchased(2, 2, eur(900), "2026-03-06T12:00:00Z"));
    kit.event(purchased(1, 1, eur(10), "2026-03-07T12:00:00Z"));
    let mut top = |from: Option<&str>, to: Option<&str>, by, cursor| {
        let range = Range {
            from: from.map(day),
            to: to.map(day),
        };
        let page = page(2, cursor);
        let listing = kit.query(TopSelling { range, by, page }).unwrap();
        let items = listing.items.iter();
        let sold = items.map(|item| (item.product_id, item.units));
        (sold.collect::<Vec<_>>(), listing.next_cursor)
    };
    let (units, revenue) = (SalesOrder::Units, SalesOrder::Revenue);
    let february = (Some("2026-02-01"), Some("2026-02-28"));
    let found = top(february.0, february.1, units, None);
    assert_eq!(found, (vec![(product(2), 2)], None));
    let (found, more) = top(Some("2026-02-01"), None, units, None);
    assert_eq!(found, [(product(2), 4), (product(3), 3)]);
    let found = top(Some("2026-02-01"), None, units, more);
    assert_eq!(found, (vec![(product(1), 1)], None));
    let (found, _) = top(None, Some("2026-03-05"), revenue, None);
    assert_eq!(found, [(product(2), 2), (product(1), 9)]);
    let found = top(Some("2026-03-06"), Some("2026-03-06"), units, None);
    assert_eq!(found, (vec![(product(2), 2)], None));
    assert!(top(Some("2026-03-08"), None, revenue, None).0.is_empty());
}

#[test]
fn somebody_unknown_has_brought_in_nothing() {
    let mut kit = kit();
    kit.event(captured(1, eur(100), NOON));
    kit.event(refunded(RefundKind::Refunded, eur(30), NOON));
    let mut value = |n| {
        let customer_id = customer(n);
        kit.query(LifetimeValue { customer_id }).unwrap()
    };
    let known = value(1);
    assert_eq!((known.orders, known.net), (1, eur(70)));
    let unknown = value(2);
    assert_eq!(unknown.customer_id, customer(2));
    assert_eq!(
        (unknown.orders, unknown.captured, unknown.net),
        (0, eur(0), eur(0))
    );
}

#[test]
fn the_funnel_counts_products_at_each_step() {
    let mut kit = kit();
    (0..4).for_each(|n| drop(kit.event(viewed(n, NOON))));
    (0..3).for_each(|n| drop(kit.event(added(n, NOON))));
    kit.event(created(2, NOON));
    kit.event(purchased(1, 2, eur(50), NOON));
    let ask = ConversionFunnel {
        range: range("2026-03-01", "2026-03-01"),
    };
    let funnel = kit.query(ask).unwrap();
    let steps = (
        funnel.viewed,
        funnel.added_to_cart,
        funnel.ordered,
        funnel.purchased,
    );
    assert_eq!(steps, (4, 3, 2, 1));
}

#[test]
fn the_dashboard_tells_today_from_all_days() {
    // The kit's day is the first of January.
    let mut kit = paid_on(&["2025-12-31", "2026-01-01"]);
    kit.event(purchased(1, 2, eur(10), NOON));
    let shown = kit.query(Dashboard {}).unwrap();
    assert_eq!(shown.date, "2026-01-01");
    assert_eq!(
        (shown.today.revenue, shown.totals.revenue),
        (eur(20), eur(30))
    );
    assert_eq!(
        (shown.funnel_today.purchased, shown.funnel.purchased),
        (0, 1)
    );
    assert_eq!(shown.top_products[0].product_id, product(1));
    kit.advance(hours(12));
    let tomorrow = kit.query(Dashboard {}).unwrap();
    assert_eq!(
        (tomorrow.date.as_str(), tomorrow.today.revenue),
        ("2026-01-02", eur(0))
    );
}

#[test]
fn stock_is_listed_page_by_page() {
    let mut kit = kit();
    (1..=3).for_each(|n| drop(kit.event(adjusted(n, n as i64, NOON))));
    let first = kit
        .query(StockLevels {
            page: page(2, None),
        })
        .unwrap();
    let second = kit
        .query(StockLevels {
            page: page(2, first.next_cursor),
        })
        .unwrap();
    assert_eq!(first.items.len(), 2);
    assert_eq!(
        (second.items[0].product_id, second.items[0].on_hand),
        (product(3), 3)
    );
}

#[test]
fn a_sum_that_no_amount_can_show_is_an_error_and_its_parts_can_still_be_asked_for() {
    let mut kit = kit();
    kit.event(captured(1, eur(i64::MAX), NOON));
    kit.event(captured(1, eur(1), "2026-03-02T12:00:00Z"));
    let all = kit.query(OrdersSummary { range: Range::ALL }).unwrap_err();
    assert_eq!(all.code, "figure_too_large");
    let one = range("2026-03-01", "2026-03-01");
    assert_eq!(revenue_of(&mut kit, one), i64::MAX);
}

#[test]
fn books_that_have_begun_keep_their_currency() {
    let mut kit = ServiceKit::of(Analytics {
        currency: "GBP".parse().unwrap(),
    });
    let begun = Books {
        next: 0,
        ..Books::empty(Currency::EUR)
    };
    kit.given(BOOKS, &(), &begun);
    kit.event(captured(1, eur(5), NOON)).reply();
    let turn = kit.event(captured(1, pounds(5), NOON));
    assert_eq!(turn.rejection().code, "foreign_currency");
    assert_eq!(revenue_of(&mut kit, Range::ALL), 5);
}
