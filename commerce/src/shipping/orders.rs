//! What the shipping service does for orders: it makes their parcels, and keeps them from leaving.
//!
//! A cancellation that comes before its confirmation leaves a note that there will be no parcel.

use redeliver::prelude::*;

use super::messages::{
    ShipmentCancellationRefused, ShipmentCancelled, ShipmentCreated, ShipmentStatus,
};
use super::service::{Note, Shipping};
use super::status::{Act, next};
use super::tables::{ParcelOfOrder, SHIPMENTS_BY_ORDER, Shipment};
use crate::ids::{OrderId, ShipmentId};
use crate::order::{OrderCancelled, OrderConfirmed, ShipmentCancellationRequested};

/// An order without a parcel has been remembered long enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParcelOfOrderForgotten {
    /// Which order.
    pub order_id: OrderId,
}

timer!(
    ParcelOfOrderForgotten,
    "parcel-of-order-forgotten",
    order_id
);

/// What became of a wish to cancel.
enum Cancelled {
    /// It is cancelled by this.
    Now(ShipmentId),
    /// It was before, or there never will be a parcel.
    Before(Option<ShipmentId>),
    /// It has left.
    TooLate(ShipmentId, ShipmentStatus),
}

impl Shipping {
    pub(super) fn order_confirmed(
        &self,
        order: OrderConfirmed,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let order_id = order.order_id;
        // It has its parcel already, or was cancelled before this came.
        if cx.get(SHIPMENTS_BY_ORDER, &order_id)?.is_some() {
            return Ok(());
        }
        let (id, at) = (ShipmentId(cx.new_id()), cx.now());
        cx.put(SHIPMENTS_BY_ORDER, &order_id, &ParcelOfOrder::Parcel(id))?;
        let mut shipment = Shipment {
            order_id,
            customer_id: order.customer_id,
            lines: order.lines,
            ship_to: order.ship_to,
            status: ShipmentStatus::Pending,
            carrier: None,
            tracking_number: None,
            estimated_delivery: None,
            delivery_failures: 0,
            delivered_at: None,
            history: 0,
            created_at: at,
            updated_at: at,
        };
        self.save(id, &mut shipment, Note::default(), cx)?;
        cx.publish(ShipmentCreated {
            order_id,
            shipment_id: id,
            customer_id: order.customer_id,
            at,
        });
        Ok(())
    }

    pub(super) fn order_cancelled(
        &self,
        order: OrderCancelled,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        match self.cancel(order.order_id, &order.reason, cx)? {
            Cancelled::Now(shipment_id) => {
                self.say_cancelled(order.order_id, Some(shipment_id), order.reason, cx)
            }
            Cancelled::Before(_) => {}
            Cancelled::TooLate(shipment_id, status) => {
                tracing::warn!(order = %order.order_id, shipment = %shipment_id, ?status, "cancelled order has left; its parcel goes on");
            }
        }
        Ok(())
    }

    pub(super) fn cancellation_requested(
        &self,
        asked: ShipmentCancellationRequested,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let order_id = asked.order_id;
        match self.cancel(order_id, &asked.reason, cx)? {
            Cancelled::Now(shipment_id) => {
                self.say_cancelled(order_id, Some(shipment_id), asked.reason, cx);
            }
            Cancelled::Before(shipment_id) => {
                self.say_cancelled(order_id, shipment_id, asked.reason, cx);
            }
            Cancelled::TooLate(shipment_id, status) => {
                cx.publish(ShipmentCancellationRefused {
                    order_id,
                    shipment_id,
                    status,
                    at: cx.now(),
                });
            }
        }
        Ok(())
    }

    fn say_cancelled(
        &self,
        order_id: OrderId,
        shipment_id: Option<ShipmentId>,
        reason: String,
        cx: &mut Context<Self>,
    ) {
        cx.publish(ShipmentCancelled {
            order_id,
            shipment_id,
            reason,
            at: cx.now(),
        });
    }

    /// Sees to it that an order's parcel does not leave, if it has not.
    fn cancel(
        &self,
        order_id: OrderId,
        reason: &str,
        cx: &mut Context<Self>,
    ) -> Result<Cancelled, Rejection> {
        let id = match cx.get(SHIPMENTS_BY_ORDER, &order_id)? {
            Some(ParcelOfOrder::Parcel(id)) => id,
            Some(ParcelOfOrder::None { .. }) => return Ok(Cancelled::Before(None)),
            None => {
                // A confirmation that comes after this must not make a parcel.
                let none = ParcelOfOrder::None {
                    at: cx.now(),
                    reason: reason.to_owned(),
                };
                cx.put(SHIPMENTS_BY_ORDER, &order_id, &none)?;
                cx.after(self.remember, ParcelOfOrderForgotten { order_id });
                return Ok(Cancelled::Before(None));
            }
        };
        let mut shipment = self.load(id, cx)?;
        match next(shipment.status, Act::Cancel) {
            Ok(status) => {
                shipment.status = status;
                let note = Note::described(reason);
                self.save(id, &mut shipment, note, cx)?;
                Ok(Cancelled::Now(id))
            }
            Err(_) if shipment.status == ShipmentStatus::Cancelled => {
                Ok(Cancelled::Before(Some(id)))
            }
            Err(_) => Ok(Cancelled::TooLate(id, shipment.status)),
        }
    }

    pub(super) fn forget(
        &self,
        due: ParcelOfOrderForgotten,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        match cx.get(SHIPMENTS_BY_ORDER, &due.order_id)? {
            Some(ParcelOfOrder::None { .. }) => {
                cx.remove(SHIPMENTS_BY_ORDER, &due.order_id)?;
            }
            Some(ParcelOfOrder::Parcel(_)) | None => {}
        }
        Ok(())
    }
}
