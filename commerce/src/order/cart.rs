//! The cart: what a user means to order, one cart each.
//!
//! It holds products and quantities only. What it costs is looked up whenever it is shown, and
//! fixed when it is checked out: in that turn the order is accepted and the cart is empty.

use redeliver::prelude::*;
use utoipa::ToSchema;

use super::deletion::still_there;
use super::pricing::{self, LINES_MAX};
use super::service::Orders;
use super::tables::{CARTS, PRICES, Price};
use super::{Address, OrderItem, OrderView, PlaceOrder, ProductAddedToCart};
use crate::ids::{ProductId, UserId};
use crate::money::{Currency, Money};
use crate::payment::SealedMethod;
use crate::privacy::Sealed;
use crate::version::unchanged;

/// Puts so many of a product into the cart, in the place of what is there of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutIntoCart {
    /// Whose cart.
    pub customer_id: UserId,
    /// The versions of which it must have one, if said; an empty list fits no cart.
    pub if_version: Option<Vec<u64>>,
    /// What.
    pub product_id: ProductId,
    /// How many: 1 to 999. Wider than that, so that the answer to a wrong one names the rule.
    pub quantity: i64,
}

/// Takes a product out of the cart. One that is not in it is out of it already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakeFromCart {
    /// Whose cart.
    pub customer_id: UserId,
    /// The versions of which it must have one, if said; an empty list fits no cart.
    pub if_version: Option<Vec<u64>>,
    /// What.
    pub product_id: ProductId,
}

/// Orders what is in the cart at the prices of now, and empties it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckOut {
    /// Whose cart.
    pub customer_id: UserId,
    /// The versions of which the cart must have one, if said; an empty list fits no cart.
    pub if_version: Option<Vec<u64>>,
    /// Where it goes.
    pub shipping_address: Sealed<Address>,
    /// What pays for it.
    pub payment_method: SealedMethod,
    /// What the customer thinks that it costs; if said, the order is refused when it is not so.
    pub expected_total: Option<Money>,
}

/// Asks for a cart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CartOf {
    /// Whose.
    pub customer_id: UserId,
}

/// A cart as its user sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CartView {
    /// What is in it, in the order in which it was put there.
    pub items: Vec<CartItem>,
    /// What it costs now, without what cannot be ordered.
    pub total: Money,
    /// 0 for a cart that nobody has touched, one more with each change.
    pub version: u64,
}

/// One product of a cart, at its price of now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CartItem {
    /// What.
    pub product_id: ProductId,
    /// The product's stock keeping unit.
    pub sku: String,
    /// The product's name.
    pub name: String,
    /// How many.
    pub quantity: u32,
    /// The price of one.
    pub unit_price: Money,
    /// Whether it can be ordered now; if not, checking out is refused until it is taken out.
    pub orderable: bool,
}

command!(PutIntoCart, "put-into-cart", customer_id, CartView);
command!(TakeFromCart, "take-from-cart", customer_id, CartView);
command!(CheckOut, "check-out", customer_id, OrderView);
query!(CartOf, "cart-of", CartView);

/// What a user means to order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cart {
    /// Each product once, oldest first.
    pub lines: Vec<CartLine>,
    /// One more with each change. It outlives the lines, so that no tag of an old cart fits a new
    /// one.
    pub version: u64,
}

/// So many of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartLine {
    /// What.
    pub product_id: ProductId,
    /// How many.
    pub quantity: u32,
}

impl Cart {
    /// Puts so many there in the place of what is there; answers how many that were.
    fn put(&mut self, product_id: ProductId, quantity: u32) -> Result<u32, Rejection> {
        let full = self.lines.len() >= LINES_MAX;
        let mut lines = self.lines.iter_mut();
        let before = match lines.find(|line| line.product_id == product_id) {
            Some(line) => std::mem::replace(&mut line.quantity, quantity),
            None if full => {
                return Err(Rejection::invalid(
                    "cart_full",
                    format!(
                        "a cart has at most {LINES_MAX} products; check out or take one out first"
                    ),
                ));
            }
            None => {
                self.lines.push(CartLine {
                    product_id,
                    quantity,
                });
                0
            }
        };
        self.version += u64::from(before != quantity);
        Ok(before)
    }

