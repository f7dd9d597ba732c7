//! Commands and queries of people.

use super::*;

/// The rule that is broken, and how.
type Spoilt = (&'static str, fn(&mut PlaceOrder));

#[test]
fn a_placed_order_is_pending_at_the_prices_of_now() {
    let mut kit = Shop::open();
    let turn = kit.command(wish());
    let order = turn.reply();
    assert_eq!(order.status, OrderStatus::Pending);
    assert_eq!(order.total, eur(2_448));
    assert_eq!(order.version, 1);
    assert_eq!(order.items[0].sku, "MUG");
    assert_eq!(order.items[0].unit_price, eur(999));
    assert_eq!(
        turn.published_names(),
        ["order-created", "inventory-reservation-requested"]
    );
    let created = turn.published::<OrderCreated>().remove(0);
    assert_eq!((created.order_id, created.total), (order.id, order.total));
    assert!(turn.notifies(&order.id));
}

#[test]
fn a_wish_that_breaks_a_rule_is_refused_and_changes_nothing() {
    let mut kit = Shop::open();
    let cases: [Spoilt; 5] = [
        ("invalid_items", |wish| wish.items.clear()),
        ("duplicate_product", |wish| wish.items[1].product_id = MUG),
        ("invalid_quantity", |wish| wish.items[0].quantity = 0),
        ("unknown_product", |wish| {
            wish.items[0].product_id = ProductId(Uuid::from_u128(99));
        }),
        ("total_changed", |wish| wish.expected_total = Some(eur(1))),
    ];
    for (code, spoil) in cases {
        let mut wish = wish();
        spoil(&mut wish);
        let turn = kit.command(wish);
        assert_eq!(turn.rejection().code, code);
        assert!(turn.is_quiet());
    }
    assert!(kit.rows(crate::order::tables::ORDERS).is_empty());
    let mut right = wish();
    right.expected_total = Some(eur(2_448));
    kit.command(right).reply();
}

#[test]
fn others_cannot_see_or_touch_an_order() {
    let mut shop = Shop::payment_failed();
    let stranger = Some(UserId(Uuid::from_u128(66)));
    let order_id = shop.id;
    let by_id = shop.kit.query(OrderById {
        order_id,
        customer_id: stranger,
    });
    assert_eq!(by_id.unwrap_err().code, "no_such_order");
    let timeline = shop.kit.query(TimelineOfOrder {
        order_id,
        customer_id: stranger,
        page: Page::default(),
    });
    assert_eq!(timeline.unwrap_err().code, "no_such_order");
    let cancel = shop.kit.command(CancelOrder {
        if_version: None,
        order_id,
        customer_id: stranger,
        reason: "not mine".to_owned(),
    });
    assert_eq!(cancel.rejection().code, "no_such_order");
    let retry = shop.kit.command(RetryPayment {
        if_version: None,
        order_id,
        customer_id: stranger,
        payment_method: card("tok_ok"),
    });
    assert_eq!(retry.rejection().code, "no_such_order");
    assert_eq!(shop.status(), "payment_failed");
}

#[test]
fn only_a_failed_payment_can_be_tried_again() {
    for stage in [
        Shop::placed as fn() -> Shop,
        Shop::reserved,
        Shop::confirmed,
    ] {
        let mut shop = stage();
        let refused = shop.retry("tok_ok");
        assert_eq!(refused.rejection().code, "payment_not_failed");
    }
}

#[test]
fn a_reason_must_say_something() {
    let mut shop = Shop::placed();
    for reason in [" ".to_owned(), "x".repeat(501)] {
        let refused = shop.kit.command(CancelOrder {
            if_version: None,
            order_id: shop.id,
            customer_id: None,
            reason,
        });
        assert_eq!(refused.rejection().code, "invalid_text");
    }
}

#[test]
fn lists_show_the_newest_first_page_by_page_of_one_customer_or_status() {
    let mut kit = Shop::open();
    let other = UserId(Uuid::from_u128(9));
    let mut ids = Vec::new();
    for n in 0..6 {
        kit.advance(seconds(1));
        let customer_id = if n % 2 == 0 { SHOPPER } else { other };
        let wish = PlaceOrder {
            customer_id,
            ..wish()
        };
        ids.push(kit.command(wish).reply().id);
    }
    let mut cancelled = Shop { kit, id: ids[0] };
    cancelled.event(cancelled.stock_short());
    cancelled.kit.deliver_own();
    let mut kit = cancelled.kit;
    let mut pages = |customer_id, status| {
        let mut shown = Vec::new();
        let mut cursor = None;
        loop {
            let page = Page {
                limit: Some(2),
                cursor,
            };
            let ask = OrdersList {
                customer_id,
                status,
                page,
            };
            let listing = kit.query(ask).unwrap();
            shown.extend(listing.items.iter().map(|order| order.id));
            cursor = listing.next_cursor;
            if cursor.is_none() {
                return shown;
            }
        }
    };
    let newest = |places: &[usize]| places.iter().map(|n| ids[*n]).collect::<Vec<_>>();
    assert_eq!(pages(None, None), newest(&[5, 4, 3, 2, 1, 0]));
    assert_eq!(pages(Some(SHOPPER), None), newest(&[4, 2, 0]));
    let (pending, gone) = (OrderStatus::Pending, OrderStatus::Cancelled);
    assert_eq!(pages(None, Some(pending)), newest(&[5, 4, 3, 2, 1]));
    assert_eq!(pages(Some(SHOPPER), Some(pending)), newest(&[4, 2]));
    assert_eq!(pages(Some(SHOPPER), Some(gone)), newest(&[0]));
    assert!(pages(Some(other), Some(gone)).is_empty());
}

#[test]
fn an_order_shows_as_the_outside_expects_it() {
    let mut shop = Shop::confirmed();
    let json = serde_json::to_value(shop.view()).unwrap();
    assert_eq!(json["status"], "confirmed");
    assert_eq!(
        json["total"],
        serde_json::json!({ "amount": 2_448, "currency": "EUR" })
    );
    assert_eq!(json["items"][0]["quantity"], 2);
    assert_eq!(json["items"][0]["unit_price"]["amount"], 999);
    for field in [
        "id",
        "customer_id",
        "payment_id",
        "shipment_id",
        "cancel_reason",
        "version",
        "created_at",
        "updated_at",
    ] {
        assert!(json.get(field).is_some(), "{field}");
    }
    let shown = format!("{:?}", wish());
    assert!(
        !shown.contains("tok_ok") && !shown.contains("Street"),
        "{shown}"
    );
}
