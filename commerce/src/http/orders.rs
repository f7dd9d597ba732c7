//! Orders: placing, looking, cancelling, paying again, and ending a review.

use std::time::Duration;

use redeliver::http::Problem;
use redeliver::{Answered, Resolve};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use warp::http::StatusCode;
use warp::http::header::HeaderName;
use warp::reply::Response;

use super::ask::{Ask, MoneyAsked};
use super::personal::AddressAsked;
use super::table::{Access, Answer, Table};
use super::{API, answer, preference};
use crate::identity::Role;
use crate::ids::{OrderId, UserId};
use crate::order::requests::{
    CancelOrder, OrderById, OrderItem, OrderView, OrdersList, PlaceOrder, ResolveOrder,
    RetryPayment, TimelineEntry, TimelineOfOrder,
};
use crate::order::service::has_left;
use crate::order::{Address, OrderStatus};
use crate::page::Listing;
use crate::payment::PaymentMethod;

/// An order with its address; without it once its customer is deleted.
pub(super) type OrderShown = OrderView<Address>;

pub(super) fn routes(on: &mut Table) {
    on.get("/orders", Access::SignedIn, list)
        .about("Lists the caller's orders, newest first; everybody's for administrators.")
        .query("status", "Only orders of this status.")
        .pages()
        .answers::<Listing<OrderShown>>(StatusCode::OK);
    on.post("/orders", Access::SignedIn, place)
        .about("Orders goods. Once the answer is given, the order is durable.")
        .takes::<NewOrder>()
        .waits()
        .answers::<OrderShown>(StatusCode::OK)
        .answers::<OrderShown>(StatusCode::ACCEPTED);
    on.get("/orders/{order_id}", Access::SignedIn, one)
        .about("Shows an order.")
        .versioned()
        .answers::<OrderShown>(StatusCode::OK);
    on.get("/orders/{order_id}/timeline", Access::SignedIn, timeline)
        .about("Tells what has happened to an order, oldest first.")
        .pages()
        .answers::<Listing<TimelineEntry>>(StatusCode::OK);
    on.post("/orders/{order_id}/cancel", Access::SignedIn, cancel)
        .about("Cancels an order that has not left: what was done for it is undone.")
        .takes::<Cancellation>()
        .versioned()
        .waits()
        .answers::<OrderShown>(StatusCode::OK)
        .answers::<OrderShown>(StatusCode::ACCEPTED);
    on.post(
        "/orders/{order_id}/resolve",
        Access::Only(Role::Admin),
        resolve,
    )
    .about("Ends the review of an order as a person decides.")
    .takes::<Resolution>()
    .versioned()
    .waits()
    .answers::<OrderShown>(StatusCode::OK)
    .answers::<OrderShown>(StatusCode::ACCEPTED);
    on.post(
        "/orders/{order_id}/payment/retry",
        Access::SignedIn,
        retry_payment,
    )
    .about("Pays again for an order whose payment has failed.")
    .takes::<PaymentRetry>()
    .versioned()
    .waits()
    .answers::<OrderShown>(StatusCode::OK)
    .answers::<OrderShown>(StatusCode::ACCEPTED);
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewOrder {
    items: Vec<OrderItem>,
    shipping_address: AddressAsked,
    payment_method: PaymentMethod,
    expected_total: Option<MoneyAsked>,
}

async fn place(ask: Ask) -> Answer {
    let new: NewOrder = ask.json()?;
    let command = PlaceOrder {
        customer_id: ask.caller.user,
        items: new.items,
        shipping_address: ask.seal_address(new.shipping_address)?,
        payment_method: ask.seal_method(ask.caller.user, &new.payment_method)?,
        expected_total: new.expected_total.map(Into::into),
    };
    let placed = ask.send(ask.shop.order(), command).await?;
    outcome(&ask, placed, is_settled).await
}

async fn list(ask: Ask) -> Answer {
    let page = ask.page()?;
    let status = match ask.parameter("status") {
        None => None,
        Some(text) => Some(status_of(&text)?),
    };
    let query = OrdersList {
        customer_id: whose(&ask),
        status,
        page,
    };
    let orders = ask.query(ask.shop.order(), query).await?;
    ask.show_page(orders.map(|order| shown(&ask, order)))
}

async fn one(ask: Ask) -> Answer {
    let order_id = ask.id()?;
    let order = show(&ask, order_id).await?;
    let version = order.version;
    Ok(tagged(answer::ok(&shown(&ask, order))?, version))
}

async fn timeline(ask: Ask) -> Answer {
    let query = TimelineOfOrder {
        order_id: ask.id()?,
        customer_id: whose(&ask),
        page: ask.page()?,
    };
    ask.show_page(ask.query(ask.shop.order(), query).await?)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Cancellation {
    reason: String,
}

async fn cancel(ask: Ask) -> Answer {
    let order_id = ask.id()?;
    let Cancellation { reason } = ask.json()?;
    let command = CancelOrder {
        order_id,
        customer_id: whose(&ask),
        if_version: ask.if_version()?,
        reason,
    };
    let cancelling = ask.send(ask.shop.order(), command).await?;
    let there = |status| status != OrderStatus::Cancelling;
    let (order, status) = settle(&ask, cancelling.reply, there).await;
    if let Some(problem) = gone_meanwhile(&order) {
        return Err(waited_or_replayed(&ask, problem, cancelling.replayed));
    }
    show_order(&ask, status, order, cancelling.replayed)
}

/// Why an order was not cancelled after all, though its cancellation was accepted: it left at that
/// very moment and shipping refused. Whoever waited is told as if it had left before.
///
/// A review that the cancellation has led to is its outcome: the order is shown with the reason,
/// and a person goes on from there. It is told from the review of an order that has left by the
/// reason to cancel, which an order that goes on does not keep.
fn gone_meanwhile<A>(order: &OrderView<A>) -> Option<Problem> {
    match order.status {
        OrderStatus::Shipped | OrderStatus::Delivered => Some(has_left(&order.id).into()),
        OrderStatus::ManualReview if order.cancel_reason.is_none() => {
            Some(has_left(&order.id).into())
        }
        OrderStatus::Pending
        | OrderStatus::Reserved
        | OrderStatus::Paid
        | OrderStatus::Confirmed
        | OrderStatus::PaymentFailed
        | OrderStatus::Cancelling
        | OrderStatus::Cancelled
        | OrderStatus::Returned
        | OrderStatus::ManualReview => None,
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Resolution {
    #[schema(schema_with = resolve_schema)]
    action: Resolve,
    reason: String,
}

fn resolve_schema() -> Object {
    let text = ObjectBuilder::new().schema_type(Type::String);
    text.enum_values(Some(["retry", "cancel", "accept"]))
        .build()
}

async fn resolve(ask: Ask) -> Answer {
    let order_id = ask.id()?;
    let Resolution { action, reason } = ask.json()?;
    let command = ResolveOrder {
        order_id,
        if_version: ask.if_version()?,
        action,
        reason,
    };
    let resolved = ask.send(ask.shop.order(), command).await?;
    outcome(&ask, resolved, is_settled).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PaymentRetry {
    payment_method: PaymentMethod,
}

async fn retry_payment(ask: Ask) -> Answer {
    let order_id = ask.id()?;
    let PaymentRetry { payment_method } = ask.json()?;
    // The card is forgotten with the order's customer, whoever brought it.
    let owner = match whose(&ask) {
        Some(customer) => customer,
        None => show(&ask, order_id).await?.customer_id,
    };
    let command = RetryPayment {
        order_id,
        customer_id: whose(&ask),
        if_version: ask.if_version()?,
        payment_method: ask.seal_method(owner, &payment_method)?,
    };
    let retried = ask.send(ask.shop.order(), command).await?;
    outcome(&ask, retried, is_settled).await
}

/// Whose orders the caller may see; everybody's for administrators.
fn whose(ask: &Ask) -> Option<UserId> {
    (!ask.caller.has(Role::Admin)).then_some(ask.caller.user)
}

async fn show(ask: &Ask, order_id: OrderId) -> Result<OrderView, Problem> {
    let query = OrderById {
        order_id,
        customer_id: whose(ask),
    };
    ask.query(ask.shop.order(), query).await
}

fn status_of(text: &str) -> Result<OrderStatus, Problem> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).map_err(|error| {
        Problem::unprocessable(format!("there is no such status of an order: {error}"))
    })
}

/// Whether an order has come as far as it does by itself, or needs its customer or a person.
pub(super) fn is_settled(status: OrderStatus) -> bool {
    match status {
        OrderStatus::Pending
        | OrderStatus::Reserved
        | OrderStatus::Paid
        | OrderStatus::Cancelling => false,
        OrderStatus::Confirmed
        | OrderStatus::Shipped
        | OrderStatus::Delivered
        | OrderStatus::PaymentFailed
        | OrderStatus::Cancelled
        | OrderStatus::Returned
        | OrderStatus::ManualReview => true,
    }
}

/// Answers with an order whose command is durable: at once with 202, or, when the caller would
/// rather wait, with 200 as soon as the order is where it was to go.
pub(super) async fn outcome(
    ask: &Ask,
    accepted: Answered<OrderView>,
    there: fn(OrderStatus) -> bool,
) -> Answer {
    let (order, status) = settle(ask, accepted.reply, there).await;
    show_order(ask, status, order, accepted.replayed)
}

async fn settle(
    ask: &Ask,
    accepted: OrderView,
    there: fn(OrderStatus) -> bool,
) -> (OrderView, StatusCode) {
    let Some(wait) = preference::wait(&ask.headers) else {
        return (accepted, StatusCode::ACCEPTED);
    };
    let order = wait_until(ask, accepted, there, wait).await;
    if there(order.status) {
        (order, StatusCode::OK)
    } else {
        (order, StatusCode::ACCEPTED)
    }
}

fn show_order(ask: &Ask, status: StatusCode, order: OrderView, replayed: bool) -> Answer {
    let (id, version) = (order.id, order.version);
    let mut response = tagged(answer::json(status, &shown(ask, order))?, version);
    let location = format!("{API}/orders/{id}");
    response = answer::with(response, "location", &location);
    if let Some(wait) = preference::wait(&ask.headers) {
        let applied = format!("wait={}", wait.as_secs());
        response = answer::with(response, "preference-applied", &applied);
    }
    Ok(answer::replayed(response, replayed))
}

/// A problem with the headers that an order shown instead would have had.
fn waited_or_replayed(ask: &Ask, mut problem: Problem, replayed: bool) -> Problem {
    if let Some(wait) = preference::wait(&ask.headers) {
        let applied = format!("wait={}", wait.as_secs());
        problem = problem.header(HeaderName::from_static("preference-applied"), &applied);
    }
    if replayed {
        problem = problem.header(HeaderName::from_static("idempotency-replayed"), "true");
    }
    problem
}

/// The order as soon as it is there, or as it is when the time is up or the server stops.
async fn wait_until(
    ask: &Ask,
    accepted: OrderView,
    there: fn(OrderStatus) -> bool,
    wait: Duration,
) -> OrderView {
    let deadline = Instant::now() + wait;
    let service = ask.shop.order();
    // Watching begins before the first look, so no change falls between.
    let watch = service.watch(&accepted.id);
    let mut order = accepted;
    loop {
        let changed = watch.changed();
        match show(ask, order.id).await {
            Ok(now) => order = now,
            // The command is durable whatever becomes of the waiting.
            Err(problem) => {
                tracing::debug!(?problem, order = %order.id, "order not seen while waiting");
                return order;
            }
        }
        if there(order.status) {
            return order;
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep_until(deadline) => return order,
            () = ask.draining.0.cancelled() => return order,
        }
    }
}

/// An order as its customer sees it.
fn shown(ask: &Ask, order: OrderView) -> OrderShown {
    order.with_address(|sealed| ask.open_address(&sealed))
}

/// The order's version as an entity tag.
fn tagged(response: Response, version: u64) -> Response {
    answer::with(response, "etag", &format!("\"{version}\""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use redeliver::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::money::{Currency, Money};

    fn order(status: OrderStatus) -> OrderView<()> {
        OrderView {
            id: OrderId(Uuid::from_u128(1)),
            customer_id: UserId(Uuid::from_u128(2)),
            status,
            items: Vec::new(),
            total: Money::new(1, Currency::EUR),
            shipping_address: None,
            payment_id: None,
            payment_attempts: 1,
            payment_failure: None,
            shipment_id: None,
            cancel_reason: None,
            review_reason: None,
            version: 1,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        }
    }

    #[test]
    fn a_cancellation_that_shipping_refused_is_answered_as_if_the_parcel_had_left_before() {
        for status in [OrderStatus::Shipped, OrderStatus::Delivered] {
            let problem = gone_meanwhile(&order(status)).unwrap();
            assert_eq!(problem.status(), StatusCode::CONFLICT);
            assert!(problem.type_uri().ends_with("rejected/already-shipped"));
        }
        for status in [OrderStatus::Cancelling, OrderStatus::Cancelled] {
            assert!(gone_meanwhile(&order(status)).is_none());
        }
        let mut reviewed = order(OrderStatus::ManualReview);
        assert!(gone_meanwhile(&reviewed).is_some(), "its capture failed");
        reviewed.cancel_reason = Some("changed my mind".to_owned());
        assert!(gone_meanwhile(&reviewed).is_none(), "its undoing did");
    }
}
