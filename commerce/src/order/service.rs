//! The order service: what it is told and asked by people.

use redeliver::prelude::*;

use super::change::{self, Note};
use super::deletion::still_there;
use super::fulfilment::{Course, Deadlines, Fulfilment, PAYMENT_ATTEMPTS_MAX};
use super::pricing;
use super::tables::{
    CARTS, DELETED_CUSTOMERS, ORDER_FACTS, ORDERS, ORDERS_BY_CUSTOMER,
    ORDERS_BY_CUSTOMER_AND_STATUS, ORDERS_BY_STATUS, Order, OrderFacts, PRICES, ReviewOf, TIMELINE,
    TakeBackFor,
};
use super::{
    CancelOrder, OrderById, OrderCancelled, OrderConfirmed, OrderCreated, OrderDelivered,
    OrderShipped, OrderStatus, OrderView, OrdersList, PlaceOrder, ProductAddedToCart,
    ProductPurchased, ResolveOrder, RetryPayment, TimelineEntry, TimelineOfOrder,
};
use crate::ids::{OrderId, UserId};
use crate::money::Currency;
use crate::page::Listing;
use crate::payment::{CapturePayment, Payment};
use crate::version::unchanged;

/// Orders, their way through the services, and the prices they are accepted at.
#[derive(Debug, Clone)]
pub struct Orders {
    /// The one currency of the shop.
    pub currency: Currency,
    /// How long an order waits for its answers.
    pub deadlines: Deadlines,
}

impl Default for Orders {
    fn default() -> Orders {
        Orders {
            currency: Currency::EUR,
            deadlines: Deadlines::default(),
        }
    }
}

impl Service for Orders {
    const NAME: &'static str = "order";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(ORDERS)
            .index(ORDERS_BY_CUSTOMER)
            .index(ORDERS_BY_STATUS)
            .index(ORDERS_BY_CUSTOMER_AND_STATUS)
            .table(ORDER_FACTS)
            .table(TIMELINE)
            .table(CARTS)
            .table(DELETED_CUSTOMERS)
            .table(PRICES);
        on.saga::<Fulfilment>();
        on.command(Self::place)
            .command(Self::cancel)
            .command(Self::retry_payment)
            .command(Self::resolve)
            .command(Self::put_into_cart)
            .command(Self::take_from_cart)
            .command(Self::check_out);
        on.query(Self::by_id)
            .query(Self::list)
            .query(Self::timeline)
            .query(Self::cart_of)
            .query(Self::price_of);
        on.event(Self::reserved)
            .event(Self::not_reserved)
            .event(Self::expired)
            .event(Self::released)
            .event(Self::authorised)
            .event(Self::declined)
            .event(Self::charged)
            .event(Self::not_charged)
            .event(Self::refunded)
            .event(Self::not_refunded)
            .event(Self::confirmed)
            .event(Self::cancelled)
            .event(Self::packed)
            .event(Self::dispatched)
            .event(Self::delivered)
            .event(Self::not_delivered)
            .event(Self::came_back)
            .event(Self::kept_back)
            .event(Self::not_kept_back)
            .event(Self::user_deleted);
        on.event(Self::product_created)
            .event(Self::product_updated)
            .event(Self::product_price_changed)
            .event(Self::product_published)
            .event(Self::product_unpublished);
        on.timer(Self::refund_due).timer(Self::deletion_goes_on);
        on.sends::<Payment, CapturePayment>()
            .reply::<CapturePayment>(Self::capture_asked);
        on.publishes_outside::<OrderCreated>()
            .publishes_outside::<OrderConfirmed>()
            .publishes_outside::<OrderCancelled>()
            .publishes_outside::<OrderShipped>()
            .publishes_outside::<OrderDelivered>()
            .publishes_outside::<ProductPurchased>()
            .publishes_outside::<ProductAddedToCart>();
    }
}

// Commands.

