//! The order service: its messages. The service itself is built on them.

pub mod address;
pub mod messages;

pub use address::Address;
pub use messages::{
    InventoryReservationReleased, InventoryReservationRequested, PaymentRefundRequested,
    PaymentRequested, ShipmentCancellationRequested,
};
pub use messages::{
    OrderCancelled, OrderConfirmed, OrderCreated, OrderDelivered, OrderLine, OrderShipped,
    ProductAddedToCart, ProductPurchased,
};
