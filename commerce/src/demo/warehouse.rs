//! The warehouse: sends parcels, tells where they are, takes them back, and fills what runs low.

use std::collections::HashMap;

use redeliver::CallError;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::chance::Chance;
use super::floor::{Floor, LIMITED, Obstacle};
use super::mix::{Act, Deck, FATES};
use crate::ids::ShipmentId;
use crate::inventory::{AdjustStock, AdjustmentReason, LowStock, SetReorderLevel};
use crate::order::{OrderStatus, OrdersList};
use crate::page::{PAGE_ROWS_MAX, Page};
use crate::shipping::{
    Deliver, Dispatch, PendingShipments, RecordDeliveryAttempt, ReturnShipment, ReturnedItem,
    ShipmentById, ShipmentOfOrder, Track, TrackStatus,
};

/// Parcels that are seen to at a time; the others wait in the list of those to be sent.
const PARCELS_MAX: usize = 512;
/// Rounds between two looks at the shelves.
const SHELVES_EVERY: u64 = 4;
/// Received of what runs low.
const RECEIVED: i64 = 1_000;
/// The same of the demo's own product, which is to run low again soon.
const RECEIVED_LIMITED: i64 = 150;
/// At how many of it that is.
const REORDER_LIMITED: u64 = 60;

/// Works for as long as it is let.
pub(super) async fn work(floor: Floor, seed: u64) {
    let mut due = interval(floor.step);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut warehouse = Warehouse {
        deck: Deck::new(&FATES),
        chance: Chance::new(seed, 2),
        parcels: HashMap::new(),
        floor,
    };
    if let Err(obstacle) = warehouse.adopt().await {
        tracing::debug!(%obstacle, "demo warehouse leaves what was sent before");
    }
    let mut round: u64 = 0;
    loop {
        due.tick().await;
        if let Err(obstacle) = warehouse.round(round).await {
            tracing::debug!(%obstacle, "demo warehouse breaks a round off");
        }
        round += 1;
    }
}

/// A parcel and what is still to be done with it.
struct Parcel {
    acts: &'static [Act],
    due: Instant,
}

struct Warehouse {
    floor: Floor,
    deck: Deck<&'static [Act]>,
    chance: Chance,
    parcels: HashMap<ShipmentId, Parcel>,
}

impl Warehouse {
    /// Sees to parcels that an earlier run has sent.
    async fn adopt(&mut self) -> Result<(), Obstacle> {
        let list = OrdersList {
            customer_id: None,
            status: Some(OrderStatus::Shipped),
            page: page(),
        };
        let orders = self.floor.ask(self.floor.shop.order(), list).await?;
        for order in orders.items {
            let ask = ShipmentOfOrder { order_id: order.id };
            let shipment = self.floor.ask(self.floor.shop.shipping(), ask).await?;
            self.expect(shipment.id, &[Act::Deliver]);
        }
        Ok(())
    }

    async fn round(&mut self, round: u64) -> Result<(), Obstacle> {
        if round.is_multiple_of(SHELVES_EVERY) {
            self.fill_shelves().await?;
        }
        let list = PendingShipments { page: page() };
        let pending = self.floor.ask(self.floor.shop.shipping(), list).await?;
        for shipment in pending.items {
            if self.parcels.len() >= PARCELS_MAX {
                break;
            }
            if self.parcels.contains_key(&shipment.id) {
                continue;
            }
            if let Some(acts) = self.deck.draw(&mut self.chance) {
                self.expect(shipment.id, acts);
            }
        }
        let now = Instant::now();
        let due = self.parcels.iter().filter(|(_, parcel)| parcel.due <= now);
        let due: Vec<ShipmentId> = due.map(|(id, _)| *id).collect();
        for id in due {
            self.handle(id).await?;
        }
        Ok(())
    }

    fn expect(&mut self, id: ShipmentId, acts: &'static [Act]) {
        let due = Instant::now() + self.pause();
        self.parcels.insert(id, Parcel { acts, due });
    }

