//! The inventory service: stock by product, and what of it is reserved for orders.

pub mod messages;

pub use messages::{
    AdjustStock, AdjustmentReason, InventoryReservationConfirmed, InventoryReservationExpired,
    InventoryReservationFailed, LowStock, LowStockAlert, ProductStock, ReleaseCause,
    ReservationFailure, ReservationStatus, ReservationView, ReservationsOfProduct, SeedProduct,
    Shortfall, StockAdjusted, StockDeducted, StockList, StockOfProduct, StockReleased, Units,
};
