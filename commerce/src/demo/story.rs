//! Stories, told from their beginning to their end.

use redeliver::{CallError, Resolve};
use tokio::time::sleep;

use super::chance::Chance;
use super::customers::Customer;
use super::floor::{Floor, LIMITED, LIMITED_PRICE, Obstacle};
use super::mix::Story;
use crate::catalog::{ChangePrice, NoteView};
use crate::identity::accounts::ContactChange;
use crate::identity::requests::UserById;
use crate::ids::{OrderId, ProductId};
use crate::money::Money;
use crate::order::{
    Address, CancelOrder, CheckOut, OrderItem, OrderStatus, OrderView, PlaceOrder, PutIntoCart,
    ResolveOrder, RetryPayment, TakeFromCart,
};
use crate::payment::{PaymentMethod, PaymentOfOrder, PaymentStatus, RefundPayment, SealedMethod};
use crate::privacy::Sealed;
use crate::shipping::{Dispatch, ShipmentOfOrder};

/// More than there ever is of the demo's own product.
const TOO_MANY: i64 = 999;
/// Looks at a payment before it is let be.
const LOOKS: u32 = 40;

/// Who plays a story, with what.
pub(super) struct Teller {
    pub(super) floor: Floor,
    pub(super) customer: Customer,
    pub(super) products: Vec<ProductId>,
    pub(super) chance: Chance,
}

impl Teller {
    pub(super) async fn tell(mut self, story: Story) -> Result<(), Obstacle> {
        match story {
            Story::Plain => self.buy("tok_ok").await.map(drop),
            Story::Checkout => self.check_out().await,
            Story::Browse => self.fill_cart().await,
            Story::Declined => self.buy("tok_declined").await.map(drop),
            Story::SoftDecline => self.pay_again().await,
            Story::TimeoutCharged => self.buy("tok_timeout_charged").await.map(drop),
            Story::TimeoutLost => self.buy("tok_timeout_lost").await.map(drop),
            Story::Slow => self.buy("tok_slow").await.map(drop),
            Story::DuplicateWebhook => self.buy("tok_duplicate_webhook").await.map(drop),
            Story::CaptureFails => self.settle_by_hand().await,
            Story::Shortfall => self.order_too_many().await,
            Story::CancelAtOnce => self.cancel_at_once().await,
            Story::CancelConfirmed => self.cancel_confirmed().await,
            Story::CancelAtDispatch => self.cancel_at_dispatch().await,
            Story::PartialRefund => self.refund_a_part().await,
            Story::PriceChange => self.change_price().await,
            Story::ProfileUpdate => self.change_name().await,
            // The shopper's own affair.
            Story::Departure => Ok(()),
        }
    }

    /// Looks at something, orders it and waits until it is settled how that went.
    async fn buy(&mut self, token: &str) -> Result<OrderView, Obstacle> {
        let items = self.choose();
        for item in &items {
            self.look_at(item.product_id).await?;
        }
        let order = self.place(items, token).await?;
        self.until(order.id, is_settled).await
    }

    async fn place(&self, items: Vec<OrderItem>, token: &str) -> Result<OrderView, Obstacle> {
        let order = PlaceOrder {
            customer_id: self.customer.id,
            items,
            shipping_address: self.address()?,
            payment_method: self.card(token)?,
            expected_total: None,
        };
        self.floor.tell(self.floor.shop.order(), order).await
    }

    async fn check_out(&mut self) -> Result<(), Obstacle> {
        self.fill_cart().await?;
        let check_out = CheckOut {
            customer_id: self.customer.id,
            if_version: None,
            shipping_address: self.address()?,
            payment_method: self.card("tok_ok")?,
            expected_total: None,
        };
        let order = self.floor.tell(self.floor.shop.order(), check_out).await?;
        self.until(order.id, is_settled).await.map(drop)
    }