impl Orders {
    fn place(&self, new: PlaceOrder, cx: &mut Context<Self>) -> Result<OrderView, Rejection> {
        self.accept(new, PlaceOrder::NAME, cx)
    }

    /// Accepts an order, or says which rule it breaks. `asked_by` is the command that brought it.
    pub(super) fn accept(
        &self,
        new: PlaceOrder,
        asked_by: &'static str,
        cx: &mut Context<Self>,
    ) -> Result<OrderView, Rejection> {
        still_there(&new.customer_id, cx)?;
        let price_of = |product| Ok(cx.get(PRICES, &product)?);
        let (lines, total) = pricing::priced(&new.items, self.currency, price_of)?;
        pricing::agreed(total, new.expected_total)?;

        let id = OrderId(cx.new_id());
        let at = cx.now();
        let customer_id = new.customer_id;
        let facts = OrderFacts {
            lines: lines.clone(),
            total,
            ship_to: new.shipping_address.clone(),
        };
        cx.put(ORDER_FACTS, &id, &facts)?;
        let note = Note::of_order(asked_by);
        change::begin(&id, Order::new(customer_id, at), note, cx)?;
        cx.publish(OrderCreated {
            order_id: id,
            customer_id,
            lines: lines.clone(),
            total,
            at,
        });
        let course = Course {
            customer_id,
            lines,
            total,
            ship_to: new.shipping_address,
            method: new.payment_method,
            deadlines: self.deadlines,
            payment_id: None,
            parcel: None,
            returned: false,
        };
        Fulfilment::start(&id, course, cx)?;
        show(&id, cx)
    }

    fn cancel(&self, ask: CancelOrder, cx: &mut Context<Self>) -> Result<OrderView, Rejection> {
        let id = ask.order_id;
        let order = find(&id, ask.customer_id, cx)?;
        unchanged(
            &format!("order {id}"),
            order.version,
            ask.if_version.as_deref(),
        )?;
        let reason = pricing::text("reason", &ask.reason)?;
        match order.status() {
            // Asking again changes nothing.
            OrderStatus::Cancelling => return show(&id, cx),
            over @ (OrderStatus::Cancelled | OrderStatus::Returned) => {
                return Err(already_over(&id, over));
            }
            OrderStatus::ManualReview => return Err(in_review(&id)),
            OrderStatus::Shipped | OrderStatus::Delivered => return Err(has_left(&id)),
            OrderStatus::Pending
            | OrderStatus::Reserved
            | OrderStatus::Paid
            | OrderStatus::Confirmed
            | OrderStatus::PaymentFailed => {}
        }
        // Known here before its status shows it.
        if order.dispatched {
            return Err(has_left(&id));
        }
        let note = Note::of_order(CancelOrder::NAME).detail(reason);
        change::apply(&id, note, cx, |_| {})?;
        match Fulfilment::cancel(&id, reason, cx)? {
            CancelAnswer::Cancelling
            | CancelAnswer::AlreadyCancelling
            | CancelAnswer::AlreadyUndone => show(&id, cx),
            CancelAnswer::Refused { .. } | CancelAnswer::Completed | CancelAnswer::NotFound => {
                Err(has_left(&id))
            }
            CancelAnswer::InReview => Err(in_review(&id)),
        }
    }

