//! The order service: its messages. The service itself is built on them.

pub mod address;
pub mod messages;
pub mod requests;
pub mod status;

pub use address::Address;
pub use messages::{
    InventoryReservationReleased, InventoryReservationRequested, PaymentRefundRequested,
    PaymentRequested, ShipmentCancellationRequested,
};
pub use messages::{
    OrderCancelled, OrderConfirmed, OrderCreated, OrderDelivered, OrderLine, OrderShipped,
    ProductAddedToCart, ProductPurchased,
};
pub use requests::{
    CancelOrder, ListProduct, ListedProduct, OrderById, OrderItem, OrderView, OrdersList,
    PlaceOrder, ResolveOrder, RetryPayment, Timeline, TimelineEntry, TimelineOfOrder,
};
pub use status::OrderStatus;