    /// Puts some things into the cart, and thinks better of one.
    async fn fill_cart(&mut self) -> Result<(), Obstacle> {
        let items = self.choose();
        let regretted = self.chance.one_of(&self.products);
        let order = || self.floor.shop.order();
        let put = |product_id, quantity| PutIntoCart {
            customer_id: self.customer.id,
            if_version: None,
            product_id,
            quantity,
        };
        if let Some(product_id) = regretted {
            self.look_at(product_id).await?;
            self.floor.tell(order(), put(product_id, 1)).await?;
        }
        for item in items {
            self.look_at(item.product_id).await?;
            let put = put(item.product_id, item.quantity);
            self.floor.tell(order(), put).await?;
            if Some(item.product_id) == regretted {
                return Ok(());
            }
        }
        if let Some(product_id) = regretted {
            let take = TakeFromCart {
                customer_id: self.customer.id,
                if_version: None,
                product_id,
            };
            self.floor.tell(order(), take).await?;
        }
        Ok(())
    }

    async fn pay_again(&mut self) -> Result<(), Obstacle> {
        let order = self.buy("tok_insufficient_funds").await?;
        if order.status != OrderStatus::PaymentFailed {
            return Err(Obstacle::Unfinished(order.status));
        }
        sleep(self.floor.step).await;
        let retry = RetryPayment {
            order_id: order.id,
            customer_id: Some(self.customer.id),
            if_version: None,
            payment_method: self.card("tok_ok")?,
        };
        self.floor.tell(self.floor.shop.order(), retry).await?;
        let paid =
            |order: &OrderView| is_settled(order) && order.status != OrderStatus::PaymentFailed;
        self.until(order.id, paid).await.map(drop)
    }

    /// Somebody of the shop writes the money off that could not be taken.
    async fn settle_by_hand(&mut self) -> Result<(), Obstacle> {
        let order = self.buy("tok_capture_fails").await?;
        let in_review = |order: &OrderView| order.review_reason.is_some();
        self.until(order.id, in_review).await?;
        sleep(self.floor.step).await;
        let resolve = ResolveOrder {
            order_id: order.id,
            if_version: None,
            action: Resolve::Accept,
            reason: "the customer is known; the money is written off".to_owned(),
        };
        self.floor.tell(self.floor.shop.order(), resolve).await?;
        Ok(())
    }

    async fn order_too_many(&mut self) -> Result<(), Obstacle> {
        let items = vec![OrderItem {
            product_id: LIMITED,
            quantity: TOO_MANY,
        }];
        let order = self.place(items, "tok_ok").await?;
        self.until(order.id, is_settled).await.map(drop)
    }

    async fn cancel_at_once(&mut self) -> Result<(), Obstacle> {
        let items = self.choose();
        let order = self.place(items, "tok_ok").await?;
        self.cancel(order.id).await
    }

    async fn cancel_confirmed(&mut self) -> Result<(), Obstacle> {
        let order = self.buy("tok_ok").await?;
        self.cancel(order.id).await
    }

    /// Both say it at once; the shop decides who was first.
    async fn cancel_at_dispatch(&mut self) -> Result<(), Obstacle> {
        let order = self.buy("tok_ok").await?;
        let shown = |order: &OrderView| order.shipment_id.is_some() || !is_waiting(order);
        let order = self.until(order.id, shown).await?;
        let ask = ShipmentOfOrder { order_id: order.id };
        let shipment = self.floor.ask(self.floor.shop.shipping(), ask).await?;
        let dispatch = Dispatch {
            shipment_id: shipment.id,
            carrier: None,
            tracking_number: None,
        };
        let (left, cancelled) = tokio::join!(
            self.floor.tell(self.floor.shop.shipping(), dispatch),
            self.cancel(order.id)
        );
        match left {
            Ok(_) | Err(Obstacle::Call(CallError::Rejected(_))) => cancelled,
            Err(obstacle) => Err(obstacle),
        }
    }

    /// Calls an order off. One that has left goes on.
    async fn cancel(&self, order_id: OrderId) -> Result<(), Obstacle> {
        let cancel = CancelOrder {
            order_id,
            customer_id: Some(self.customer.id),
            if_version: None,
            reason: "changed my mind".to_owned(),
        };
        match self.floor.tell(self.floor.shop.order(), cancel).await {
            Ok(_) => {}
            Err(Obstacle::Call(CallError::Rejected(_))) => return Ok(()),
            Err(obstacle) => return Err(obstacle),
        }
        let decided = |order: &OrderView| order.status != OrderStatus::Cancelling;
        self.until(order_id, decided).await.map(drop)
    }