    /// Does the next thing with a parcel.
    async fn handle(&mut self, id: ShipmentId) -> Result<(), Obstacle> {
        let due = Instant::now() + self.pause();
        let Some(parcel) = self.parcels.get_mut(&id) else {
            return Ok(());
        };
        let Some((act, rest)) = parcel.acts.split_first() else {
            self.parcels.remove(&id);
            return Ok(());
        };
        parcel.due = due;
        match self.act(id, *act).await {
            Ok(()) => {
                tracing::debug!(?act, shipment = %id, "demo parcel handled");
                match self.parcels.get_mut(&id) {
                    Some(parcel) if !rest.is_empty() => parcel.acts = rest,
                    Some(_) | None => drop(self.parcels.remove(&id)),
                }
                Ok(())
            }
            // Called off, or somebody else sees to it.
            Err(Obstacle::Call(CallError::Rejected(rejection))) => {
                tracing::debug!(?act, shipment = %id, %rejection, "demo parcel let be");
                self.parcels.remove(&id);
                Ok(())
            }
            // The same again when it is due again.
            Err(obstacle) => Err(obstacle),
        }
    }

    async fn act(&mut self, shipment_id: ShipmentId, act: Act) -> Result<(), Obstacle> {
        let shipping = || self.floor.shop.shipping();
        let track = |status, location: &str| Track {
            shipment_id,
            status,
            location: Some(location.to_owned()),
            description: None,
        };
        match act {
            Act::Dispatch => {
                let dispatch = Dispatch {
                    shipment_id,
                    carrier: None,
                    tracking_number: None,
                };
                self.floor.tell(shipping(), dispatch).await?;
            }
            Act::InTransit => {
                let seen = track(TrackStatus::InTransit, "Hannover");
                self.floor.tell(shipping(), seen).await?;
            }
            Act::OutForDelivery => {
                let seen = track(TrackStatus::OutForDelivery, "Hamburg");
                self.floor.tell(shipping(), seen).await?;
            }
            Act::Attempt => {
                let attempt = RecordDeliveryAttempt {
                    shipment_id,
                    reason: "nobody was at home".to_owned(),
                };
                self.floor.tell(shipping(), attempt).await?;
            }
            Act::Deliver => {
                let deliver = Deliver { shipment_id };
                self.floor.tell(shipping(), deliver).await?;
            }
            Act::Return => {
                let ask = ShipmentById { shipment_id };
                let shipment = self.floor.ask(shipping(), ask).await?;
                // Every other product is damaged.
                let items = shipment.items.iter().enumerate();
                let items = items.map(|(place, units)| ReturnedItem {
                    product_id: units.product_id,
                    quantity: units.quantity,
                    restock: place.is_multiple_of(2),
                });
                let back = ReturnShipment {
                    shipment_id,
                    items: items.collect(),
                };
                self.floor.tell(shipping(), back).await?;
            }
        }
        Ok(())
    }

    /// Receives of everything that runs low.
    async fn fill_shelves(&self) -> Result<(), Obstacle> {
        let inventory = || self.floor.shop.inventory();
        let low = LowStock { page: page() };
        for product in self.floor.ask(inventory(), low).await?.items {
            let product_id = product.product_id;
            let delta = if product_id == LIMITED {
                if product.reorder_level != REORDER_LIMITED {
                    let level = SetReorderLevel {
                        product_id,
                        reorder_level: REORDER_LIMITED,
                    };
                    self.floor.tell(inventory(), level).await?;
                }
                RECEIVED_LIMITED
            } else {
                RECEIVED
            };
            let receive = AdjustStock {
                product_id,
                delta,
                reason: AdjustmentReason::Received,
            };
            self.floor.tell(inventory(), receive).await?;
            tracing::debug!(product = %product_id, delta, "demo shelf filled");
        }
        Ok(())
    }

    /// Between two acts: one step or two.
    fn pause(&mut self) -> std::time::Duration {
        self.floor.step * (1 + self.chance.below(2))
    }
}

fn page() -> Page {
    Page {
        limit: Some(PAGE_ROWS_MAX),
        cursor: None,
    }
}
