//! Shoppers: they look, fill carts, order, pay again, and change their minds.

use std::sync::Arc;

use redeliver::prelude::*;
use redeliver::testing::Client;
use uuid::Uuid;

use super::Town;
use super::office::PRODUCTS;
use crate::catalog::{Catalog, NoteView};
use crate::identity::credential::Credential;
use crate::identity::requests::{DeleteUser, Register};
use crate::identity::{Contact, Identity};
use crate::ids::{OrderId, ProductId, UserId};
use crate::order::{
    Address, CancelOrder, CheckOut, OrderById, OrderItem, OrderStatus, OrderView, Orders,
    PlaceOrder, PutIntoCart, RetryPayment, TakeFromCart,
};
use crate::payment::{PaymentMethod, SealedMethod};
use crate::privacy::{Keyring, KeyringError};

/// How a shopper pays, by weight.
const TOKENS: [(u64, &str); 8] = [
    (60, "tok_ok"),
    (6, "tok_declined"),
    (8, "tok_insufficient_funds"),
    (6, "tok_slow"),
    (6, "tok_timeout_charged"),
    (6, "tok_timeout_lost"),
    (5, "tok_duplicate_webhook"),
    (3, "tok_capture_fails"),
];

/// What a shopper does next, by weight.
#[derive(Clone, Copy)]
enum Act {
    Look,
    Order,
    FillCart,
    EmptyCart,
    CheckOut,
    Cancel,
    PayAgain,
    Leave,
}

const ACTS: [(u64, Act); 8] = [
    (20, Act::Look),
    (40, Act::Order),
    (20, Act::FillCart),
    (3, Act::EmptyCart),
    (8, Act::CheckOut),
    (8, Act::Cancel),
    (10, Act::PayAgain),
    (1, Act::Leave),
];

/// One of these, by weight.
pub(super) fn weighted<T: Copy, const N: usize>(client: &Client, things: &[(u64, T); N]) -> T {
    let mut drawn = client.below(things.iter().map(|(weight, _)| weight).sum());
    let mut chosen = things[N - 1].1;
    for (weight, thing) in things {
        match drawn.checked_sub(*weight) {
            Some(left) => drawn = left,
            None => {
                chosen = *thing;
                break;
            }
        }
    }
    chosen
}

/// One of these, if there are any.
pub(super) fn one_of<T: Copy>(client: &Client, things: &[T]) -> Option<T> {
    let place = client.below(things.len() as u64);
    things.get(usize::try_from(place).unwrap_or(0)).copied()
}

/// Comes in when the shop opens, and does this and that until it closes. Who leaves comes again as
/// somebody else.
pub(super) async fn shopper(client: Client, town: Arc<Town>) {
    while !town.told.acts().open {
        client.sleep(seconds(1)).await;
    }
    let mut visits = 0;
    let mut shopper = Shopper::register(&client, &town, visits).await;
    while !client.is_over() {
        client.sleep(client.up_to(seconds(30))).await;
        let act = weighted(&client, &ACTS);
        if matches!(act, Act::Leave) {
            shopper.leave().await;
            visits += 1;
            shopper = Shopper::register(&client, &town, visits).await;
        } else {
            shopper.act(act).await;
        }
    }
}

struct Shopper<'a> {
    client: &'a Client,
    town: &'a Town,
    user: UserId,
    orders: Vec<OrderId>,
}

/// What can only fail if the simulation itself is wrong.
fn sure<T>(sealed: Result<T, KeyringError>) -> T {
    match sealed {
        Ok(value) => value,
        Err(error) => panic!("the keyring of the simulation: {error}"),
    }
}

