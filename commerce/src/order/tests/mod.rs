#![allow(clippy::unwrap_used)]
//! The order service under test: one shop, one order, and the answers that the others would give.

mod cancelling;
mod cart;
mod deletion;
mod handlers;
mod interleavings;
mod price_list;
mod requests;
mod returning;
mod world;

use redeliver::prelude::*;
use redeliver::testing::{Decided, ServiceKit};
use uuid::Uuid;

use super::*;
use crate::catalog::{ProductCreated, ProductPublished};
use crate::ids::{OrderId, PaymentId, ProductId, RefundId, ShipmentId, UserId};
use crate::inventory::*;
use crate::money::{Currency, Money};
use crate::page::Page;
use crate::payment::*;
use crate::privacy::{Keyring, Sealed};
use crate::shipping::*;

const SHOPPER: UserId = UserId(Uuid::from_u128(1));
const MUG: ProductId = ProductId(Uuid::from_u128(2));
const PLATE: ProductId = ProductId(Uuid::from_u128(3));
const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(4));
const PARCEL: ShipmentId = ShipmentId(Uuid::from_u128(5));
const NOON: Timestamp = Timestamp(1_767_268_800_000_000);

fn eur(amount: i64) -> Money {
    Money::new(amount, Currency::EUR)
}

fn address() -> Address {
    Address {
        recipient: "A. Shopper".to_owned(),
        line1: "Street 1".to_owned(),
        line2: None,
        city: "Berlin".to_owned(),
        region: None,
        postal_code: "10115".to_owned(),
        country: "DE".to_owned(),
    }
}

/// The same keys and nonces every time.
fn keyring() -> Keyring {
    let keyring = Keyring::in_memory(1);
    keyring.create(SHOPPER).unwrap();
    keyring
}

fn sealed_address() -> Sealed<Address> {
    keyring().seal(SHOPPER, &address()).unwrap()
}

fn card(token: &str) -> SealedMethod {
    PaymentMethod::card(token)
        .seal(SHOPPER, &keyring())
        .unwrap()
}

/// The catalog has a new product and publishes it.
fn list(kit: &mut ServiceKit<Orders>, product_id: ProductId, sku: &str, price: Money) {
    let created = ProductCreated {
        product_id,
        sku: sku.to_owned(),
        name: sku.to_lowercase(),
        price: Some(price),
        category_id: None,
        at: NOON,
    };
    kit.event(created).reply();
    let published = ProductPublished {
        product_id,
        at: NOON,
    };
    kit.event(published).reply();
}

fn wish() -> PlaceOrder {
    PlaceOrder {
        customer_id: SHOPPER,
        items: vec![
            OrderItem {
                product_id: MUG,
                quantity: 2,
            },
            OrderItem {
                product_id: PLATE,
                quantity: 1,
            },
        ],
        shipping_address: sealed_address(),
        payment_method: card("tok_ok"),
        expected_total: None,
    }
}

/// The service with two products and one order.
struct Shop {
    kit: ServiceKit<Orders>,
    id: OrderId,
}

impl Shop {
    /// Open, without an order.
    fn open() -> ServiceKit<Orders> {
        let mut kit = ServiceKit::of(Orders::default());
        for (product_id, sku, price) in [(MUG, "MUG", 999), (PLATE, "PLATE", 450)] {
            list(&mut kit, product_id, sku, eur(price));
        }
        kit
    }

    /// `pending`: the reservation is asked for.
    fn placed() -> Shop {
        let mut kit = Shop::open();
        let id = kit.command(wish()).reply().id;
        Shop { kit, id }
    }

    /// `reserved`: the payment is asked for.
    fn reserved() -> Shop {
        let mut shop = Shop::placed();
        shop.event(shop.stock_held());
        shop
    }

    /// `payment_failed`: another try may help.
    fn payment_failed() -> Shop {
        let mut shop = Shop::reserved();
        shop.event(shop.declined(1, FailureKind::Soft));
        shop
    }

    /// `paid`: its own confirmation is on the way.
    fn paid() -> Shop {
        let mut shop = Shop::reserved();
        shop.event(shop.authorised(1));
        shop
    }

    /// `confirmed`: there is a parcel.
    fn confirmed() -> Shop {
        let mut shop = Shop::paid();
        shop.kit.deliver_own();
        shop.event(shop.packed());
        shop
    }

    /// `shipped`: the parcel has left.
    fn shipped() -> Shop {
        let mut shop = Shop::confirmed();
        shop.event(shop.dispatched());
        shop
    }

    /// `delivered`.
    fn delivered() -> Shop {
        let mut shop = Shop::shipped();
        shop.event(shop.arrived());
        shop
    }

    #[track_caller]
    fn event<E: Event>(&mut self, event: E) -> Decided<Orders> {
        let turn = self.kit.event(event);
        turn.reply();
        turn
    }

    #[track_caller]
    fn cancel(&mut self) -> Decided<Orders, OrderView> {
        self.kit.command(CancelOrder {
            if_version: None,
            order_id: self.id,
            customer_id: Some(SHOPPER),
            reason: "changed my mind".to_owned(),
        })
    }

    #[track_caller]
    fn retry(&mut self, token: &str) -> Decided<Orders, OrderView> {
        self.kit.command(RetryPayment {
            if_version: None,
            order_id: self.id,
            customer_id: Some(SHOPPER),
            payment_method: card(token),
        })
    }

    #[track_caller]
    fn resolve(&mut self, action: Resolve) -> Decided<Orders, OrderView> {
        self.kit.command(ResolveOrder {
            if_version: None,
            order_id: self.id,
            action,
            reason: "looked at it".to_owned(),
        })
    }

