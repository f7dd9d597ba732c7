//! Stock, reservations and the ledger.

use commerce::inventory::stock::Stock;
use commerce::inventory::tables as stock_tables;
use commerce::inventory::{
    AdjustmentReason, InventoryReservationConfirmed, InventoryReservationExpired,
    InventoryReservationFailed, LowStockAlert, ReleaseCause, ReservationFailure,
    ReservationForgotten, ReservationStatus, ReservationTimeUp, Shortfall, StockAdjusted,
    StockDeducted, StockReleased,
};

use super::{AT, Golden, LATER, MUG, ORDER, text, units};

pub(super) fn samples(golden: &mut Golden) {
    let (order_id, product_id, at) = (ORDER, MUG, AT);
    golden.message(&InventoryReservationConfirmed {
        order_id,
        lines: units(),
        expires_at: Some(LATER),
        renewed: true,
        at,
    });
    golden.message(&InventoryReservationFailed {
        order_id,
        reason: ReservationFailure::Short,
        short: vec![Shortfall {
            product_id,
            requested: 2,
            available: 1,
        }],
        at,
    });
    golden.message(&InventoryReservationExpired {
        order_id,
        lines: units(),
        at,
    });
    golden.message(&StockAdjusted {
        product_id,
        delta: -2,
        on_hand: 8,
        available: 7,
        reason: AdjustmentReason::Deducted,
        order_id: Some(order_id),
        at,
    });
    golden.message(&StockDeducted {
        order_id,
        lines: units(),
        at,
    });
    golden.message(&StockReleased {
        order_id,
        lines: units(),
        cause: ReleaseCause::Expired,
        at,
    });
    golden.message(&LowStockAlert {
        product_id,
        sku: text("MUG"),
        name: text("mug"),
        available: 3,
        reorder_level: 10,
        at,
    });
    golden.message(&ReservationTimeUp {
        order_id,
        expires_at: LATER,
    });
    golden.message(&ReservationForgotten { order_id });
    let mugs = Stock {
        sku: text("MUG"),
        name: text("mug"),
        on_hand: 8,
        reserved: 1,
        reorder_level: 10,
        low: true,
        changes: 4,
    };
    golden.row(stock_tables::STOCK, &product_id, &mugs);
    let reservation = stock_tables::Reservation {
        lines: units(),
        status: ReservationStatus::Committed,
        given_up: true,
        expires_at: Some(LATER),
        timer: None,
        updated_at: at,
    };
    golden.row(stock_tables::RESERVATIONS, &order_id, &reservation);
    golden.row(
        stock_tables::RESERVED_OF_PRODUCT,
        &(product_id, order_id),
        &2,
    );
    let entry = stock_tables::LedgerEntry {
        delta: -2,
        on_hand: 8,
        reason: AdjustmentReason::Damaged,
        order_id: Some(order_id),
        at,
    };
    golden.row(stock_tables::STOCK_LEDGER, &(product_id, 4), &entry);
}