impl<'a> Shopper<'a> {
    async fn register(client: &'a Client, town: &'a Town, visit: u64) -> Shopper<'a> {
        let number = u128::from(client.index()) << 32 | u128::from(visit);
        let user = UserId(Uuid::from_u128(0x5109_0000 << 64 | number));
        let keyring = &town.outside.keyring;
        sure(keyring.create(user));
        let contact = Contact {
            email: format!("shopper-{}-{visit}@example.com", client.index()),
            first_name: "Sam".to_owned(),
            last_name: "Shopper".to_owned(),
        };
        // A hash that no password has: nobody signs in here, and Argon2 is slow on purpose.
        let credential: Credential = match serde_json::from_str("\"$argon2id$none\"") {
            Ok(credential) => credential,
            Err(error) => panic!("the credential of the simulation: {error}"),
        };
        let register = Register {
            user_id: user,
            email: keyring.fingerprint("email", &contact.email),
            contact: sure(keyring.seal(user, &contact)),
            credential: sure(keyring.seal::<Credential>(user, &credential)),
        };
        if let Err(no) = client.call::<Identity, _>(register).await {
            panic!("a shopper cannot register: {no}");
        }
        town.told.acts().users.push(user);
        Shopper {
            client,
            town,
            user,
            orders: Vec::new(),
        }
    }

    fn keyring(&self) -> &Keyring {
        &self.town.outside.keyring
    }

    fn card(&self) -> SealedMethod {
        let token = weighted(self.client, &TOKENS);
        sure(PaymentMethod::card(token).seal(self.user, self.keyring()))
    }

    fn address(&self) -> crate::privacy::Sealed<Address> {
        let address = Address {
            recipient: "Sam Shopper".to_owned(),
            line1: "Street 1".to_owned(),
            line2: None,
            city: "Berlin".to_owned(),
            region: None,
            postal_code: "10115".to_owned(),
            country: "DE".to_owned(),
        };
        sure(self.keyring().seal(self.user, &address))
    }

    fn product(&self) -> ProductId {
        PRODUCTS[usize::try_from(self.client.below(PRODUCTS.len() as u64)).unwrap_or(0)].id
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::Look => self.look().await,
            Act::Order => self.order().await,
            Act::FillCart => self.fill_cart().await,
            Act::EmptyCart => self.empty_cart().await,
            Act::CheckOut => self.check_out().await,
            Act::Cancel => self.cancel().await,
            Act::PayAgain => self.pay_again().await,
            Act::Leave => self.leave().await,
        }
    }

    async fn look(&self) {
        let view = NoteView {
            product_id: self.product(),
            user_id: Some(self.user),
        };
        if self.client.call::<Catalog, _>(view).await.is_ok() {
            self.town.told.acts().views += 1;
        }
    }

    async fn order(&mut self) {
        let mut items = vec![OrderItem {
            product_id: self.product(),
            quantity: 1 + i64::try_from(self.client.below(3)).unwrap_or(0),
        }];
        let other = self.product();
        if self.client.below(2) == 0 && other != items[0].product_id {
            items.push(OrderItem {
                product_id: other,
                quantity: 1,
            });
        }
        let place = PlaceOrder {
            customer_id: self.user,
            items,
            shipping_address: self.address(),
            payment_method: self.card(),
            expected_total: None,
        };
        let answer = self.client.call::<Orders, _>(place).await;
        self.accepted(answer);
    }

    fn accepted(&mut self, answer: Result<OrderView, Rejection>) {
        // No stock, no price yet: no order.
        let Ok(order) = answer else { return };
        self.orders.push(order.id);
        let entry = (order.id, self.user, order.total.amount);
        self.town.told.acts().orders.push(entry);
    }

    async fn fill_cart(&self) {
        let (product_id, quantity) = (self.product(), 1 + self.client.below(3));
        let quantity = i64::try_from(quantity).unwrap_or(1);
        let put = PutIntoCart {
            customer_id: self.user,
            if_version: None,
            product_id,
            quantity,
        };
        if self.client.call::<Orders, _>(put).await.is_ok() {
            let mut acts = self.town.told.acts();
            let cart = acts.carts.entry(self.user).or_default();
            cart.insert(product_id, quantity);
        }
    }

    async fn empty_cart(&self) {
        let product_id = self.product();
        let take = TakeFromCart {
            customer_id: self.user,
            if_version: None,
            product_id,
        };
        if self.client.call::<Orders, _>(take).await.is_ok() {
            let mut acts = self.town.told.acts();
            acts.carts.entry(self.user).or_default().remove(&product_id);
        }
    }

    async fn check_out(&mut self) {
        let check_out = CheckOut {
            customer_id: self.user,
            if_version: None,
            shipping_address: self.address(),
            payment_method: self.card(),
            expected_total: None,
        };
        let answer = self.client.call::<Orders, _>(check_out).await;
        if answer.is_ok() {
            self.town.told.acts().carts.remove(&self.user);
        }
        self.accepted(answer);
    }

    async fn cancel(&self) {
        let Some(order_id) = one_of(self.client, &self.orders) else {
            return;
        };
        let cancel = CancelOrder {
            order_id,
            customer_id: Some(self.user),
            if_version: None,
            reason: "changed my mind".to_owned(),
        };
        if self.client.call::<Orders, _>(cancel).await.is_ok() {
            self.town.told.acts().cancelled.insert(order_id);
        }
    }

    async fn pay_again(&self) {
        let recent = self.orders.iter().rev().take(6).copied();
        for order_id in recent {
            let ask = OrderById {
                order_id,
                customer_id: Some(self.user),
            };
            let order = self.client.query::<Orders, _>(ask).await;
            if !order.is_ok_and(|order| order.status == OrderStatus::PaymentFailed) {
                continue;
            }
            let again = RetryPayment {
                order_id,
                customer_id: Some(self.user),
                if_version: None,
                payment_method: self.card(),
            };
            // The state may have changed meanwhile.
            let _ = self.client.call::<Orders, _>(again).await;
            return;
        }
    }

    async fn leave(&self) {
        let delete = DeleteUser {
            user_id: self.user,
            if_version: None,
        };
        if self.client.call::<Identity, _>(delete).await.is_ok() {
            let mut acts = self.town.told.acts();
            acts.left.insert(self.user);
            acts.carts.remove(&self.user);
        }
    }
}
