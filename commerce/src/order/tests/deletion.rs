//! A user is deleted at any step of an order.

use super::*;
use crate::identity::UserDeleted;
use crate::order::deletion::DeletionGoesOn;
use crate::order::tables::CARTS;

fn gone() -> UserDeleted {
    UserDeleted {
        user_id: SHOPPER,
        at: NOON,
    }
}

#[test]
fn what_has_not_left_is_cancelled_because_its_customer_is_gone() {
    for stage in [
        Shop::placed,
        Shop::reserved,
        Shop::payment_failed,
        Shop::paid,
        Shop::confirmed,
    ] {
        let mut shop = stage();
        shop.event(gone());
        let order = shop.view();
        assert_eq!(order.status, OrderStatus::Cancelling);
        assert_eq!(order.cancel_reason.as_deref(), Some("customer_deleted"));
        let said = shop.timeline().pop().unwrap();
        assert_eq!(said.detail.as_deref(), Some("customer_deleted"));
        assert_eq!(
            (said.service, said.message),
            ("identity".into(), "user-deleted".into())
        );
    }
}

#[test]
fn what_has_left_goes_on() {
    for stage in [Shop::shipped, Shop::delivered] {
        let mut shop = stage();
        let before = shop.view();
        let turn = shop.event(gone());
        assert!(turn.is_quiet());
        assert_eq!(shop.view(), before);
    }
}

#[test]
fn an_order_that_is_undone_already_is_left_alone() {
    let mut shop = Shop::placed();
    shop.cancel().reply();
    shop.event(gone());
    assert_eq!(
        shop.view().cancel_reason.as_deref(),
        Some("changed my mind")
    );
}

#[test]
fn the_cart_goes_and_the_list_of_orders_stays() {
    let mut shop = Shop::delivered();
    let put = PutIntoCart {
        customer_id: SHOPPER,
        if_version: None,
        product_id: MUG,
        quantity: 1,
    };
    shop.kit.command(put).reply();
    shop.event(gone());
    assert_eq!(shop.kit.get(CARTS, &SHOPPER), None);
    let listed = shop.kit.query(OrdersList {
        customer_id: Some(SHOPPER),
        status: None,
        page: Page::default(),
    });
    assert_eq!(listed.unwrap().items.len(), 1);
}

#[test]
fn others_orders_are_left_alone() {
    let mut shop = Shop::placed();
    let stranger = UserId(Uuid::from_u128(66));
    shop.event(UserDeleted {
        user_id: stranger,
        at: NOON,
    });
    assert_eq!(shop.status(), "pending");
}

#[test]
fn many_orders_are_cancelled_in_several_turns() {
    let mut kit = Shop::open();
    let placed: Vec<OrderId> = (0..250).map(|_| kit.command(wish()).reply().id).collect();
    kit.event(gone()).reply();
    let mut turns = 1;
    while !kit.waiting_timers::<DeletionGoesOn>().is_empty() {
        turns += kit.fire_due_timers().len();
    }
    assert_eq!(turns, 3);
    for order_id in placed {
        let ask = OrderById {
            order_id,
            customer_id: None,
        };
        let order = kit.query(ask).unwrap();
        assert_eq!(order.status, OrderStatus::Cancelling);
    }
}

#[test]
fn what_a_deleted_user_had_asked_for_a_moment_before_is_refused() {
    let mut kit = Shop::open();
    kit.event(gone()).reply();
    let placed = kit.command(wish());
    assert_eq!(placed.rejection().code, "customer_deleted");
    let put = kit.command(PutIntoCart {
        customer_id: SHOPPER,
        if_version: None,
        product_id: MUG,
        quantity: 1,
    });
    assert_eq!(put.rejection().code, "customer_deleted");
    assert!(kit.rows(CARTS).is_empty());
}
