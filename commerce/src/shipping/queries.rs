//! What the shipping service answers about its parcels.

use redeliver::prelude::*;

use super::service::no_such_shipment;
use super::tables::{
    ParcelOfOrder, SHIPMENT_HISTORY, SHIPMENTS, SHIPMENTS_BY_ARRIVAL, SHIPMENTS_BY_ORDER,
    SHIPMENTS_BY_STATUS, SHIPMENTS_BY_TRACKING, Shipment, status_number,
};
use super::{
    DelayedShipments, PendingShipments, ShipmentById, ShipmentByTracking, ShipmentOfOrder,
    ShipmentStatus, ShipmentView, Shipping,
};
use crate::ids::ShipmentId;
use crate::page::Listing;

impl Shipping {
    pub(super) fn by_id(
        &self,
        ask: ShipmentById,
        view: &View<Self>,
    ) -> Result<ShipmentView, Rejection> {
        match view.get(SHIPMENTS, &ask.shipment_id)? {
            Some(shipment) => show(ask.shipment_id, shipment, view),
            None => Err(no_such_shipment()),
        }
    }

    pub(super) fn of_order(
        &self,
        ask: ShipmentOfOrder,
        view: &View<Self>,
    ) -> Result<ShipmentView, Rejection> {
        match view.get(SHIPMENTS_BY_ORDER, &ask.order_id)? {
            Some(ParcelOfOrder::Parcel(shipment_id)) => {
                self.by_id(ShipmentById { shipment_id }, view)
            }
            Some(ParcelOfOrder::None { .. }) | None => Err(no_such_shipment()),
        }
    }

    pub(super) fn by_tracking(
        &self,
        ask: ShipmentByTracking,
        view: &View<Self>,
    ) -> Result<ShipmentView, Rejection> {
        let span = Span::prefix(&ask.tracking_number).limit(1);
        match view.rows_by(SHIPMENTS_BY_TRACKING, &span)?.pop() {
            Some((_, id, shipment)) => show(id, shipment, view),
            None => Err(no_such_shipment()),
        }
    }

    pub(super) fn pending(
        &self,
        ask: PendingShipments,
        view: &View<Self>,
    ) -> Result<Listing<ShipmentView>, Rejection> {
        let span = Span::prefix(&status_number(ShipmentStatus::Pending));
        let span = ask.page.of::<((u8, Timestamp), ShipmentId)>(span)?;
        let rows = view.rows_by(SHIPMENTS_BY_STATUS, &span)?;
        let rows = show_all(rows, view)?;
        ask.page.listing(
            rows,
            |(entry, shown)| (*entry, shown.id),
            |(_, shown)| shown,
        )
    }

    pub(super) fn delayed(
        &self,
        ask: DelayedShipments,
        view: &View<Self>,
    ) -> Result<Listing<ShipmentView>, Rejection> {
        let span = Span::all().below(&view.now());
        let span = ask.page.of::<(Timestamp, ShipmentId)>(span)?;
        let rows = view.rows_by(SHIPMENTS_BY_ARRIVAL, &span)?;
        let rows = show_all(rows, view)?;
        ask.page.listing(
            rows,
            |(entry, shown)| (*entry, shown.id),
            |(_, shown)| shown,
        )
    }
}

fn show_all<I>(
    rows: Vec<(I, ShipmentId, Shipment)>,
    view: &View<Shipping>,
) -> Result<Vec<(I, ShipmentView)>, Rejection> {
    rows.into_iter()
        .map(|(entry, id, shipment)| Ok((entry, show(id, shipment, view)?)))
        .collect()
}

/// A parcel with its history, as the outside sees it.
pub(super) fn show(
    id: ShipmentId,
    shipment: Shipment,
    view: &View<Shipping>,
) -> Result<ShipmentView, Rejection> {
    let history = view.scan(SHIPMENT_HISTORY, &Span::prefix(&id))?;
    Ok(ShipmentView {
        id,
        order_id: shipment.order_id,
        customer_id: shipment.customer_id,
        status: shipment.status,
        items: shipment.lines,
        shipping_address: Some(shipment.ship_to),
        carrier: shipment.carrier,
        tracking_number: shipment.tracking_number,
        estimated_delivery: shipment.estimated_delivery,
        history: history.into_iter().map(|(_, entry)| entry).collect(),
        created_at: shipment.created_at,
        updated_at: shipment.updated_at,
    })
}
