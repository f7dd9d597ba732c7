//! Carts: filled, shown, checked out.

use super::*;
use crate::catalog::{ProductPriceChanged, ProductUnpublished};

fn put(product_id: ProductId, quantity: i64) -> PutIntoCart {
    PutIntoCart {
        customer_id: SHOPPER,
        if_version: None,
        product_id,
        quantity,
    }
}

fn take(product_id: ProductId) -> TakeFromCart {
    TakeFromCart {
        customer_id: SHOPPER,
        if_version: None,
        product_id,
    }
}

fn check_out() -> CheckOut {
    CheckOut {
        customer_id: SHOPPER,
        if_version: None,
        shipping_address: sealed_address(),
        payment_method: card("tok_ok"),
        expected_total: None,
    }
}

fn cart(kit: &mut ServiceKit<Orders>) -> CartView {
    let customer_id = SHOPPER;
    kit.query(CartOf { customer_id }).unwrap()
}

/// The catalog has a product at this price, and shows it or not.
fn list(kit: &mut ServiceKit<Orders>, product_id: ProductId, price: i64, published: bool) {
    let (price, at) = (eur(price), NOON);
    super::list(kit, product_id, "SKU", price);
    kit.event(ProductPriceChanged {
        product_id,
        before: None,
        price,
        at,
    })
    .reply();
    if !published {
        kit.event(ProductUnpublished { product_id, at }).reply();
    }
}

#[test]
fn a_cart_nobody_has_touched_is_empty_and_has_version_0() {
    let cart = cart(&mut Shop::open());
    assert_eq!((cart.items.len(), cart.total, cart.version), (0, eur(0), 0));
}

#[test]
fn what_is_put_there_stands_in_the_place_of_what_was_and_is_told_when_it_is_more() {
    let mut kit = Shop::open();
    let turn = kit.command(put(MUG, 2));
    assert_eq!(turn.reply().total, eur(1_998));
    let told = &turn.published::<ProductAddedToCart>()[0];
    let said = (told.customer_id, told.product_id, told.quantity);
    assert_eq!(said, (SHOPPER, MUG, 2));

    let more = kit.command(put(MUG, 5));
    assert_eq!(more.published::<ProductAddedToCart>()[0].quantity, 5);
    let less = kit.command(put(MUG, 1));
    assert!(less.published::<ProductAddedToCart>().is_empty());
    let same = kit.command(put(MUG, 1));
    assert!(same.is_quiet());

    kit.command(put(PLATE, 1));
    let cart = cart(&mut kit);
    let lines = cart
        .items
        .iter()
        .map(|item| (item.product_id, item.quantity));
    assert_eq!(lines.collect::<Vec<_>>(), [(MUG, 1), (PLATE, 1)]);
    assert_eq!((cart.total, cart.version), (eur(1_449), 4));
}

#[test]
fn what_breaks_a_rule_is_not_put_there() {
    let mut kit = Shop::open();
    let hidden = ProductId(Uuid::from_u128(50));
    list(&mut kit, hidden, 100, false);
    let unknown = ProductId(Uuid::from_u128(99));
    for (code, wish) in [
        ("invalid_quantity", put(MUG, 0)),
        ("invalid_quantity", put(MUG, 1_000)),
        ("unknown_product", put(unknown, 1)),
        ("unknown_product", put(hidden, 1)),
    ] {
        let turn = kit.command(wish);
        assert_eq!(turn.rejection().code, code);
        assert!(turn.is_quiet());
    }
    for n in 1..=100 {
        let product = ProductId(Uuid::from_u128(1_000 + n));
        list(&mut kit, product, 1, true);
        kit.command(put(product, 1)).reply();
    }
    assert_eq!(kit.command(put(MUG, 1)).rejection().code, "cart_full");
    let first = ProductId(Uuid::from_u128(1_001));
    kit.command(put(first, 2)).reply();
}

#[test]
fn what_is_taken_out_is_gone_and_taking_it_twice_changes_nothing() {
    let mut kit = Shop::open();
    kit.command(put(MUG, 2));
    let turn = kit.command(take(MUG));
    let empty = turn.reply();
    assert_eq!((empty.items.len(), empty.version), (0, 2));
    let again = kit.command(take(MUG));
    assert_eq!(again.reply().version, 2);
}

#[test]
fn a_cart_is_changed_only_in_the_version_that_was_seen() {
    let mut kit = Shop::open();
    kit.command(put(MUG, 2));
    let mut late = put(MUG, 3);
    late.if_version = Some(vec![0]);
    assert_eq!(kit.command(late).rejection().code, "version_changed");
    let mut late = check_out();
    late.if_version = Some(vec![7]);
    assert_eq!(kit.command(late).rejection().code, "version_changed");
    let mut right = take(MUG);
    right.if_version = Some(vec![1]);
    kit.command(right).reply();
}

#[test]
fn checking_out_orders_at_the_prices_of_now_and_empties_the_cart_in_one_turn() {
    let mut kit = Shop::open();
    kit.command(put(MUG, 2));
    kit.command(put(PLATE, 1));
    list(&mut kit, MUG, 1_099, true);
    let turn = kit.command(check_out());
    let order = turn.reply();
    assert_eq!(order.status, OrderStatus::Pending);
    assert_eq!(order.total, eur(2 * 1_099 + 450));
    assert_eq!(turn.published::<OrderCreated>()[0].total, order.total);
    assert_eq!(turn.published::<InventoryReservationRequested>().len(), 1);
    let left = cart(&mut kit);
    assert_eq!((left.items.len(), left.version), (0, 3));
    let entry = kit.query(TimelineOfOrder {
        order_id: order.id,
        customer_id: Some(SHOPPER),
        page: Page::default(),
    });
    assert_eq!(entry.unwrap().items[0].message, "check-out");
}

#[test]
fn a_cart_that_cannot_be_ordered_stays_as_it_is() {
    let mut kit = Shop::open();
    assert_eq!(kit.command(check_out()).rejection().code, "cart_empty");
    kit.command(put(MUG, 2));
    kit.command(put(PLATE, 1));
    let mut cheaper = check_out();
    cheaper.expected_total = Some(eur(1));
    assert_eq!(kit.command(cheaper).rejection().code, "total_changed");

    list(&mut kit, PLATE, 450, false);
    let shown = cart(&mut kit);
    assert_eq!(shown.total, eur(1_998), "without what cannot be ordered");
    assert!(shown.items[0].orderable && !shown.items[1].orderable);
    let turn = kit.command(check_out());
    assert_eq!(turn.rejection().code, "unknown_product");
    assert!(turn.is_quiet());
    assert_eq!(cart(&mut kit), shown);
    kit.command(take(PLATE));
    kit.command(check_out()).reply();
}

#[test]
fn everybody_has_a_cart_of_their_own() {
    let mut kit = Shop::open();
    kit.command(put(MUG, 2));
    let customer_id = UserId(Uuid::from_u128(66));
    assert!(kit.query(CartOf { customer_id }).unwrap().items.is_empty());
}
