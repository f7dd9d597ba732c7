//! What the people of a simulated shop were told: the acts that were answered with yes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use super::outside::locked;
use crate::ids::{OrderId, ProductId, UserId};

/// What was told so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Acts {
    /// The shop is furnished: people may come in.
    pub(super) open: bool,
    /// Users that exist.
    pub(super) users: Vec<UserId>,
    /// Users that had themselves deleted.
    pub(super) left: BTreeSet<UserId>,
    /// Orders in the order of their acceptance, with whose they are and what they cost.
    pub(super) orders: Vec<(OrderId, UserId, i64)>,
    /// Units that came in, broke or were counted by a person, by product.
    pub(super) received: BTreeMap<ProductId, i64>,
    /// Units that came back and can be sold again, by product.
    pub(super) restocked: BTreeMap<ProductId, i64>,
    /// Parcels that left, arrived and came back, by order.
    pub(super) dispatched: BTreeSet<OrderId>,
    pub(super) delivered: BTreeSet<OrderId>,
    pub(super) returned: BTreeSet<OrderId>,
    /// Orders whose cancellation was accepted.
    pub(super) cancelled: BTreeSet<OrderId>,
    /// What was paid back by hand, by order.
    pub(super) refunded: BTreeMap<OrderId, i64>,
    /// How often somebody looked at a product.
    pub(super) views: u64,
    /// How many of each product are in a user's cart.
    pub(super) carts: BTreeMap<UserId, BTreeMap<ProductId, i64>>,
}

/// What was told so far, shared by all people.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<Acts>);

impl Told {
    pub(super) fn acts(&self) -> MutexGuard<'_, Acts> {
        locked(&self.0)
    }
}
