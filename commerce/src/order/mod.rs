//! The order service: orders, their way through the services, and the prices they are accepted at.
//!
//! Only this service changes an order. A saga ([`fulfilment`]) leads it forward and, cancelled,
//! back; [`answers`] notes everything on the order's timeline; [`take_back`] returns money once
//! the goods have left.
//!
//! ```text
//! people ──▶ service ──▶ fulfilment ──▶ InventoryReservationRequested, PaymentRequested, …
//!                            ▲   ╰──▶ change ──▶ orders, timeline, those who wait
//! services ──▶ answers ──────╯            ▲
//!                 ╰──▶ take_back ─────────╯
//! catalog ──▶ price_list ──▶ what can be ordered, and for how much
//! ```

pub mod address;
pub mod answers;
pub mod cart;
pub mod change;
pub mod deletion;
pub mod fulfilment;
pub mod messages;
pub mod price_list;
pub mod pricing;
pub mod requests;
pub mod service;
pub mod status;
pub mod tables;
pub mod take_back;

pub use address::Address;
pub use cart::{CartItem, CartOf, CartView, CheckOut, PutIntoCart, TakeFromCart};
pub use fulfilment::{Deadlines, Fulfilment};
pub use messages::{
    InventoryReservationReleased, InventoryReservationRequested, PaymentRefundRequested,
    PaymentRequested, ShipmentCancellationRequested,
};
pub use messages::{
    OrderCancelled, OrderConfirmed, OrderCreated, OrderDelivered, OrderLine, OrderShipped,
    ProductAddedToCart, ProductPurchased,
};
pub use requests::{
    CancelOrder, ListedProduct, OrderById, OrderItem, OrderView, OrdersList, PlaceOrder,
    PriceOfProduct, ResolveOrder, RetryPayment, TimelineEntry, TimelineOfOrder,
};
pub use service::Orders;
pub use status::OrderStatus;

#[cfg(test)]
mod tests;