    fn take(&mut self, product_id: ProductId) {
        let before = self.lines.len();
        self.lines.retain(|line| line.product_id != product_id);
        self.version += u64::from(self.lines.len() != before);
    }

    fn empty(&mut self) {
        self.lines.clear();
        self.version += 1;
    }

    /// At the prices of now. A product that is on no price list is left out.
    fn view(
        &self,
        currency: Currency,
        mut price_of: impl FnMut(ProductId) -> Result<Option<Price>, Rejection>,
    ) -> Result<CartView, Rejection> {
        let mut items = Vec::with_capacity(self.lines.len());
        let mut total = Money::zero(currency);
        for line in &self.lines {
            let Some(price) = price_of(line.product_id)? else {
                continue;
            };
            if price.published {
                total = total.plus(price.price.times(line.quantity)?)?;
            }
            items.push(CartItem {
                product_id: line.product_id,
                sku: price.sku,
                name: price.name,
                quantity: line.quantity,
                unit_price: price.price,
                orderable: price.published,
            });
        }
        Ok(CartView {
            items,
            total,
            version: self.version,
        })
    }
}

impl Orders {
    pub(super) fn put_into_cart(
        &self,
        ask: PutIntoCart,
        cx: &mut Context<Self>,
    ) -> Result<CartView, Rejection> {
        let (customer_id, product_id) = (ask.customer_id, ask.product_id);
        still_there(&customer_id, cx)?;
        let mut cart = cart(&customer_id, ask.if_version.as_deref(), cx)?;
        let quantity = pricing::quantity(product_id, ask.quantity)?;
        if cx
            .get(PRICES, &product_id)?
            .is_none_or(|price| !price.published)
        {
            return Err(pricing::unknown_product(product_id));
        }
        let before = cart.put(product_id, quantity)?;
        if before != quantity {
            cx.put(CARTS, &customer_id, &cart)?;
        }
        if before < quantity {
            cx.publish(ProductAddedToCart {
                customer_id,
                product_id,
                quantity,
                at: cx.now(),
            });
        }
        self.show_cart(&cart, cx)
    }

    pub(super) fn take_from_cart(
        &self,
        ask: TakeFromCart,
        cx: &mut Context<Self>,
    ) -> Result<CartView, Rejection> {
        let mut cart = cart(&ask.customer_id, ask.if_version.as_deref(), cx)?;
        let before = cart.version;
        cart.take(ask.product_id);
        if cart.version != before {
            cx.put(CARTS, &ask.customer_id, &cart)?;
        }
        self.show_cart(&cart, cx)
    }

    pub(super) fn check_out(
        &self,
        ask: CheckOut,
        cx: &mut Context<Self>,
    ) -> Result<OrderView, Rejection> {
        let customer_id = ask.customer_id;
        let mut cart = cart(&customer_id, ask.if_version.as_deref(), cx)?;
        if cart.lines.is_empty() {
            return Err(Rejection::conflict(
                "cart_empty",
                "the cart is empty; put something into it before checking out",
            ));
        }
        let items = cart.lines.iter().map(|line| OrderItem {
            product_id: line.product_id,
            quantity: line.quantity.into(),
        });
        let order = PlaceOrder {
            customer_id,
            items: items.collect(),
            shipping_address: ask.shipping_address,
            payment_method: ask.payment_method,
            expected_total: ask.expected_total,
        };
        let order = self.accept(order, CheckOut::NAME, cx)?;
        cart.empty();
        cx.put(CARTS, &customer_id, &cart)?;
        Ok(order)
    }

    pub(super) fn cart_of(&self, ask: CartOf, view: &View<Self>) -> Result<CartView, Rejection> {
        self.show_cart(&cart(&ask.customer_id, None, view)?, view)
    }

    fn show_cart(&self, cart: &Cart, view: &View<Self>) -> Result<CartView, Rejection> {
        cart.view(self.currency, |product| Ok(view.get(PRICES, &product)?))
    }
}

/// The user's cart, if it is still one that the user has seen.
fn cart(customer: &UserId, seen: Option<&[u64]>, view: &View<Orders>) -> Result<Cart, Rejection> {
    let cart = view.get(CARTS, customer)?.unwrap_or_default();
    unchanged("the cart", cart.version, seen)?;
    Ok(cart)
}
