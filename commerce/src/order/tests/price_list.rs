//! The price list follows the catalog, and placed orders do not.

use super::*;
use crate::catalog::{ProductPriceChanged, ProductUnpublished, ProductUpdated};
use crate::order::tables::{PRICES, Price};

fn created(price: Option<Money>) -> ProductCreated {
    ProductCreated {
        product_id: MUG,
        sku: "MUG".to_owned(),
        name: "mug".to_owned(),
        price,
        category_id: None,
        at: NOON,
    }
}

fn costs(amount: i64) -> ProductPriceChanged {
    ProductPriceChanged {
        product_id: MUG,
        before: None,
        price: eur(amount),
        at: NOON,
    }
}

fn published() -> ProductPublished {
    ProductPublished {
        product_id: MUG,
        at: NOON,
    }
}

fn unpublished() -> ProductUnpublished {
    ProductUnpublished {
        product_id: MUG,
        at: NOON,
    }
}

fn renamed(name: &str) -> ProductUpdated {
    ProductUpdated {
        product_id: MUG,
        name: name.to_owned(),
        category_id: None,
        at: NOON,
    }
}

fn mug() -> PlaceOrder {
    let mut wish = wish();
    wish.items.truncate(1);
    wish
}

fn entry(kit: &mut ServiceKit<Orders>) -> Price {
    kit.get(PRICES, &MUG).unwrap()
}

#[test]
fn a_new_product_is_on_the_list_and_cannot_be_ordered_before_it_is_published() {
    let mut kit = ServiceKit::of(Orders::default());
    let turn = kit.event(created(Some(eur(999))));
    assert!(turn.notifies(&MUG));
    assert!(!entry(&mut kit).published);
    let refused = kit.command(mug());
    assert_eq!(refused.rejection().code, "unknown_product");
    assert!(kit.event(published()).notifies(&MUG));
    assert_eq!(kit.command(mug()).reply().total, eur(1_998));
}

#[test]
fn a_product_made_without_a_price_gets_one_before_it_can_be_ordered() {
    let mut kit = ServiceKit::of(Orders::default());
    kit.event(created(None));
    // The catalog never says this; were it said, nobody would order for nothing.
    kit.event(published());
    assert!(!entry(&mut kit).published);
    kit.event(costs(250));
    kit.event(published());
    assert_eq!(kit.command(mug()).reply().total, eur(500));
}

#[test]
fn what_is_hidden_cannot_be_ordered_until_it_is_shown_again() {
    let mut kit = Shop::open();
    kit.event(unpublished());
    assert_eq!(kit.command(mug()).rejection().code, "unknown_product");
    kit.event(published());
    kit.command(mug()).reply();
}

#[test]
fn new_orders_have_the_new_name_and_price_and_placed_ones_keep_theirs() {
    let mut shop = Shop::placed();
    shop.event(costs(9_999));
    shop.event(renamed("dear mug"));
    assert_eq!(shop.view().total, eur(2_448));
    assert_eq!(shop.view().items[0].name, "mug");
    let turn = shop.event(shop.stock_held());
    assert_eq!(turn.published::<PaymentRequested>()[0].amount, eur(2_448));
    let dear = shop.kit.command(mug()).reply().clone();
    assert_eq!(dear.total, eur(19_998));
    assert_eq!(dear.items[0].name, "dear mug");
    shop.event(unpublished());
    assert_eq!(shop.view().total, eur(2_448));
    let refused = shop.kit.command(wish());
    assert_eq!(refused.rejection().code, "unknown_product");
}

#[test]
fn the_list_can_be_asked_and_what_it_does_not_know_changes_nothing() {
    let mut kit = ServiceKit::of(Orders::default());
    for turn in [
        kit.event(costs(1)),
        kit.event(renamed("x")),
        kit.event(published()),
        kit.event(unpublished()),
    ] {
        turn.reply();
        assert!(turn.is_quiet());
    }
    let ask = PriceOfProduct { product_id: MUG };
    let missing = kit.query(ask.clone()).unwrap_err();
    assert_eq!(missing.code, "no_such_product");
    kit.event(created(Some(eur(999))));
    assert_eq!(kit.query(ask).unwrap().price, eur(999));
}