    fn retry_payment(
        &self,
        ask: RetryPayment,
        cx: &mut Context<Self>,
    ) -> Result<OrderView, Rejection> {
        let id = ask.order_id;
        let order = find(&id, ask.customer_id, cx)?;
        unchanged(
            &format!("order {id}"),
            order.version,
            ask.if_version.as_deref(),
        )?;
        let status = order.status();
        let not_failed = || {
            Rejection::conflict(
                "payment_not_failed",
                format!("order {id} is {status}; only a failed payment can be tried again"),
            )
        };
        if status != OrderStatus::PaymentFailed {
            return Err(not_failed());
        }
        change::apply(&id, Note::of_order(RetryPayment::NAME), cx, |_| {})?;
        Fulfilment::amend(&id, |order| order.method = ask.payment_method, cx)?;
        match Fulfilment::retry(&id, cx)? {
            RetryAnswer::Started { attempt } => {
                let note = Note::of_order(RetryPayment::NAME).detail(format!("attempt {attempt}"));
                change::apply(&id, note, cx, |order| {
                    order.payment_attempts = attempt;
                    order.payment_failure = None;
                })?;
                show(&id, cx)
            }
            RetryAnswer::Exhausted => Err(Rejection::conflict(
                "payment_attempts_exhausted",
                format!(
                    "order {id} was tried {PAYMENT_ATTEMPTS_MAX} times; cancel it and order again"
                ),
            )),
            RetryAnswer::NotHeld | RetryAnswer::NotFound => Err(not_failed()),
        }
    }

    /// Ends a review. Each has its own meaning of the three actions:
    ///
    /// | review of | retry | cancel | accept |
    /// |---|---|---|---|
    /// | an undo | undoes again | undoes again | counts as undone |
    /// | a refund | asks again | asks again | counts as paid back |
    /// | a capture | captures again; in review until it worked | gives the money up, then `cancelled` | counts as paid |
    fn resolve(&self, ask: ResolveOrder, cx: &mut Context<Self>) -> Result<OrderView, Rejection> {
        let id = ask.order_id;
        let order = find(&id, None, cx)?;
        unchanged(
            &format!("order {id}"),
            order.version,
            ask.if_version.as_deref(),
        )?;
        let reason = pricing::text("reason", &ask.reason)?;
        let not_in_review = || {
            let status = order.status();
            Rejection::conflict(
                "not_in_review",
                format!("order {id} is {status}; there is nothing to resolve"),
            )
        };
        let Some((of, _)) = order.reviews.first() else {
            return Err(not_in_review());
        };
        let action = match ask.action {
            Resolve::Retry => "retry",
            Resolve::Cancel => "cancel",
            Resolve::Accept => "accept",
        };
        let note = Note::of_order(ResolveOrder::NAME).detail(format!("{action}: {reason}"));
        match (of, ask.action) {
            (ReviewOf::Undo, action) => {
                change::apply(&id, note, cx, |_| {})?;
                match Fulfilment::resolve(&id, action, cx)? {
                    ResolveAnswer::Resolved(_) => {}
                    ResolveAnswer::NotInReview | ResolveAnswer::NotFound => {
                        return Err(not_in_review());
                    }
                }
            }
            (ReviewOf::Refund, Resolve::Retry | Resolve::Cancel) => {
                self.restart_take_back(&id, note, cx)?;
            }
            (ReviewOf::Refund, Resolve::Accept) => self.settle_take_back(&id, None, note, cx)?,
            (ReviewOf::Capture, Resolve::Retry) => {
                change::apply(&id, note, cx, |_| {})?;
                cx.send::<Payment, _>(CapturePayment { order_id: id });
            }
            (ReviewOf::Capture, Resolve::Cancel) => {
                change::apply(&id, note.clone(), cx, |order| {
                    order.reviews.capture = None;
                    order.progress = OrderStatus::Cancelling;
                    order.cancel_reason = Some(reason.to_owned());
                })?;
                self.begin_take_back(&id, TakeBackFor::WriteOff, note, cx)?;
            }
            (ReviewOf::Capture, Resolve::Accept) => {
                change::apply(&id, note, cx, |order| order.reviews.capture = None)?;
            }
        }
        show(&id, cx)
    }
}

// Queries.

impl Orders {
    fn by_id(&self, ask: OrderById, view: &View<Self>) -> Result<OrderView, Rejection> {
        find(&ask.order_id, ask.customer_id, view)?;
        show(&ask.order_id, view)
    }

