//! The inventory service: stock by product, and what of it is reserved for orders.
//!
//! An order's lines are reserved together or not at all:
//!
//! ```text
//! requested ─▶ active ──order confirmed──▶ committed ──dispatched──▶ deducted
//!                │  ╲                          │
//!           time │   ╲ released                │ released
//!                ▼    ╲───────▶ released ◀─────╯
//!             expired ──order confirmed──▶ committed, or InventoryReservationFailed
//! ```
//!
//! A release always wins: one that comes before its request leaves a `released` reservation,
//! which refuses the request. A reservation that is over is forgotten after 30 days.

pub mod messages;
pub mod reservations;
pub mod stock;
pub mod tables;

use std::time::Duration;

use redeliver::prelude::*;

pub use messages::{
    AdjustStock, AdjustmentReason, InventoryReservationConfirmed, InventoryReservationExpired,
    InventoryReservationFailed, LowStock, LowStockAlert, ProductStock, ReleaseCause,
    ReservationFailure, ReservationStatus, ReservationView, ReservationsOfProduct, SetReorderLevel,
    Shortfall, StockAdjusted, StockDeducted, StockList, StockOfProduct, StockReleased, Units,
};
pub use reservations::{ReservationForgotten, ReservationTimeUp};

use crate::catalog::{ProductCreated, ProductUpdated};
use crate::ids::{OrderId, ProductId};
use crate::page::Listing;
use crate::shipping::ShipmentReturned;
use stock::{CannotAdjust, Stock, UNITS_MAX};
use tables::{LOW_STOCK, LedgerEntry, RESERVATIONS, RESERVED_OF_PRODUCT, STOCK, STOCK_LEDGER};

/// Changes of one product's number on hand that are kept; older ones go.
pub const LEDGER_ROWS_MAX: u64 = 10_000;

/// Stock by product, and what of it is reserved for orders.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// How long a reservation waits for its order to be confirmed.
    pub reservation_ttl: Duration,
    /// How long a reservation that is over is remembered.
    pub remember: Duration,
    /// At how many available ones it is time to reorder a product of which nothing else is said.
    pub reorder_level: u64,
}

impl Default for Inventory {
    fn default() -> Inventory {
        Inventory {
            reservation_ttl: minutes(15),
            remember: days(30),
            reorder_level: 10,
        }
    }
}

impl Service for Inventory {
    const NAME: &'static str = "inventory";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(STOCK)
            .index(LOW_STOCK)
            .table(RESERVATIONS)
            .table(RESERVED_OF_PRODUCT)
            .table(STOCK_LEDGER);
        on.event(Self::reserve)
            .event(Self::release)
            .event(Self::commit)
            .event(Self::deduct)
            .event(Self::restock)
            .event(Self::open)
            .event(Self::rename)
            .timer(Self::expire)
            .timer(Self::forget);
        on.command(Self::adjust).command(Self::set_reorder_level);
        on.query(Self::stock_of)
            .query(Self::stock_list)
            .query(Self::low_stock)
            .query(Self::reservations_of);
        on.publishes::<InventoryReservationConfirmed>()
            .publishes_outside::<InventoryReservationFailed>()
            .publishes_outside::<InventoryReservationExpired>()
            .publishes::<StockReleased>()
            .publishes_outside::<StockDeducted>()
            .publishes::<StockAdjusted>()
            .publishes_outside::<LowStockAlert>();
    }
}

impl Inventory {
    /// A new product has a stock record before anybody can order it. There is none of it yet,
    /// which nobody needs to be told.
    fn open(&self, product: ProductCreated, cx: &mut Context<Self>) -> Result<(), Rejection> {
        let id = product.product_id;
        if cx.get(STOCK, &id)?.is_some() {
            return Ok(());
        }
        let stock = Stock {
            sku: product.sku,
            name: product.name,
            on_hand: 0,
            reserved: 0,
            reorder_level: self.reorder_level,
            low: true,
            changes: 0,
        };
        cx.put(STOCK, &id, &stock)?;
        cx.notify(&id);
        Ok(())
    }

    fn rename(&self, product: ProductUpdated, cx: &mut Context<Self>) -> Result<(), Rejection> {
        let known = cx.get(STOCK, &product.product_id)?;
        if let Some(mut stock) = known.filter(|stock| stock.name != product.name) {
            stock.name = product.name;
            cx.put(STOCK, &product.product_id, &stock)?;
        }
        Ok(())
    }

    fn set_reorder_level(
        &self,
        set: SetReorderLevel,
        cx: &mut Context<Self>,
    ) -> Result<ProductStock, Rejection> {
        let id = set.product_id;
        if set.reorder_level > UNITS_MAX {
            return Err(too_many());
        }
        let Some(mut stock) = cx.get(STOCK, &id)? else {
            return Err(no_such_product(id));
        };
        if stock.reorder_level != set.reorder_level {
            stock.reorder_level = set.reorder_level;
            self.save(id, &mut stock, cx)?;
        }
        Ok(stock.view(id))
    }

