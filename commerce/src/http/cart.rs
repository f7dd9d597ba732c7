//! The cart of whoever asks: everybody has one, and nobody sees another's.

use serde::Deserialize;
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::reply::Response;

use super::answer;
use super::ask::{Ask, MoneyAsked};
use super::orders::{OrderShown, is_settled, outcome};
use super::personal::AddressAsked;
use super::table::{Access, Answer, Table};
use crate::order::{CartOf, CartView, CheckOut, PutIntoCart, TakeFromCart};
use crate::payment::PaymentMethod;

pub(super) fn routes(on: &mut Table) {
    on.get("/cart", Access::SignedIn, show)
        .about("Shows the caller's cart at the prices of now.")
        .versioned()
        .answers::<CartView>(StatusCode::OK);
    on.put("/cart/items/{product_id}", Access::SignedIn, put)
        .about("Puts so many of a product into the cart, in the place of what is there of it.")
        .takes::<CartQuantity>()
        .versioned()
        .answers::<CartView>(StatusCode::OK);
    on.delete("/cart/items/{product_id}", Access::SignedIn, take)
        .about("Takes a product out of the cart.")
        .versioned()
        .answers::<CartView>(StatusCode::OK);
    on.post("/cart/checkout", Access::SignedIn, check_out)
        .about("Orders what is in the cart at the prices of now, and empties it.")
        .takes::<CheckingOut>()
        .versioned()
        .waits()
        .answers::<OrderShown>(StatusCode::OK)
        .answers::<OrderShown>(StatusCode::ACCEPTED);
}

async fn show(ask: Ask) -> Answer {
    let customer_id = ask.caller.user;
    let cart = ask.query(ask.shop.order(), CartOf { customer_id }).await?;
    Ok(tagged(answer::ok(&cart)?, &cart))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CartQuantity {
    /// 1 to 999.
    quantity: i64,
}

async fn put(ask: Ask) -> Answer {
    let product_id = ask.id()?;
    let CartQuantity { quantity } = ask.json()?;
    let command = PutIntoCart {
        customer_id: ask.caller.user,
        if_version: ask.if_version()?,
        product_id,
        quantity,
    };
    let put = ask.send(ask.shop.order(), command).await?;
    Ok(tagged(answer::answered(StatusCode::OK, &put)?, &put.reply))
}

async fn take(ask: Ask) -> Answer {
    let command = TakeFromCart {
        customer_id: ask.caller.user,
        if_version: ask.if_version()?,
        product_id: ask.id()?,
    };
    let taken = ask.send(ask.shop.order(), command).await?;
    let response = answer::answered(StatusCode::OK, &taken)?;
    Ok(tagged(response, &taken.reply))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CheckingOut {
    shipping_address: AddressAsked,
    payment_method: PaymentMethod,
    expected_total: Option<MoneyAsked>,
}

/// `If-Match` is about the cart; the answer, and its tag, are the order's.
async fn check_out(ask: Ask) -> Answer {
    let how: CheckingOut = ask.json()?;
    let command = CheckOut {
        customer_id: ask.caller.user,
        if_version: ask.if_version()?,
        shipping_address: ask.seal_address(how.shipping_address)?,
        payment_method: ask.seal_method(ask.caller.user, &how.payment_method)?,
        expected_total: how.expected_total.map(Into::into),
    };
    let placed = ask.send(ask.shop.order(), command).await?;
    outcome(&ask, placed, is_settled).await
}

/// The cart's version as an entity tag.
fn tagged(response: Response, cart: &CartView) -> Response {
    answer::with(response, "etag", &format!("\"{}\"", cart.version))
}
