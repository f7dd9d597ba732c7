//! A user is deleted: what has not left is cancelled, and the cart goes.
//!
//! Orders stay, as the books need them; what they hold of the person is sealed under a key that no
//! longer exists. A parcel that has left arrives.

use redeliver::prelude::*;

use super::OrderStatus;
use super::change::{self, Note};
use super::fulfilment::Fulfilment;
use super::service::Orders;
use super::tables::{CARTS, DELETED_CUSTOMERS, ORDERS_BY_CUSTOMER, Order};
use crate::identity::UserDeleted;
use crate::ids::{OrderId, UserId};

/// Why the orders of a deleted user are cancelled.
pub const CUSTOMER_DELETED: &str = "customer_deleted";
/// Orders that are looked at in one turn; further ones have turns of their own.
const ORDERS_PER_TURN_MAX: usize = 100;

/// More orders of a deleted user are to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionGoesOn {
    /// Whose.
    pub customer_id: UserId,
    /// After this one.
    pub after: OrderId,
}

timer!(DeletionGoesOn, "deletion-goes-on", customer_id);

impl Orders {
    pub(super) fn user_deleted(
        &self,
        gone: UserDeleted,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        cx.remove(CARTS, &gone.user_id)?;
        cx.put(DELETED_CUSTOMERS, &gone.user_id, &gone.at)?;
        self.cancel_orders_of(gone.user_id, None, cx)
    }

    pub(super) fn deletion_goes_on(
        &self,
        due: DeletionGoesOn,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        self.cancel_orders_of(due.customer_id, Some(due.after), cx)
    }

    fn cancel_orders_of(
        &self,
        customer_id: UserId,
        after: Option<OrderId>,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let mut span = Span::prefix(&customer_id).limit(ORDERS_PER_TURN_MAX);
        if let Some(after) = after {
            span = span.after(&(customer_id, after));
        }
        let orders = cx.rows_by(ORDERS_BY_CUSTOMER, &span)?;
        let full = orders.len() == ORDERS_PER_TURN_MAX;
        if let Some((_, after, _)) = orders.last().filter(|_| full) {
            let after = *after;
            cx.after(
                std::time::Duration::ZERO,
                DeletionGoesOn { customer_id, after },
            );
        }
        for (_, id, _) in orders
            .iter()
            .filter(|(_, _, order)| can_still_be_kept(order))
        {
            let note = Note::new("identity", UserDeleted::NAME).detail(CUSTOMER_DELETED);
            change::apply(id, note, cx, |_| {})?;
            // Whatever it answers is the order's own way to end: nobody waits to be told.
            Fulfilment::cancel(id, CUSTOMER_DELETED, cx)?;
        }
        Ok(())
    }
}

/// Refuses what a deleted user had asked for a moment before.
pub(super) fn still_there(id: &UserId, cx: &Context<Orders>) -> Result<(), Rejection> {
    match cx.get(DELETED_CUSTOMERS, id)? {
        None => Ok(()),
        Some(_) => Err(Rejection::conflict(
            CUSTOMER_DELETED,
            format!("user {id} is deleted; register to order"),
        )),
    }
}

/// Whether an order can be kept from leaving.
fn can_still_be_kept(order: &Order) -> bool {
    match order.status() {
        OrderStatus::Pending
        | OrderStatus::Reserved
        | OrderStatus::Paid
        | OrderStatus::Confirmed
        | OrderStatus::PaymentFailed => !order.dispatched,
        // Undone already, on its way, or a person decides.
        OrderStatus::Cancelling
        | OrderStatus::Cancelled
        | OrderStatus::Shipped
        | OrderStatus::Delivered
        | OrderStatus::Returned
        | OrderStatus::ManualReview => false,
    }
}
