//! Shipments: parcels and what happens to them.

use redeliver::Answered;
use redeliver::http::Problem;
use serde::Deserialize;
use warp::http::StatusCode;

use super::answer;
use super::ask::Ask;
use super::table::{Access, Answer, Table};
use crate::identity::Role;
use crate::order::Address;
use crate::shipping::{
    DelayedShipments, Deliver, Dispatch, PendingShipments, RecordDeliveryAttempt, ReturnShipment,
    ReturnedItem, ShipmentById, ShipmentByTracking, ShipmentOfOrder, ShipmentView, Track,
    TrackStatus,
};

/// A shipment with its address; without it once its customer is deleted.
type ShipmentShown = ShipmentView<Option<Address>>;

pub(super) fn routes(on: &mut Table) {
    on.get("/shipments/pending", Access::Only(Role::Warehouse), pending);
    on.get("/shipments/delayed", Access::Only(Role::Warehouse), delayed);
    on.get("/shipments/{}", Access::SignedIn, one);
    on.get("/shipments/order/{}", Access::SignedIn, of_order);
    on.get("/shipments/tracking/{}", Access::SignedIn, by_tracking);
    on.post(
        "/shipments/{}/dispatch",
        Access::Only(Role::Warehouse),
        dispatch,
    );
    on.post(
        "/shipments/{}/tracking",
        Access::Only(Role::Warehouse),
        track,
    );
    on.post(
        "/shipments/{}/delivery-attempt",
        Access::Only(Role::Warehouse),
        delivery_attempt,
    );
    on.post(
        "/shipments/{}/delivered",
        Access::Only(Role::Warehouse),
        delivered,
    );
    on.post(
        "/shipments/{}/returned",
        Access::Only(Role::Warehouse),
        returned,
    );
}

async fn pending(ask: Ask) -> Answer {
    let page = ask.page()?;
    let query = PendingShipments { page };
    let shipments = ask.query(ask.shop.shipping(), query).await?;
    answer::ok(&shipments.map(|shipment| shown(&ask, shipment)))
}

async fn delayed(ask: Ask) -> Answer {
    let page = ask.page()?;
    let query = DelayedShipments { page };
    let shipments = ask.query(ask.shop.shipping(), query).await?;
    answer::ok(&shipments.map(|shipment| shown(&ask, shipment)))
}

async fn one(ask: Ask) -> Answer {
    let shipment_id = ask.id()?;
    let shipment = ask.query(ask.shop.shipping(), ShipmentById { shipment_id });
    show(&ask, shipment.await?)
}

async fn of_order(ask: Ask) -> Answer {
    let order_id = ask.id()?;
    let shipment = ask.query(ask.shop.shipping(), ShipmentOfOrder { order_id });
    show(&ask, shipment.await?)
}

async fn by_tracking(ask: Ask) -> Answer {
    let tracking_number = ask.captured().to_owned();
    let query = ShipmentByTracking { tracking_number };
    let shipment = ask.query(ask.shop.shipping(), query);
    show(&ask, shipment.await?)
}

fn show(ask: &Ask, shipment: ShipmentView) -> Answer {
    if !ask.caller.may_see(shipment.customer_id, Role::Warehouse) {
        return Err(Problem::not_found("there is no such shipment"));
    }
    answer::ok(&shown(ask, shipment))
}

/// A shipment as its customer and the warehouse see it.
fn shown(ask: &Ask, shipment: ShipmentView) -> ShipmentShown {
    shipment.with_address(|sealed| ask.open_address(&sealed))
}

/// The answer to something that was done with a shipment.
fn done(ask: &Ask, answered: Answered<ShipmentView>) -> Answer {
    let Answered { reply, replayed } = answered;
    let reply = shown(ask, reply);
    answer::answered(StatusCode::OK, &Answered { reply, replayed })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dispatching {
    carrier: Option<String>,
    tracking_number: Option<String>,
}

async fn dispatch(ask: Ask) -> Answer {
    let shipment_id = ask.id()?;
    let Dispatching {
        carrier,
        tracking_number,
    } = ask.json_or_nothing()?;
    let command = Dispatch {
        shipment_id,
        carrier,
        tracking_number,
    };
    let answered = ask.send(ask.shop.shipping(), command).await?;
    done(&ask, answered)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tracking {
    status: TrackStatus,
    location: Option<String>,
    description: Option<String>,
}

async fn track(ask: Ask) -> Answer {
    let shipment_id = ask.id()?;
    let Tracking {
        status,
        location,
        description,
    } = ask.json()?;
    let command = Track {
        shipment_id,
        status,
        location,
        description,
    };
    let answered = ask.send(ask.shop.shipping(), command).await?;
    done(&ask, answered)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attempt {
    reason: String,
}

async fn delivery_attempt(ask: Ask) -> Answer {
    let shipment_id = ask.id()?;
    let Attempt { reason } = ask.json()?;
    let command = RecordDeliveryAttempt {
        shipment_id,
        reason,
    };
    let answered = ask.send(ask.shop.shipping(), command).await?;
    done(&ask, answered)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn delivered(ask: Ask) -> Answer {
    let shipment_id = ask.id()?;
    let Nothing {} = ask.json_or_nothing()?;
    let answered = ask.send(ask.shop.shipping(), Deliver { shipment_id });
    done(&ask, answered.await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Return {
    items: Vec<ReturnedItem>,
}

async fn returned(ask: Ask) -> Answer {
    let shipment_id = ask.id()?;
    let Return { items } = ask.json()?;
    let command = ReturnShipment { shipment_id, items };
    let answered = ask.send(ask.shop.shipping(), command).await?;
    done(&ask, answered)
}