    fn adjust(
        &self,
        adjust: AdjustStock,
        cx: &mut Context<Self>,
    ) -> Result<ProductStock, Rejection> {
        let AdjustStock {
            product_id,
            delta,
            reason,
        } = adjust;
        if delta == 0 {
            return Err(Rejection::invalid(
                "no_change",
                "delta is 0; say by how many units the stock changes",
            ));
        }
        let sign_fits = match reason {
            AdjustmentReason::Received | AdjustmentReason::Returned => delta > 0,
            AdjustmentReason::Damaged => delta < 0,
            AdjustmentReason::Corrected => true,
            AdjustmentReason::Deducted => false,
        };
        if !sign_fits {
            return Err(Rejection::invalid(
                "reason_does_not_fit",
                "received and returned need a positive delta, damaged a negative one; deducted is for dispatches alone",
            ));
        }
        let Some(mut stock) = cx.get(STOCK, &product_id)? else {
            return Err(no_such_product(product_id));
        };
        stock.adjust(delta).map_err(|cannot| match cannot {
            CannotAdjust::Reserved => Rejection::conflict(
                "stock_reserved",
                format!(
                    "{} of {} units are reserved; at most {} can go",
                    stock.reserved,
                    stock.on_hand,
                    stock.available()
                ),
            )
            .with("available", stock.available()),
            CannotAdjust::TooMany => too_many(),
        })?;
        self.record(product_id, &mut stock, delta, reason, None, cx)?;
        self.save(product_id, &mut stock, cx)?;
        Ok(stock.view(product_id))
    }

    fn restock(&self, parcel: ShipmentReturned, cx: &mut Context<Self>) -> Result<(), Rejection> {
        for item in parcel.items.iter().filter(|item| item.restock) {
            let delta = i64::from(item.quantity);
            let stock = cx.get(STOCK, &item.product_id)?;
            let Some(mut stock) = stock.filter(|_| delta > 0) else {
                tracing::warn!(product = %item.product_id, order = %parcel.order_id, "returned product has no stock record");
                continue;
            };
            if stock.adjust(delta).is_err() {
                tracing::warn!(product = %item.product_id, order = %parcel.order_id, "returned units exceed what can be counted");
                continue;
            }
            let (reason, order) = (AdjustmentReason::Returned, Some(parcel.order_id));
            self.record(item.product_id, &mut stock, delta, reason, order, cx)?;
            self.save(item.product_id, &mut stock, cx)?;
        }
        Ok(())
    }

    fn stock_of(&self, ask: StockOfProduct, view: &View<Self>) -> Result<ProductStock, Rejection> {
        match view.get(STOCK, &ask.product_id)? {
            Some(stock) => Ok(stock.view(ask.product_id)),
            None => Err(no_such_product(ask.product_id)),
        }
    }

    fn stock_list(
        &self,
        ask: StockList,
        view: &View<Self>,
    ) -> Result<Listing<ProductStock>, Rejection> {
        let rows = view.scan(STOCK, &ask.page.of::<ProductId>(Span::all())?)?;
        let show = |(product, stock): (ProductId, Stock)| stock.view(product);
        ask.page.listing(rows, |(product, _)| *product, show)
    }

    fn low_stock(
        &self,
        ask: LowStock,
        view: &View<Self>,
    ) -> Result<Listing<ProductStock>, Rejection> {
        let rows = view.rows_by(LOW_STOCK, &ask.page.of::<ProductId>(Span::all())?)?;
        let show = |((), product, stock): ((), ProductId, Stock)| stock.view(product);
        ask.page.listing(rows, |((), product, _)| *product, show)
    }

    fn reservations_of(
        &self,
        ask: ReservationsOfProduct,
        view: &View<Self>,
    ) -> Result<Listing<ReservationView>, Rejection> {
        let span = Span::prefix(&ask.product_id);
        let span = ask.page.of::<(ProductId, OrderId)>(span)?;
        let mut rows = Vec::new();
        for ((product_id, order_id), quantity) in view.scan(RESERVED_OF_PRODUCT, &span)? {
            if let Some(reservation) = view.get(RESERVATIONS, &order_id)? {
                rows.push(ReservationView {
                    order_id,
                    product_id,
                    quantity,
                    status: reservation.status,
                    expires_at: reservation.expires_at,
                });
            }
        }
        let key = |row: &ReservationView| (row.product_id, row.order_id);
        ask.page.listing(rows, key, |row| row)
    }

    /// Writes a change of the number on hand down and says so.
    fn record(
        &self,
        product_id: ProductId,
        stock: &mut Stock,
        delta: i64,
        reason: AdjustmentReason,
        order_id: Option<OrderId>,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let at = cx.now();
        stock.changes += 1;
        let entry = LedgerEntry {
            delta,
            on_hand: stock.on_hand,
            reason,
            order_id,
            at,
        };
        cx.put(STOCK_LEDGER, &(product_id, stock.changes), &entry)?;
        if let Some(oldest) = stock.changes.checked_sub(LEDGER_ROWS_MAX) {
            cx.remove(STOCK_LEDGER, &(product_id, oldest))?;
        }
        cx.publish(StockAdjusted {
            product_id,
            delta,
            on_hand: stock.on_hand,
            available: stock.available(),
            reason,
            order_id,
            at,
        });
        Ok(())
    }

    /// Puts a product's stock, and says so if it has come down to its reorder level.
    fn save(
        &self,
        product_id: ProductId,
        stock: &mut Stock,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        if stock.crosses_reorder_level() {
            cx.publish(LowStockAlert {
                product_id,
                sku: stock.sku.clone(),
                name: stock.name.clone(),
                available: stock.available(),
                reorder_level: stock.reorder_level,
                at: cx.now(),
            });
        }
        cx.put(STOCK, &product_id, stock)?;
        Ok(())
    }
}

fn no_such_product(product: ProductId) -> Rejection {
    Rejection::not_found(
        "no_such_product",
        format!("there is no product {product}; check the id"),
    )
}

fn too_many() -> Rejection {
    Rejection::invalid(
        "too_many_units",
        format!("more than {UNITS_MAX} units cannot be counted; use a smaller number"),
    )
}

#[cfg(test)]
mod tests;
