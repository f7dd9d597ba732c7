//! Shipments: parcels and what happens to them.

use redeliver::Answered;
use serde::Deserialize;
use utoipa::ToSchema;
use warp::http::StatusCode;

use super::answer;
use super::ask::{Ask, Nothing};
use super::table::{Access, Answer, Table};
use crate::identity::Role;
use crate::order::Address;
use crate::page::Listing;
use crate::shipping::service::no_such_shipment;
use crate::shipping::{
    DelayedShipments, Deliver, Dispatch, PendingShipments, RecordDeliveryAttempt, ReturnShipment,
    ReturnedItem, ShipmentById, ShipmentByTracking, ShipmentOfOrder, ShipmentView, Track,
    TrackStatus,
};

/// A shipment with its address; without it once its customer is deleted.
type ShipmentShown = ShipmentView<Address>;

pub(super) fn routes(on: &mut Table) {
    let warehouse = Access::Only(Role::Warehouse);
    on.get("/shipments/pending", warehouse, pending)
        .about("Lists the parcels that wait to be sent.")
        .pages()
        .answers::<Listing<ShipmentShown>>(StatusCode::OK);
    on.get("/shipments/delayed", warehouse, delayed)
        .about("Lists the parcels that should have arrived.")
        .pages()
        .answers::<Listing<ShipmentShown>>(StatusCode::OK);
    on.get("/shipments/{shipment_id}", Access::SignedIn, one)
        .about("Shows a parcel.")
        .answers::<ShipmentShown>(StatusCode::OK);
    on.get("/shipments/order/{order_id}", Access::SignedIn, of_order)
        .about("Shows the parcel of an order.")
        .answers::<ShipmentShown>(StatusCode::OK);
    on.get(
        "/shipments/tracking/{number}",
        Access::SignedIn,
        by_tracking,
    )
    .about("Shows the parcel of a tracking number.")
    .answers::<ShipmentShown>(StatusCode::OK);
    on.post("/shipments/{shipment_id}/dispatch", warehouse, dispatch)
        .about("Sends a parcel.")
        .may_take::<Dispatching>()
        .answers::<ShipmentShown>(StatusCode::OK);
    on.post("/shipments/{shipment_id}/tracking", warehouse, track)
        .about("Tells where a parcel was seen.")
        .takes::<Tracking>()
        .answers::<ShipmentShown>(StatusCode::OK);
    on.post(
        "/shipments/{shipment_id}/delivery-attempt",
        warehouse,
        delivery_attempt,
    )
    .about("Tells that nobody took a parcel; the third time it goes back.")
    .takes::<FailedDelivery>()
    .answers::<ShipmentShown>(StatusCode::OK);
    on.post("/shipments/{shipment_id}/delivered", warehouse, delivered)
        .about("Tells that a parcel has arrived.")
        .may_take::<Nothing>()
        .answers::<ShipmentShown>(StatusCode::OK);
    on.post("/shipments/{shipment_id}/returned", warehouse, returned)
        .about("Tells what has come back.")
        .takes::<Returned>()
        .answers::<ShipmentShown>(StatusCode::OK);
}

async fn pending(ask: Ask) -> Answer {
    let page = ask.page()?;
    let query = PendingShipments { page };
    let shipments = ask.query(ask.shop.shipping(), query).await?;
    ask.show_page(shipments.map(|shipment| shown(&ask, shipment)))
}

async fn delayed(ask: Ask) -> Answer {
    let page = ask.page()?;
    let query = DelayedShipments { page };
    let shipments = ask.query(ask.shop.shipping(), query).await?;
    ask.show_page(shipments.map(|shipment| shown(&ask, shipment)))
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
        // In the very words of an id that nobody has.
        return Err(no_such_shipment().into());
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

#[derive(Deserialize, ToSchema)]
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

#[derive(Deserialize, ToSchema)]
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct FailedDelivery {
    reason: String,
}

async fn delivery_attempt(ask: Ask) -> Answer {
    let shipment_id = ask.id()?;
    let FailedDelivery { reason } = ask.json()?;
    let command = RecordDeliveryAttempt {
        shipment_id,
        reason,
    };
    let answered = ask.send(ask.shop.shipping(), command).await?;
    done(&ask, answered)
}

async fn delivered(ask: Ask) -> Answer {
    let shipment_id = ask.id()?;
    let Nothing {} = ask.json_or_nothing()?;
    let answered = ask.send(ask.shop.shipping(), Deliver { shipment_id });
    done(&ask, answered.await?)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Returned {
    items: Vec<ReturnedItem>,
}

async fn returned(ask: Ask) -> Answer {
    let shipment_id = ask.id()?;
    let Returned { items } = ask.json()?;
    let command = ReturnShipment { shipment_id, items };
    let answered = ask.send(ask.shop.shipping(), command).await?;
    done(&ask, answered)
}
