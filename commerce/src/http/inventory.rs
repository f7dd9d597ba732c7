//! Stock: what there is, what is reserved, and corrections by people.

use serde::Deserialize;
use utoipa::ToSchema;
use warp::http::StatusCode;

use super::answer;
use super::ask::Ask;
use super::table::{Access, Answer, Table};
use crate::identity::Role;
use crate::inventory::{
    AdjustStock, AdjustmentReason, LowStock, ReservationsOfProduct, SetReorderLevel, StockList,
    StockOfProduct,
};

pub(super) fn routes(on: &mut Table) {
    on.get(
        "/inventory/products",
        Access::Only(Role::InventoryManager),
        list,
    );
    on.get(
        "/inventory/products/low-stock",
        Access::Only(Role::InventoryManager),
        low,
    );
    on.get(
        "/inventory/products/{}",
        Access::Only(Role::InventoryManager),
        one,
    );
    on.get(
        "/inventory/products/{}/reservations",
        Access::Only(Role::InventoryManager),
        reservations,
    );
    on.post(
        "/inventory/products/{}/adjust-stock",
        Access::Only(Role::InventoryManager),
        adjust,
    );
    on.put(
        "/inventory/products/{}/reorder-level",
        Access::Only(Role::InventoryManager),
        reorder_level,
    )
    .about("Says at how many available units it is time to reorder.");
}

async fn list(ask: Ask) -> Answer {
    let page = ask.page()?;
    answer::ok(&ask.query(ask.shop.inventory(), StockList { page }).await?)
}

async fn low(ask: Ask) -> Answer {
    let page = ask.page()?;
    answer::ok(&ask.query(ask.shop.inventory(), LowStock { page }).await?)
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
    answer::ok(&ask.query(inventory, query).await?)
}

#[derive(Deserialize)]
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