    async fn refund_a_part(&mut self) -> Result<(), Obstacle> {
        let order = self.buy("tok_ok").await?;
        let left = |order: &OrderView| is_settled(order) && !is_waiting(order);
        self.until(order.id, left).await?;
        for _ in 0..LOOKS {
            let ask = PaymentOfOrder { order_id: order.id };
            let payment = self.floor.ask(self.floor.shop.payment(), ask).await?;
            if payment.status == PaymentStatus::Captured {
                let part = (payment.captured.amount / 10).max(1);
                let refund = RefundPayment {
                    payment_id: payment.id,
                    amount: Money::new(part, payment.captured.currency),
                    reason: "a scratch".to_owned(),
                };
                self.floor.tell(self.floor.shop.payment(), refund).await?;
                return Ok(());
            }
            sleep(self.floor.step).await;
        }
        Ok(())
    }

    async fn change_price(&mut self) -> Result<(), Obstacle> {
        let off = 10 * i64::from(self.chance.below(41)) - 200;
        let price = ChangePrice {
            product_id: LIMITED,
            if_version: None,
            price: Money::new(LIMITED_PRICE + off, self.floor.currency),
        };
        self.floor.tell(self.floor.shop.catalog(), price).await?;
        Ok(())
    }

    async fn change_name(&mut self) -> Result<(), Obstacle> {
        let user_id = self.customer.id;
        let identity = || self.floor.shop.identity();
        let present = self.floor.ask(identity(), UserById { user_id }).await?;
        let (_, last_name) = Customer::name(self.chance.below(1_000));
        let change = ContactChange {
            last_name: Some(last_name.to_owned()),
            ..ContactChange::default()
        };
        let accounts = &self.floor.shop.accounts;
        let update = accounts.profile_change(present, change, None)?;
        self.floor.tell(identity(), update).await?;
        Ok(())
    }

    async fn look_at(&self, product_id: ProductId) -> Result<(), Obstacle> {
        let view = NoteView {
            product_id,
            user_id: Some(self.customer.id),
        };
        self.floor.tell(self.floor.shop.catalog(), view).await
    }

    /// One or two products; often the demo's own, and then several of it.
    fn choose(&mut self) -> Vec<OrderItem> {
        let mut items = Vec::new();
        if let Some(product_id) = self.chance.one_of(&self.products) {
            items.push(OrderItem {
                product_id,
                quantity: 1 + i64::from(self.chance.below(3)),
            });
        }
        if items.is_empty() || self.chance.below(4) == 0 {
            items.push(OrderItem {
                product_id: LIMITED,
                quantity: 5 + i64::from(self.chance.below(11)),
            });
        }
        items
    }

    async fn until(
        &self,
        order_id: OrderId,
        so: impl Fn(&OrderView) -> bool,
    ) -> Result<OrderView, Obstacle> {
        self.floor.until(order_id, so).await
    }

    fn address(&self) -> Result<Sealed<Address>, Obstacle> {
        let (first_name, last_name) = Customer::name(self.customer.number);
        let address = Address {
            recipient: format!("{first_name} {last_name}"),
            line1: format!("{} Harbour Street", self.customer.number),
            line2: None,
            city: "Hamburg".to_owned(),
            region: None,
            postal_code: "20457".to_owned(),
            country: "DE".to_owned(),
        };
        let keyring = &self.floor.shop.keyring;
        Ok(keyring.seal(self.customer.id, &address)?)
    }

    fn card(&self, token: &str) -> Result<SealedMethod, Obstacle> {
        let card = PaymentMethod::card(token);
        Ok(card.seal(self.customer.id, &self.floor.shop.keyring)?)
    }
}

/// Whether it goes no further without somebody.
fn is_settled(order: &OrderView) -> bool {
    !matches!(
        order.status,
        OrderStatus::Pending | OrderStatus::Reserved | OrderStatus::Paid | OrderStatus::Cancelling
    )
}

/// Whether its parcel has not left yet.
fn is_waiting(order: &OrderView) -> bool {
    matches!(
        order.status,
        OrderStatus::Pending | OrderStatus::Reserved | OrderStatus::Paid | OrderStatus::Confirmed
    )
}
