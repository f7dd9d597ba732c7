//! Stock: what there is, what is reserved, and corrections by people.

use serde::Deserialize;
use utoipa::ToSchema;
use warp::http::StatusCode;

use super::answer;
use super::ask::Ask;
use super::table::{Access, Answer, Table};
use crate::identity::Role;
use crate::inventory::{
    AdjustStock, AdjustmentReason, LowStock, ProductStock, ReservationView, ReservationsOfProduct,
    SetReorderLevel, StockList, StockOfProduct,
};
use crate::page::Listing;

pub(super) fn routes(on: &mut Table) {
    let managers = Access::Only(Role::InventoryManager);
    on.get("/inventory/products", managers, list)
        .about("Lists the stock of all products.")
        .pages()
        .answers::<Listing<ProductStock>>(StatusCode::OK);
    on.get("/inventory/products/low-stock", managers, low)
        .about("Lists the products at or below their reorder level.")
        .pages()
        .answers::<Listing<ProductStock>>(StatusCode::OK);
    on.get("/inventory/products/{product_id}", managers, one)
        .about("Shows the stock of a product.")
        .answers::<ProductStock>(StatusCode::OK);
    on.get(
        "/inventory/products/{product_id}/reservations",
        managers,
        reservations,
    )
    .about("Lists what is reserved of a product, and was in the last 30 days.")
    .pages()
    .answers::<Listing<ReservationView>>(StatusCode::OK);
    on.post(
        "/inventory/products/{product_id}/adjust-stock",
        managers,
        adjust,
    )
    .about("Corrects the number on hand.")
    .takes::<Adjustment>()
    .answers::<ProductStock>(StatusCode::OK);
    on.put(
        "/inventory/products/{product_id}/reorder-level",
        managers,
        reorder_level,
    )
    .about("Says at how many available units it is time to reorder.")
    .takes::<ReorderLevel>()
    .answers::<ProductStock>(StatusCode::OK);
}

async fn list(ask: Ask) -> Answer {
    let page = ask.page()?;
    ask.show_page(ask.query(ask.shop.inventory(), StockList { page }).await?)
}

async fn low(ask: Ask) -> Answer {
    let page = ask.page()?;
    ask.show_page(ask.query(ask.shop.inventory(), LowStock { page }).await?)
}

async fn one(ask: Ask) -> Answer {
    let product_id = ask.id()?;
    let query = StockOfProduct { product_id };
    answer::ok(&ask.query(ask.shop.inventory(), query).await?)
}

async fn reservations(ask: Ask) -> Answer {
    let product_id = ask.id()?;
    let page = ask.page()?;
    let inventory = ask.shop.inventory();
    // An empty list would say that there is such a product.
    ask.query(inventory.clone(), StockOfProduct { product_id })
        .await?;
    let query = ReservationsOfProduct { product_id, page };
    ask.show_page(ask.query(inventory, query).await?)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Adjustment {
    delta: i64,
    reason: AdjustmentReason,
}

async fn adjust(ask: Ask) -> Answer {
    let product_id = ask.id()?;
    let Adjustment { delta, reason } = ask.json()?;
    let command = AdjustStock {
        product_id,
        delta,
        reason,
    };
    let answered = ask.send(ask.shop.inventory(), command).await?;
    answer::answered(StatusCode::OK, &answered)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReorderLevel {
    reorder_level: u64,
}

async fn reorder_level(ask: Ask) -> Answer {
    let product_id = ask.id()?;
    let ReorderLevel { reorder_level } = ask.json()?;
    let command = SetReorderLevel {
        product_id,
        reorder_level,
    };
    let answered = ask.send(ask.shop.inventory(), command).await?;
    answer::answered(StatusCode::OK, &answered)
}
