//! The warehouse and the carrier: parcels leave, are seen, arrive, are refused, come back.

use std::sync::Arc;

use redeliver::prelude::*;
use redeliver::testing::Client;

use super::Town;
use super::people::one_of;
use crate::ids::OrderId;
use crate::order::{OrderById, OrderStatus, OrderView, Orders};
use crate::shipping::{
    Deliver, Dispatch, RecordDeliveryAttempt, ReturnShipment, ReturnedItem, Shipping, Track,
    TrackStatus,
};

/// Looks after orders that wait for somebody of the warehouse, until the time is over.
pub(super) async fn packer(client: Client, town: Arc<Town>) {
    while !client.is_over() {
        client.sleep(client.up_to(seconds(10))).await;
        let recent: Vec<OrderId> = {
            let acts = town.told.acts();
            let recent = acts.orders.iter().rev().take(60);
            recent.map(|(order, _, _)| *order).collect()
        };
        let Some(order_id) = one_of(&client, &recent) else {
            continue;
        };
        let ask = OrderById {
            order_id,
            customer_id: None,
        };
        if let Ok(order) = client.query::<Orders, _>(ask).await {
            attend(&client, &town, order).await;
        }
    }
}

/// Does what is next for an order, if anything is. Somebody else may have been faster.
async fn attend(client: &Client, town: &Town, order: OrderView) {
    let Some(shipment_id) = order.shipment_id else {
        return;
    };
    match order.status {
        OrderStatus::Confirmed => {
            let dispatch = Dispatch {
                shipment_id,
                carrier: None,
                tracking_number: None,
            };
            if client.call::<Shipping, _>(dispatch).await.is_ok() {
                town.told.acts().dispatched.insert(order.id);
            }
        }
        OrderStatus::Shipped => match client.below(8) {
            0 => {
                let track = Track {
                    shipment_id,
                    status: TrackStatus::InTransit,
                    location: Some("Hamburg".to_owned()),
                    description: None,
                };
                let _ = client.call::<Shipping, _>(track).await;
            }
            // Once at most: the third time it would go back by itself.
            1 if order.id.0.as_u128().is_multiple_of(2) => {
                let attempt = RecordDeliveryAttempt {
                    shipment_id,
                    reason: "nobody there".to_owned(),
                };
                let _ = client
                    .call_with::<Shipping, _>(&format!("attempt {}", order.id), attempt)
                    .await;
            }
            2 => come_back(client, town, &order).await,
            _ => {
                if client
                    .call::<Shipping, _>(Deliver { shipment_id })
                    .await
                    .is_ok()
                {
                    town.told.acts().delivered.insert(order.id);
                }
            }
        },
        OrderStatus::Delivered if client.below(6) == 0 => come_back(client, town, &order).await,
        _ => {}
    }
}

/// All of the order's goods come back; those that are whole can be sold again.
async fn come_back(client: &Client, town: &Town, order: &OrderView) {
    let Some(shipment_id) = order.shipment_id else {
        return;
    };
    let restock = client.below(3) > 0;
    let items: Vec<ReturnedItem> = order
        .items
        .iter()
        .map(|line| ReturnedItem {
            product_id: line.product_id,
            quantity: line.quantity,
            restock,
        })
        .collect();
    let back = ReturnShipment {
        shipment_id,
        items: items.clone(),
    };
    if client.call::<Shipping, _>(back).await.is_ok() {
        let mut acts = town.told.acts();
        acts.returned.insert(order.id);
        for item in items.iter().filter(|item| item.restock) {
            *acts.restocked.entry(item.product_id).or_default() += i64::from(item.quantity);
        }
    }
}