    fn list(&self, ask: OrdersList, view: &View<Self>) -> Result<Listing<OrderView>, Rejection> {
        let page = &ask.page;
        // Ids sort by time: the newest come first.
        match (ask.customer_id, ask.status) {
            (None, None) => {
                let span = page.of::<OrderId>(Span::all().descending())?;
                let rows = view.scan(ORDERS, &span)?;
                let rows = rows.into_iter().map(|(id, order)| ((), id, order));
                listing(page, rows.collect(), |((), id)| id, view)
            }
            (Some(customer), None) => {
                let span = Span::prefix(&customer).descending();
                let span = page.of::<(UserId, OrderId)>(span)?;
                let rows = view.rows_by(ORDERS_BY_CUSTOMER, &span)?;
                listing(page, rows, |key| key, view)
            }
            (None, Some(status)) => {
                let span = Span::prefix(&status).descending();
                let span = page.of::<(OrderStatus, OrderId)>(span)?;
                let rows = view.rows_by(ORDERS_BY_STATUS, &span)?;
                listing(page, rows, |key| key, view)
            }
            (Some(customer), Some(status)) => {
                let span = Span::prefix(&(customer, status)).descending();
                let span = page.of::<((UserId, OrderStatus), OrderId)>(span)?;
                let rows = view.rows_by(ORDERS_BY_CUSTOMER_AND_STATUS, &span)?;
                listing(page, rows, |key| key, view)
            }
        }
    }

    fn timeline(
        &self,
        ask: TimelineOfOrder,
        view: &View<Self>,
    ) -> Result<Listing<TimelineEntry>, Rejection> {
        find(&ask.order_id, ask.customer_id, view)?;
        let span = Span::prefix(&ask.order_id);
        let rows = view.scan(TIMELINE, &ask.page.of::<(OrderId, u32)>(span)?)?;
        ask.page
            .listing(rows, |(key, _)| *key, |(_, entry)| entry.shown)
    }
}

/// One page of orders; `key` makes the cursor's key of a row's.
fn listing<I, K: TableKey>(
    page: &crate::page::Page,
    rows: Vec<(I, OrderId, Order)>,
    key: fn((I, OrderId)) -> K,
    view: &View<Orders>,
) -> Result<Listing<OrderView>, Rejection>
where
    I: Copy,
{
    let mut shown = Vec::with_capacity(rows.len());
    for (entry, id, order) in rows {
        shown.push((entry, order.view(id, facts(&id, view)?)));
    }
    page.listing(
        shown,
        |(entry, order)| key((*entry, order.id)),
        |(_, order)| order,
    )
}

/// The order, if this customer may know of it.
fn find(id: &OrderId, customer: Option<UserId>, view: &View<Orders>) -> Result<Order, Rejection> {
    let order = view.get(ORDERS, id)?;
    order
        .filter(|order| customer.is_none_or(|customer| customer == order.customer_id))
        .ok_or_else(|| no_such_order(id))
}

fn facts(id: &OrderId, view: &View<Orders>) -> Result<OrderFacts, Rejection> {
    view.get(ORDER_FACTS, id)?.ok_or_else(|| no_such_order(id))
}

fn show(id: &OrderId, view: &View<Orders>) -> Result<OrderView, Rejection> {
    let order = find(id, None, view)?;
    Ok(order.view(*id, facts(id, view)?))
}

fn no_such_order(id: &OrderId) -> Rejection {
    Rejection::not_found(
        "no_such_order",
        format!("there is no order {id}; check the id"),
    )
}

fn already_over(id: &OrderId, status: OrderStatus) -> Rejection {
    Rejection::conflict(
        "already_cancelled",
        format!("order {id} is {status} already; there is nothing left to cancel"),
    )
}

/// Why an order whose parcel has left is not cancelled.
pub fn has_left(id: &OrderId) -> Rejection {
    Rejection::conflict(
        "already_shipped",
        format!("order {id} has left already; send it back when it has arrived"),
    )
}

fn in_review(id: &OrderId) -> Rejection {
    Rejection::conflict(
        "in_review",
        format!("a person is looking at order {id}; it can only be resolved"),
    )
}
