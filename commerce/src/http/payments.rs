//! Payments: what orders have cost, and money given back by people.

use serde::Deserialize;
use utoipa::ToSchema;
use warp::http::StatusCode;

use super::answer;
use super::ask::{Ask, MoneyAsked};
use super::table::{Access, Answer, Table};
use crate::identity::Role;
use crate::payment::service::no_such_payment;
use crate::payment::{PaymentById, PaymentOfOrder, PaymentView, RefundPayment};

pub(super) fn routes(on: &mut Table) {
    on.get("/payments/{payment_id}", Access::SignedIn, one)
        .about("Shows a payment.")
        .answers::<PaymentView>(StatusCode::OK);
    on.get("/payments/order/{order_id}", Access::SignedIn, of_order)
        .about("Shows the payment of an order.")
        .answers::<PaymentView>(StatusCode::OK);
    on.post(
        "/payments/{payment_id}/refund",
        Access::Only(Role::Admin),
        refund,
    )
    .about("Pays back a part of what was captured; the order's status stays.")
    .takes::<Refund>()
    .answers::<PaymentView>(StatusCode::ACCEPTED);
}

async fn one(ask: Ask) -> Answer {
    let payment_id = ask.id()?;
    let payment = ask.query(ask.shop.payment(), PaymentById { payment_id });
    show(&ask, &payment.await?)
}

async fn of_order(ask: Ask) -> Answer {
    let order_id = ask.id()?;
    let payment = ask.query(ask.shop.payment(), PaymentOfOrder { order_id });
    show(&ask, &payment.await?)
}

fn show(ask: &Ask, payment: &PaymentView) -> Answer {
    if !ask.caller.may_see(payment.customer_id, Role::Admin) {
        // In the very words of an id that nobody has.
        return Err(no_such_payment().into());
    }
    answer::ok(payment)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Refund {
    amount: MoneyAsked,
    reason: String,
}

async fn refund(ask: Ask) -> Answer {
    let payment_id = ask.id()?;
    let Refund { amount, reason } = ask.json()?;
    let command = RefundPayment {
        payment_id,
        amount: amount.into(),
        reason,
    };
    let answered = ask.send(ask.shop.payment(), command).await?;
    // The provider is asked after this answer; the payment shows what it said.
    answer::answered(StatusCode::ACCEPTED, &answered)
}
