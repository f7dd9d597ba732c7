//! Workload W2: an order in five durable steps over four services, with no activity.
//!
//! ```text
//! place ─▶ orders ─placed─▶ stock ─reserved─▶ payments ─captured─▶ shipments ─created─▶ orders
//! ```
//!
//! Each step changes keyed state of its service. The order is done when the last is durable.

use redeliver::codec::{self, CodecError, Subject};
use redeliver::prelude::*;
use redeliver::{CallError, ServiceHandle, StartError, System, SystemBuilder};

/// Products in stock.
const PRODUCTS: u64 = 1_000;

/// Declares the events of the chain; they all carry the order.
macro_rules! events {
    ($($name:ident $wire:literal),*) => {$(
        #[derive(Debug, Serialize, Deserialize)]
        struct $name(OrderDetails);

        impl Message for $name {
            const NAME: &'static str = $wire;

            fn key(&self) -> Key {
                Key::of(&self.0.order)
            }
        }

        impl Event for $name {}
    )*};
}
events!(
    OrderPlaced "order-placed",
    StockReserved "stock-reserved",
    PaymentCaptured "payment-captured",
    ShipmentCreated "shipment-created"
);

/// What is ordered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrderDetails {
    order: u64,
    product: u64,
    quantity: u32,
    cents: u64,
    address: String,
}

impl OrderDetails {
    /// The details of an order.
    pub fn of(order: u64) -> OrderDetails {
        OrderDetails {
            order,
            product: order.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40 & 0xFFFF,
            quantity: 2,
            cents: 39_90,
            address: "Anna Example, 12 Harbour Street, 20457 Hamburg, Germany".to_owned(),
        }
    }
}

/// Places an order.
#[derive(Debug, Serialize, Deserialize)]
pub struct PlaceOrder(OrderDetails);

impl Message for PlaceOrder {
    const NAME: &'static str = "place-order";
}

impl Command for PlaceOrder {
    type Reply = ();
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum OrderState {
    Placed(OrderDetails),
    Completed(OrderDetails),
}

const ORDERS: Table<u64, OrderState> = Table::new("orders");

/// The first and the last step.
#[derive(Debug)]
pub struct Orders;

impl Service for Orders {
    const NAME: &'static str = "orders";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(ORDERS).publishes::<OrderPlaced>();
        on.command(|_, PlaceOrder(details), cx| {
            let order = details.order;
            cx.put(ORDERS, &order, &OrderState::Placed(details.clone()))?;
            cx.publish(OrderPlaced(details));
            Ok(())
        });
        on.event(|_, ShipmentCreated(details), cx| {
            let order = details.order;
            cx.put(ORDERS, &order, &OrderState::Completed(details))?;
            cx.notify(&order);
            Ok(())
        });
    }
}

const RESERVED: Table<u64, u64> = Table::new("reserved");

struct Stock;

impl Service for Stock {
    const NAME: &'static str = "stock";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(RESERVED).publishes::<StockReserved>();
        on.event(|_, OrderPlaced(details), cx| {
            let product = details.product % PRODUCTS;
            let reserved = cx.get(RESERVED, &product)?.unwrap_or(0);
            cx.put(
                RESERVED,
                &product,
                &(reserved + u64::from(details.quantity)),
            )?;
            cx.publish(StockReserved(details));
            Ok(())
        });
    }
}

const CAPTURED: Table<u64, u64> = Table::new("captured");

struct Payments;

impl Service for Payments {
    const NAME: &'static str = "payments";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(CAPTURED).publishes::<PaymentCaptured>();
        on.event(|_, StockReserved(details), cx| {
            cx.put(CAPTURED, &details.order, &details.cents)?;
            cx.publish(PaymentCaptured(details));
            Ok(())
        });
    }
}

const SHIPMENTS: Table<u64, String> = Table::new("shipments");

struct Shipments;

impl Service for Shipments {
    const NAME: &'static str = "shipments";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(SHIPMENTS).publishes::<ShipmentCreated>();
        on.event(|_, PaymentCaptured(details), cx| {
            cx.put(SHIPMENTS, &details.order, &details.address)?;
            cx.publish(ShipmentCreated(details));
            Ok(())
        });
    }
}

/// Bytes of what an order says and keeps: five messages and five rows written, encoded, without
/// anything that the runtime puts around them.
pub fn payload_bytes(order: u64) -> Result<u64, CodecError> {
    let details = OrderDetails::of(order);
    let messages = 5 * body_bytes(&details)?;
    let key = 8;
    let orders = 2 * (key + body_bytes(&OrderState::Placed(details.clone()))?);
    let sums = 2 * (key + body_bytes(&details.cents)?);
    let shipments = key + body_bytes(&details.address)?;
    Ok(messages + orders + sums + shipments)
}

fn body_bytes<T: Serialize>(value: &T) -> Result<u64, CodecError> {
    let subject = Subject::message("payload");
    let around = codec::seal(subject, 1, &())?.len();
    Ok((codec::seal(subject, 1, value)?.len() - around) as u64)
}

/// The four services.
pub fn services(builder: SystemBuilder) -> SystemBuilder {
    builder
        .service(Orders)
        .service(Stock)
        .service(Payments)
        .service(Shipments)
}

/// Starts the four services over a data directory.
pub async fn start(dir: &std::path::Path) -> Result<(System, ServiceHandle<Orders>), StartError> {
    let system = services(System::open(dir)).start().await?;
    let orders = system.service();
    Ok((system, orders))
}

/// Places an order and waits until its last step is durable.
pub async fn complete(orders: &ServiceHandle<Orders>, order: u64) -> Result<(), CallError> {
    let watch = orders.watch(&order);
    let completed = watch.changed();
    orders.call(PlaceOrder(OrderDetails::of(order))).await?;
    completed.await;
    Ok(())
}