    #[track_caller]
    fn view(&mut self) -> OrderView {
        let order_id = self.id;
        let ask = OrderById {
            order_id,
            customer_id: None,
        };
        self.kit.query(ask).unwrap()
    }

    #[track_caller]
    fn status(&mut self) -> &'static str {
        self.view().status.as_str()
    }

    /// The last entry of the timeline as `message: from -> to`.
    #[track_caller]
    fn last_entry(&mut self) -> String {
        let entry = self.timeline().pop().unwrap();
        let from = entry.from.map_or("-", OrderStatus::as_str);
        format!("{}: {from} -> {}", entry.message, entry.to)
    }

    #[track_caller]
    fn timeline(&mut self) -> Vec<TimelineEntry> {
        let mut ask = TimelineOfOrder {
            order_id: self.id,
            customer_id: Some(SHOPPER),
            page: Page::default(),
        };
        let mut entries = Vec::new();
        loop {
            let page = self.kit.query(ask.clone()).unwrap();
            entries.extend(page.items);
            ask.page.cursor = match page.next_cursor {
                Some(cursor) => Some(cursor),
                None => return entries,
            };
        }
    }

    // What the others say.

    fn stock_held(&self) -> InventoryReservationConfirmed {
        InventoryReservationConfirmed {
            order_id: self.id,
            lines: Vec::new(),
            expires_at: Some(NOON.plus(minutes(15))),
            renewed: false,
            at: NOON,
        }
    }

    fn stock_short(&self) -> InventoryReservationFailed {
        InventoryReservationFailed {
            order_id: self.id,
            reason: ReservationFailure::Short,
            short: vec![Shortfall {
                product_id: MUG,
                requested: 2,
                available: 1,
            }],
            at: NOON,
        }
    }

    fn stock_expired(&self) -> InventoryReservationExpired {
        InventoryReservationExpired {
            order_id: self.id,
            lines: Vec::new(),
            at: NOON,
        }
    }

    fn stock_free(&self) -> StockReleased {
        StockReleased {
            order_id: self.id,
            lines: Vec::new(),
            cause: ReleaseCause::Requested,
            at: NOON,
        }
    }

    fn authorised(&self, attempt: u32) -> PaymentConfirmed {
        PaymentConfirmed {
            order_id: self.id,
            payment_id: PAYMENT,
            customer_id: SHOPPER,
            attempt,
            authorised: eur(2_448),
            at: NOON,
        }
    }

    fn declined(&self, attempt: u32, kind: FailureKind) -> PaymentFailed {
        PaymentFailed {
            order_id: self.id,
            payment_id: Some(PAYMENT),
            customer_id: SHOPPER,
            attempt,
            kind,
            reason: "card_declined".to_owned(),
            at: NOON,
        }
    }

    fn charged(&self) -> PaymentCompleted {
        PaymentCompleted {
            order_id: self.id,
            payment_id: PAYMENT,
            customer_id: SHOPPER,
            captured: eur(2_448),
            at: NOON,
        }
    }

    fn not_charged(&self) -> PaymentCaptureFailed {
        PaymentCaptureFailed {
            order_id: self.id,
            payment_id: Some(PAYMENT),
            reason: "capture_refused".to_owned(),
            at: NOON,
        }
    }

    fn refunded(&self, kind: RefundKind) -> PaymentRefunded {
        let amount = match kind {
            RefundKind::Voided => 0,
            RefundKind::Refunded => 2_448,
        };
        PaymentRefunded {
            order_id: self.id,
            payment_id: Some(PAYMENT),
            customer_id: SHOPPER,
            refund_id: RefundId::of_whole_order(self.id),
            kind,
            amount: eur(amount),
            at: NOON,
        }
    }

    fn not_refunded(&self) -> PaymentRefundFailed {
        PaymentRefundFailed {
            order_id: self.id,
            payment_id: PAYMENT,
            refund_id: RefundId::of_whole_order(self.id),
            reason: "provider_unreachable".to_owned(),
            at: NOON,
        }
    }

    fn packed(&self) -> ShipmentCreated {
        ShipmentCreated {
            order_id: self.id,
            shipment_id: PARCEL,
            customer_id: SHOPPER,
            at: NOON,
        }
    }

    fn dispatched(&self) -> ShipmentDispatched {
        ShipmentDispatched {
            order_id: self.id,
            shipment_id: PARCEL,
            customer_id: SHOPPER,
            carrier: "post".to_owned(),
            tracking_number: "T1".to_owned(),
            lines: Vec::new(),
            at: NOON,
        }
    }

    fn arrived(&self) -> ShipmentDelivered {
        ShipmentDelivered {
            order_id: self.id,
            shipment_id: PARCEL,
            customer_id: SHOPPER,
            at: NOON,
        }
    }

    fn not_arrived(&self, attempt: u32) -> ShipmentDeliveryFailed {
        ShipmentDeliveryFailed {
            order_id: self.id,
            shipment_id: PARCEL,
            customer_id: SHOPPER,
            attempt,
            reason: "nobody at home".to_owned(),
            going_back: attempt >= 3,
            at: NOON,
        }
    }

    fn came_back(&self) -> ShipmentReturned {
        ShipmentReturned {
            order_id: self.id,
            shipment_id: PARCEL,
            customer_id: SHOPPER,
            items: Vec::new(),
            at: NOON,
        }
    }

    fn kept_back(&self) -> ShipmentCancelled {
        ShipmentCancelled {
            order_id: self.id,
            shipment_id: Some(PARCEL),
            reason: "cancelled".to_owned(),
            at: NOON,
        }
    }

    fn not_kept_back(&self) -> ShipmentCancellationRefused {
        ShipmentCancellationRefused {
            order_id: self.id,
            shipment_id: PARCEL,
            status: ShipmentStatus::Dispatched,
            at: NOON,
        }
    }
}
